/** Terminal output as text: colours become classes, every other escape and every character that drives or reorders a screen is shown. */

export interface Span {
  text: string;
  className: string;
}

// CSI, OSC (up to BEL or ST), and other escapes of two characters.
const ESCAPE = /\x1b(?:\[([0-9;:?]*)[ -/]*([@-~])|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_()#][0-9A-Za-z]?)/g;
const UNSAFE = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029\ud800-\udfff]/gu;

const COLOURS = ["text-muted", "text-bad", "text-ok", "text-warn", "text-busy", "text-accent", "text-busy", "text-text"];

/** Characters that would drive or reorder the screen, made visible. */
export function visible(text: string): string {
  return text.replace(UNSAFE, (found) => {
    const point = found.codePointAt(0) ?? 0;
    if (point < 0x20) return String.fromCodePoint(0x2400 + point);
    if (point === 0x7f) return "\u2421";
    return `‹U+${point.toString(16).toUpperCase().padStart(4, "0")}›`;
  });
}

/** One line, in spans. Where a line overwrites itself (carriage returns, as progress bars do), its last text is shown. */
export function spans(line: string): Span[] {
  const text = overwritten(line);
  if (!text.includes("\x1b")) return text ? [{ text: visible(text), className: "" }] : [];
  const found: Span[] = [];
  let bold = false;
  let colour = "";
  let from = 0;
  const push = (until: number) => {
    if (until > from) {
      found.push({ text: visible(text.slice(from, until)), className: [colour, bold ? "font-semibold" : ""].join(" ").trim() });
    }
  };
  for (const match of text.matchAll(ESCAPE)) {
    push(match.index);
    from = match.index + match[0].length;
    if (match[2] !== "m") continue;
    const codes = (match[1] ?? "").split(/[;:]/).map(Number);
    for (let at = 0; at < codes.length; at++) {
      const code = codes[at] ?? 0;
      if (code === 0) [bold, colour] = [false, ""];
      else if (code === 1) bold = true;
      else if (code === 22) bold = false;
      else if (code === 39) colour = "";
      else if (code >= 30 && code <= 37) colour = COLOURS[code - 30] ?? "";
      else if (code >= 90 && code <= 97) colour = COLOURS[code - 90] ?? "";
      else if (code === 38 || code === 48) at += codes[at + 1] === 5 ? 2 : 4;
    }
  }
  push(text.length);
  return found;
}

function overwritten(line: string): string {
  const whole = line.endsWith("\r") ? line.slice(0, -1) : line;
  const at = whole.lastIndexOf("\r");
  return at < 0 ? whole : `⏎ ${whole.slice(at + 1)}`;
}
