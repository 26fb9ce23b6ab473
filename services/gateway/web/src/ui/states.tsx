import { type ReactNode, useSyncExternalStore } from "react";
import { Problem, type State } from "@/api/client";
import { ago, duration, moment } from "@/text/format";
import { Button } from "./controls";

const STATES: Record<State, { name: string; tone: string; mark: ReactNode }> = {
  submitted: { name: "Submitted", tone: "text-muted", mark: <Ring dashed /> },
  queued: { name: "Queued", tone: "text-muted", mark: <Ring dashed /> },
  assigned: { name: "Starting", tone: "text-busy", mark: <Turning /> },
  running: { name: "Running", tone: "text-busy", mark: <Turning /> },
  succeeded: { name: "Succeeded", tone: "text-ok", mark: <Disc path="M4.6 8.3l2.3 2.3 4.5-4.9" /> },
  failed: { name: "Failed", tone: "text-bad", mark: <Disc path="M5.4 5.4l5.2 5.2m0-5.2l-5.2 5.2" /> },
  cancelled: { name: "Cancelled", tone: "text-muted", mark: <Disc path="M5 8h6" /> },
  timed_out: { name: "Timed out", tone: "text-warn", mark: <Disc path="M8 4.6V8l2.3 1.6" /> },
  rejected: { name: "Rejected", tone: "text-bad", mark: <Disc path="M8 4.5v4.2m0 2.2v.6" /> },
};

export const ACTIVE: State[] = ["submitted", "queued", "assigned", "running"];
export const isActive = (state: State): boolean => ACTIVE.includes(state);
export const stateName = (state: State): string => STATES[state].name;

function Ring({ dashed }: { dashed?: boolean }) {
  return <circle cx="8" cy="8" r="6" fill="none" stroke="currentColor" strokeWidth="1.7" strokeDasharray={dashed ? "2.5 2.2" : undefined} />;
}
function Turning() {
  return (
    <g className="spin origin-center">
      <circle cx="8" cy="8" r="6" fill="none" stroke="currentColor" strokeWidth="1.7" opacity="0.25" />
      <path d="M8 2a6 6 0 0 1 6 6" fill="none" stroke="currentColor" strokeWidth="1.9" strokeLinecap="round" />
    </g>
  );
}
function Disc({ path }: { path: string }) {
  return (
    <>
      <circle cx="8" cy="8" r="7" fill="currentColor" />
      <path d={path} fill="none" className="stroke-bg" strokeWidth="1.8" strokeLinecap="round" strokeLinejoin="round" />
    </>
  );
}

const ASKS = { name: "Waits for an answer", tone: "text-warn", mark: <Disc path="M5.9 6.3a2.1 2.1 0 1 1 2.9 2c-.6.3-.8.6-.8 1.1m0 2v.2" /> };

/** `asks`: the agent of a running task waits for a permission. */
export function StateMark({ state, asks = false, named = false }: { state: State; asks?: boolean; named?: boolean }) {
  const { name, tone, mark } = asks ? ASKS : STATES[state];
  return (
    <span className={`inline-flex items-center gap-1.5 font-medium ${tone}`}>
      <svg viewBox="0 0 16 16" className="size-4 shrink-0" role={named ? undefined : "img"} aria-label={named ? undefined : name} aria-hidden={named || undefined}>
        {mark}
      </svg>
      {named && name}
    </span>
  );
}

/** The time, with one timer for all that show it. It stands still while nobody looks. */
class Ticker {
  now = Date.now();
  private readonly listeners = new Set<() => void>();
  private timer: number | undefined;

  constructor(private readonly every: number) {}

  subscribe = (listener: () => void): (() => void) => {
    if (this.listeners.size === 0) {
      this.now = Date.now();
      this.timer = window.setInterval(this.tick, this.every);
    }
    this.listeners.add(listener);
    return () => {
      this.listeners.delete(listener);
      if (this.listeners.size === 0) window.clearInterval(this.timer);
    };
  };
  read = (): number => this.now;

  private readonly tick = (): void => {
    if (document.visibilityState !== "visible") return;
    this.now = Date.now();
    for (const listener of this.listeners) listener();
  };
}

const SECONDS = new Ticker(1_000);
const TEN_SECONDS = new Ticker(10_000);
const NEVER = (): (() => void) => () => {};

export function Ago({ time }: { time: string }) {
  const now = useSyncExternalStore(TEN_SECONDS.subscribe, TEN_SECONDS.read);
  return <time dateTime={time} title={moment(time)}>{ago(time, now)}</time>;
}

/** How long a task has run, counting while it does. */
export function Took({ from, until }: { from: string | null; until: string | null }) {
  const now = useSyncExternalStore(from !== null && until === null ? SECONDS.subscribe : NEVER, SECONDS.read);
  if (from === null) return <span className="text-muted">not started</span>;
  return <span className="tabular">{duration((until ? Date.parse(until) : Math.max(now, Date.parse(from))) - Date.parse(from))}</span>;
}

export function Empty({ title, children, action }: { title: string; children?: ReactNode; action?: ReactNode }) {
  return (
    <div className="mx-auto flex max-w-md flex-col items-center gap-3 px-6 py-16 text-center">
      <h2 className="text-base font-semibold">{title}</h2>
      {children && <div className="text-sm text-muted">{children}</div>}
      {action}
    </div>
  );
}

export function Failed({ error, retry }: { error: unknown; retry?: () => void }) {
  const problem = error instanceof Problem ? error : null;
  return (
    <div role="alert" className="mx-auto my-8 max-w-lg rounded-xl border border-bad/35 bg-bad/5 px-5 py-4">
      <p className="font-medium">{problem?.message ?? "The page has made a mistake."}</p>
      <p className="mt-1 text-sm text-muted">
        {problem ? <code>{problem.code}</code> : String(error).slice(0, 200)}
      </p>
      {retry && <Button className="mt-3" onClick={retry}>Try again</Button>}
    </div>
  );
}

export function Skeleton({ rows = 6, height = 52 }: { rows?: number; height?: number }) {
  return (
    <div role="status" aria-label="Loading" className="space-y-2 p-4">
      {Array.from({ length: rows }, (_, row) => (
        <div key={row} className="skeleton" style={{ height, opacity: 1 - row / (rows * 1.3) }} />
      ))}
    </div>
  );
}

export interface StateCount {
  succeeded: number;
  active: number;
  other: number;
}

/** How many of several tasks have succeeded, go on, and have ended otherwise: as a bar and in words. */
export function States({ label, counts: { succeeded, active, other } }: { label: string; counts: StateCount }) {
  const total = Math.max(succeeded + active + other, 1);
  const parts = [[succeeded, "succeeded", "bg-ok"], [active, "active", "bg-busy"], [other, "not succeeded", "bg-bad"]] as const;
  return (
    <div className="mt-1.5">
      <div aria-hidden className="flex h-1.5 gap-px overflow-hidden rounded-full bg-sunken">
        {parts.map(([number, name, tone]) => number > 0 && <div key={name} className={tone} style={{ width: `${(number / total) * 100}%` }} />)}
      </div>
      <p aria-label={label} role="note" className="tabular mt-1 text-xs text-muted">{parts.filter(([number]) => number > 0).map(([number, name]) => `${number} ${name}`).join(" · ")}</p>
    </div>
  );
}
