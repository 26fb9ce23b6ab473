import { LoaderCircle } from "lucide-react";
import { type ButtonHTMLAttributes, type ReactNode, type Ref, useEffect, useRef, useState } from "react";

const LOOKS = {
  primary: "bg-accent text-on-accent hover:brightness-110 border-transparent",
  quiet: "bg-surface hover:bg-sunken border-line",
  bare: "border-transparent text-muted hover:text-text hover:bg-sunken",
  danger: "bg-surface text-bad hover:bg-bad/10 border-bad/40",
};

interface ButtonProps extends ButtonHTMLAttributes<HTMLButtonElement> {
  look?: keyof typeof LOOKS;
  busy?: boolean;
  ref?: Ref<HTMLButtonElement>;
}

export function buttonClass(look: keyof typeof LOOKS = "quiet"): string {
  return `inline-flex items-center justify-center gap-1.5 min-h-9 px-3 rounded-lg border text-sm font-medium whitespace-nowrap select-none transition-colors disabled:opacity-55 disabled:cursor-not-allowed ${LOOKS[look]}`;
}

export function Button({ look = "quiet", busy = false, className = "", children, disabled, ...rest }: ButtonProps) {
  return (
    <button type="button" className={`${buttonClass(look)} ${className}`} disabled={disabled || busy} aria-busy={busy || undefined} {...rest}>
      {busy && <LoaderCircle className="size-4 spin" aria-hidden />}
      {children}
    </button>
  );
}

export function Kbd({ children }: { children: ReactNode }) {
  return (
    <kbd className="inline-block min-w-5 whitespace-nowrap rounded border border-line bg-sunken px-1 text-center font-sans text-xs leading-[18px] text-muted">
      {children}
    </kbd>
  );
}

/** A button that puts a text on the clipboard and says so. */
export function Copy({ text, label, children }: { text: string; label: string; children?: ReactNode }) {
  const [said, say] = useState("");
  const timer = useRef<number>(undefined);
  useEffect(() => () => window.clearTimeout(timer.current), []);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      say("Copied");
    } catch {
      say("Select it by hand");
    }
    window.clearTimeout(timer.current);
    timer.current = window.setTimeout(() => say(""), 1600);
  };
  return (
    <Button look={children ? "quiet" : "bare"} onClick={copy} aria-label={label}>
      <span aria-live="polite">{said || (children ?? "Copy")}</span>
    </Button>
  );
}

/** A line of shell to run somewhere else. */
export function Command({ children }: { children: string }) {
  return (
    <div className="flex items-start gap-2 rounded-lg border border-line bg-sunken py-1 pl-3 pr-1">
      <code className="hostile min-w-0 flex-1 whitespace-pre-wrap py-1.5 text-left leading-5">
        <span aria-hidden className="select-none text-muted">$ </span>
        {children}
      </code>
      <Copy text={children} label={`Copy the command ${children.slice(0, 60)}`} />
    </div>
  );
}

export function Field({ label, hint, error, children, className = "" }: { label: string; hint?: ReactNode; error?: string; children: ReactNode; className?: string }) {
  return (
    <label className={`block ${className}`}>
      <span className="mb-1 flex items-baseline justify-between gap-3 text-sm font-medium">
        {label}
        {hint && <span className="text-xs font-normal text-muted">{hint}</span>}
      </span>
      {children}
      {error && <span role="alert" className="mt-1 block text-sm text-bad">{error}</span>}
    </label>
  );
}
