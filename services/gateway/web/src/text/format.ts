const NANO = 1_000_000_000n;

/** Dollars out of nano-dollars, with as many decimals as it takes, two at least: `$0.0012`, `$1,204.50`. The rest is cut. */
export function money(nano: number | string, digits = 4): string {
  const value = BigInt(typeof nano === "number" ? Math.round(nano) : nano);
  const sign = value < 0n ? "-" : "";
  const size = value < 0n ? -value : value;
  const smallest = 10n ** BigInt(9 - digits);
  if (size > 0n && size < smallest) return `under $0.${"1".padStart(digits, "0")}`;
  const fraction = (size % NANO).toString().padStart(9, "0").slice(0, digits).replace(/0+$/, "").padEnd(2, "0");
  return `${sign}$${(size / NANO).toLocaleString("en-US")}.${fraction}`;
}

/** All nine decimals where they are needed. */
export function exactMoney(nano: number | string): string {
  return money(nano, 9);
}

export function count(value: number | string): string {
  return (typeof value === "string" ? BigInt(value) : value).toLocaleString("en-US");
}

const UNITS: [number, string][] = [
  [86_400, "d"],
  [3_600, "h"],
  [60, "min"],
];

/** `4.2 s`, `3 min 20 s`, `2 h 5 min`, `2 h`. */
export function duration(ms: number): string {
  const seconds = Math.max(0, ms / 1000);
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  const rest = (value: number, unit: string) => (value > 0 ? ` ${value} ${unit}` : "");
  if (minutes < 60) return `${minutes} min${rest(Math.floor(seconds % 60), "s")}`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h${rest(minutes % 60, "min")}`;
  return `${Math.floor(hours / 24)} d${rest(hours % 24, "h")}`;
}

// Made once: a format is far slower to make than to use.
const DATE = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });
const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const MOMENT = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

/** `now`, `3 min ago`, `2 d ago`, then the date. */
export function ago(time: string, now: number): string {
  const seconds = (now - Date.parse(time)) / 1000;
  if (seconds < 5) return "now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds > 30 * 86_400) return DATE.format(new Date(time));
  const [size, name] = UNITS.find(([size]) => seconds >= size) ?? [60, "min"];
  return `${Math.floor(seconds / size)} ${name} ago`;
}

export function clock(time: string): string {
  return CLOCK.format(new Date(time));
}

export function moment(time: string): string {
  return MOMENT.format(new Date(time));
}

/** The quantity of a meter in the unit that people think in. */
export function quantity(meter: string, value: number | string): string {
  const n = Number(value);
  switch (meter) {
    case "vcpu_ms":
      return `${short(n / 1000)} vCPU s`;
    case "gib_ms":
      return `${short(n / 1000)} GiB s`;
    case "egress_bytes":
      return bytes(n);
    case "storage_byte_days":
      return `${short(n / (30 * 2 ** 30))} GiB months`;
    case "model_nano_usd":
      return money(value);
    case "executions":
      return `${count(n)} ${n === 1 ? "execution" : "executions"}`;
    case "model_tokens":
      return `${count(n)} tokens`;
    case "subscription":
      return n === 1 ? "1 month" : `${count(n)} months`;
    default:
      return count(n);
  }
}

export const METERS: Record<string, string> = {
  subscription: "Subscription",
  executions: "Executions",
  vcpu_ms: "Processor time",
  gib_ms: "Memory time",
  egress_bytes: "Traffic out",
  storage_byte_days: "Storage",
  model_nano_usd: "Model",
  model_tokens: "Model tokens",
};

function short(value: number): string {
  return value.toLocaleString("en-US", { maximumFractionDigits: value < 10 ? 2 : value < 1000 ? 1 : 0 });
}

export function bytes(value: number): string {
  let size = value;
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (size < 1024) return `${short(size)} ${unit}`;
    size /= 1024;
  }
  return `${short(size)} TiB`;
}

/** A word of a shell command line: quoted where it needs to be. */
export function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

/** `owner/name` of a repository's URL, if it has such a form. */
export function repositoryName(url: string): string {
  const path = url.replace(/^[a-z+]+:\/\/[^/]*\//i, "").replace(/^[^/@]*@[^:/]*:/, "").replace(/\.git\/?$/, "");
  return path || url;
}

/** An amount in the smallest unit of a currency: `$12.30`, `EUR 12.30`. */
export function minor(amount: number, currency: string, digits = 2): string {
  const text = (Math.abs(amount) / 10 ** digits).toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  return `${amount < 0 ? "-" : ""}${currency === "usd" ? "$" : `${currency.toUpperCase()} `}${text}`;
}

/** `TaskSubmitted` as a sentence begins: `Task submitted`. */
export function words(type: string): string {
  return type.replace(/^Api/, "API").replace(/^Org(?=[A-Z])/, "Organisation").replace(/([a-z]|API)([A-Z])/g, (_, before: string, after: string) => `${before} ${after.toLowerCase()}`);
}

/** A plan's name as people read it: `self-hosted` is `Self-hosted`. */
export function planName(plan: string): string {
  return plan.charAt(0).toUpperCase() + plan.slice(1);
}
