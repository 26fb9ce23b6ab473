/** What an agent has done, as rows for a list: fed with frames as they come, told to React once a screen frame. */

import type { State } from "@/api/client";
import { type Frame, stream, type Watcher } from "./stream";

export type Row =
  | { kind: "line"; key: number; text: string; error: boolean }
  | { kind: "text"; key: number; text: string }
  | { kind: "thinking"; key: number; text: string }
  | { kind: "tool"; key: number; name: string; input: Record<string, unknown>; truncated: boolean; result: string | null; failed: boolean; at: string }
  | { kind: "permission"; key: number; tool: string; input: Record<string, unknown>; decision: string | null }
  | { kind: "attempt"; key: number; attempt: number }
  | { kind: "phase"; key: number; phase: string; at: string }
  | { kind: "result"; key: number; outcome: string; text: string; reason: string | null };

type Tool = Extract<Row, { kind: "tool" }>;
type Permission = Extract<Row, { kind: "permission" }>;
type Line = Extract<Row, { kind: "line" }>;

export interface Snapshot {
  rows: readonly Row[];
  version: number;
  state: State | null;
  reason: string | null;
  changed: number;
  permissions: readonly string[] | null;
  cost: string | number | null;
  ended: boolean;
  loading: boolean;
  dropped: number;
  error: { code: string; detail: string } | null;
}

const MOST_ROWS = 120_000;
const DROPPED_AT_ONCE = 20_000;

/** Where frames come from: the live stream, or a link for reading. Returns what ends the watch. */
export interface Source {
  watch(task: string, watcher: Watcher): () => void;
}

export class Transcript {
  private rows: Row[] = [];
  private readonly tools = new Map<string, Tool>();
  private readonly asked = new Map<string, Permission>();
  private openLine: Line | null = null;
  private attempt = 0;
  private said = "";
  private nextKey = 0;
  private frame = 0;
  private readonly listeners = new Set<() => void>();
  private end: (() => void) | null = null;
  private snapshot: Snapshot = {
    rows: this.rows, version: 0, state: null, reason: null, changed: 0, permissions: null, cost: null,
    ended: false, loading: true, dropped: 0, error: null,
  };

  constructor(readonly task: string, private readonly source: Source = stream) {}

  subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    if (this.listeners.size === 1 && !this.snapshot.ended) this.begin();
    return () => {
      this.listeners.delete(listener);
      if (this.listeners.size === 0) {
        this.end?.();
        this.end = null;
        cancelAnimationFrame(this.frame);
        this.frame = 0;
      }
    };
  };

  read = (): Snapshot => this.snapshot;

  private begin(): void {
    if (this.end) return;
    this.rows = [];
    this.tools.clear();
    this.asked.clear();
    this.openLine = null;
    this.attempt = 0;
    this.end = this.source.watch(this.task, {
      onState: ({ state, reason, position, permissions }) => this.tell({ state, reason, changed: position, permissions, loading: false }),
      onOutput: (message) => {
        if (message.attempt !== this.attempt) {
          this.attempt = message.attempt;
          this.openLine = null;
          if (message.attempt > 1) this.push({ kind: "attempt", key: this.nextKey++, attempt: message.attempt });
        }
        for (const frame of message.frames) this.take(frame);
        this.tell({ loading: false });
      },
      onEnd: ({ state }) => this.tell({ state, ended: true, loading: false }),
      onError: (code, detail) => this.tell({ error: code === "not_caught_up" ? null : { code, detail }, loading: false }),
    });
  }

  private take(frame: Frame): void {
    const key = this.nextKey++;
    const text = typeof frame["text"] === "string" ? frame["text"] : "";
    if (frame.kind !== "output") this.openLine = null;
    switch (frame.kind) {
      case "output":
        this.output(text, frame["stream"] === "stderr");
        break;
      case "text":
      case "thinking":
        this.push({ kind: frame.kind, key, text });
        if (frame.kind === "text") this.said = text.trim();
        break;
      case "tool_call": {
        const tool: Tool = {
          kind: "tool", key, name: String(frame["name"]), input: (frame["input"] ?? {}) as Record<string, unknown>,
          truncated: frame["truncated"] === true, result: null, failed: false, at: frame.at,
        };
        this.tools.set(String(frame["id"]), tool);
        this.push(tool);
        break;
      }
      case "tool_result": {
        const tool = this.tools.get(String(frame["id"]));
        if (tool) {
          const fresh = { ...tool, result: (tool.result ?? "") + String(frame["content"] ?? ""), failed: frame["is_error"] === true };
          this.tools.set(String(frame["id"]), fresh);
          const at = this.rows.lastIndexOf(tool);
          if (at >= 0) this.rows[at] = fresh;
        }
        break;
      }
      case "permission_request": {
        const row: Permission = { kind: "permission", key, tool: String(frame["name"]), input: (frame["input"] ?? {}) as Record<string, unknown>, decision: null };
        this.asked.set(String(frame["id"]), row);
        this.push(row);
        break;
      }
      case "permission_answer": {
        const asked = this.asked.get(String(frame["id"]));
        const at = asked ? this.rows.lastIndexOf(asked) : -1;
        if (asked && at >= 0) this.rows[at] = { ...asked, decision: String(frame["decision"]) };
        break;
      }
      case "status":
        this.push({ kind: "phase", key, phase: String(frame["phase"]), at: frame.at });
        break;
      case "usage":
        this.snapshot = { ...this.snapshot, cost: frame["cost_nano_usd"] as string | number };
        break;
      case "result":
        this.push({ kind: "result", key, outcome: String(frame["outcome"]), text: text.trim() === this.said ? "" : text, reason: frame["reason"] ? String(frame["reason"]) : null });
        break;
    }
  }

  private output(text: string, error: boolean): void {
    const lines = text.split("\n");
    lines.forEach((line, number) => {
      const last = number === lines.length - 1;
      if (last && line === "") return;
      if (number === 0 && this.openLine && this.openLine.error === error) {
        const joined: Line = { ...this.openLine, text: this.openLine.text + line };
        this.rows[this.rows.length - 1] = joined;
        this.openLine = last ? joined : null;
        return;
      }
      const row: Line = { kind: "line", key: this.nextKey++, text: line, error };
      this.push(row);
      this.openLine = last ? row : null;
    });
    if (lines.length > 1 && lines.at(-1) === "") this.openLine = null;
  }

  private push(row: Row): void {
    this.rows.push(row);
    if (this.rows.length > MOST_ROWS) {
      this.rows.splice(0, DROPPED_AT_ONCE);
      this.snapshot = { ...this.snapshot, dropped: this.snapshot.dropped + DROPPED_AT_ONCE };
    }
  }

  private tell(change: Partial<Snapshot>): void {
    this.snapshot = { ...this.snapshot, ...change, rows: this.rows, version: this.snapshot.version + 1 };
    if (this.frame) return;
    // A page in the background gets no screen frames: a timer keeps it from piling up what it has not shown.
    const show = () => {
      this.frame = 0;
      for (const listener of this.listeners) listener();
    };
    this.frame = document.visibilityState === "visible" ? requestAnimationFrame(show) : window.setTimeout(show, 500);
  }
}
