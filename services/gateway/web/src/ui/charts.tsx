import type { ReactNode } from "react";
import { visible } from "@/text/ansi";

export interface Bar {
  key: string;
  name: string;
  value: number;
  shown: string;
  more?: string;
}

/** One column for each value, in their order, such as days. Each says its value to a pointer, the keyboard and a screen reader. */
export function Columns({ label, bars, chosen, choose }: { label: string; bars: readonly Bar[]; chosen?: string | null; choose?: (key: string) => void }) {
  const most = Math.max(...bars.map(({ value }) => value), 0);
  const every = Math.ceil(bars.length / 6);
  return (
    <figure aria-label={label} className="rounded-xl border border-line bg-surface px-4 pb-3 pt-4">
      <p aria-hidden className="mb-1 text-xs text-muted">{bars.find(({ value }) => value === most)?.shown} at most</p>
      <div className="flex h-40 items-end gap-px sm:gap-1">
        {bars.map(({ key, name, value, shown, more }) => {
          const text = [`${name}: ${shown}`, more].filter(Boolean).join(", ");
          const height = most > 0 ? (value / most) * 100 : 0;
          return (
            <button
              key={key}
              type="button"
              aria-label={text}
              aria-pressed={choose ? chosen === key : undefined}
              title={text}
              onClick={() => choose?.(key)}
              className="group flex h-full min-w-0 flex-1 items-end rounded-sm hover:bg-sunken focus-visible:bg-sunken"
            >
              <span
                className={`block w-full rounded-t-sm ${chosen === key ? "bg-accent" : "bg-busy/70 group-hover:bg-accent"}`}
                style={{ height: value > 0 ? `max(${height}%, 2px)` : 0 }}
              />
            </button>
          );
        })}
      </div>
      <div aria-hidden className="mt-1.5 flex justify-between border-t border-line pt-1.5 text-xs text-muted">
        {bars.filter((_, at) => at % every === 0 || at === bars.length - 1).map(({ key, name }) => <span key={key}>{name}</span>)}
      </div>
    </figure>
  );
}

/** One row for each value, the largest first. */
export function Bars({ label, bars, open }: { label: string; bars: readonly Bar[]; open?: (bar: Bar) => ReactNode }) {
  const most = Math.max(...bars.map(({ value }) => value), 0);
  return (
    <ul aria-label={label} className="overflow-hidden rounded-xl border border-line bg-surface">
      {bars.map((bar) => (
        <li key={bar.key} className="border-b border-line px-4 py-2.5 last:border-0">
          <div className="flex items-baseline gap-3 text-sm">
            <span className="hostile min-w-0 flex-1 truncate">{visible(bar.name)}</span>
            {bar.more && <span className="tabular shrink-0 text-xs text-muted">{bar.more}</span>}
            <span className="tabular shrink-0 font-medium">{bar.shown}</span>
          </div>
          <div aria-hidden className="mt-1.5 h-1.5 rounded-full bg-sunken">
            <div className="h-full rounded-full bg-busy/70" style={{ width: most > 0 ? `max(${(bar.value / most) * 100}%, 2px)` : 0 }} />
          </div>
          {open?.(bar)}
        </li>
      ))}
    </ul>
  );
}

/** How much of a limit is used. */
export function Meter({ label, used, limit }: { label: string; used: number; limit: number }) {
  const share = limit === 0 ? 1 : Math.min(used / limit, 1);
  const tone = share >= 1 ? "bg-bad" : share >= 0.8 ? "bg-warn" : "bg-ok";
  return (
    <div role="meter" aria-label={label} aria-valuemin={0} aria-valuemax={limit} aria-valuenow={Math.min(used, limit)} className="mt-2 h-1.5 overflow-hidden rounded-full bg-sunken">
      <div className={`h-full rounded-full ${tone}`} style={{ width: `${share * 100}%` }} />
    </div>
  );
}
