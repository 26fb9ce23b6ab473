import { useVirtualizer } from "@tanstack/react-virtual";
import { ArrowDown, ChevronRight, CircleAlert, CircleCheck, Lightbulb, ShieldQuestionMark, Wrench } from "lucide-react";
import { lazy, memo, Suspense, useCallback, useEffect, useRef, useState } from "react";
import { Problem, type Task } from "@/api/client";
import type { Row as TranscriptRow, Snapshot } from "@/live/transcript";
import { spans, visible } from "@/text/ansi";
import { Button } from "@/ui/controls";
import { Empty, Failed, isActive, Skeleton } from "@/ui/states";
import { FollowUp } from "./FollowUp";
import { useOpened } from "./Task";

type Row = TranscriptRow | { kind: "prompt"; key: number; text: string };

const Markdown = lazy(() => import("./Markdown"));
const HEIGHTS: Record<Row["kind"], number> = { line: 20, text: 64, thinking: 40, tool: 44, attempt: 48, permission: 36, phase: 28, result: 64, prompt: 72 };
const PROMPT = -1;
const PHASES: Record<string, string> = { preparing: "Preparing the sandbox", running: "The agent works", committing: "Committing what has changed" };

const DECISIONS: Record<string, string> = { allow: "allowed once", allow_always: "always allowed", deny: "denied", withdrawn: "withdrawn by the agent" };

/** The task as far as its conversation shows it. */
type Conversed = Pick<Task, "id" | "state" | "prompt" | "waiting">;
interface Conversation {
  task: Conversed;
  live: Snapshot;
}

export function Activity() {
  const { task, live } = useOpened();
  return (
    <div className="flex h-full flex-col">
      <div className="min-h-0 flex-1"><Output task={task} live={live} /></div>
      <FollowUp />
    </div>
  );
}

export function Output({ task, live }: Conversation) {
  if (live.error) return <Failed error={new Problem(0, live.error.code, live.error.detail)} />;
  if (live.loading) return <Skeleton rows={5} height={20} />;
  if (live.rows.length === 0) {
    if (isActive(task.state)) return <Empty title={task.state === "running" ? "No output yet" : "Waiting to start"}>{task.waiting ? visible(task.waiting.detail) : "It appears here as it comes."}{task.waiting?.place && <span className="mt-1 block">Place {task.waiting.place} in the queue of the organisation.</span>}</Empty>;
    return <Empty title="No output">{task.state === "rejected" ? "The task was not admitted, so it never ran." : "The task ended without output."}</Empty>;
  }
  return <Rows task={task} live={live} />;
}

function Rows({ task, live }: Conversation) {
  const box = useRef<HTMLDivElement>(null);
  // What has ended is read from its beginning, what goes on from its end.
  const following = useRef(isActive(task.state));
  const [behind, setBehind] = useState(false);
  const [opened, open] = useState<ReadonlySet<number>>(new Set());
  const { version } = live;
  // The prompt stands before what came of it, without a copy of all the rest.
  const count = live.rows.length + 1;
  const { rows, dropped } = live;
  const row = (index: number): Row | undefined => (index === 0 ? { kind: "prompt", key: PROMPT, text: task.prompt ?? "" } : rows[index - 1]);
  // The same functions for as long as the rows are: with others the list measures all rows again. Rows are added in place.
  const estimateSize = useCallback((index: number) => HEIGHTS[index === 0 ? "prompt" : (rows[index - 1]?.kind ?? "line")], [rows]);
  // `dropped`: keys move when the first rows are dropped.
  const getItemKey = useCallback((index: number) => (index === 0 ? PROMPT : (rows[index - 1]?.key ?? index)), [rows, dropped]);
  const list = useVirtualizer({
    count,
    getScrollElement: () => box.current,
    estimateSize,
    getItemKey,
    overscan: 10,
    paddingStart: 16,
    paddingEnd: 40,
  });
  const toEnd = useCallback(() => {
    following.current = true;
    setBehind(false);
    list.scrollToIndex(count - 1, { align: "end" });
  }, [list, count]);
  // New rows are followed for as long as the end is in sight.
  useEffect(() => {
    if (following.current && !live.ended) toEnd();
  }, [version, live.ended, toEnd]);
  const toggle = useCallback((key: number) => {
    following.current = false;
    open((before) => {
      const to = new Set(before);
      if (!to.delete(key)) to.add(key);
      return to;
    });
  }, []);
  return (
    <div className="relative h-full">
      <div
        ref={box}
        tabIndex={0}
        role="log"
        aria-label="Activity"
        aria-live="off"
        className="h-full overflow-y-auto [overflow-anchor:none] focus-visible:outline-offset-[-2px]"
        onScroll={(event) => {
          const { scrollHeight, scrollTop, clientHeight } = event.currentTarget;
          const near = scrollHeight - scrollTop - clientHeight < 60;
          following.current = near;
          setBehind(!near);
        }}
      >
        {live.dropped > 0 && <p className="px-6 pt-3 text-center text-xs text-muted">The first {live.dropped.toLocaleString()} rows are not kept in the page. `rclaude logs {task.id}` has them.</p>}
        <div className="relative w-full max-w-5xl" style={{ height: list.getTotalSize() }}>
          {list.getVirtualItems().map((item) => {
            const shown = row(item.index);
            return shown && (
              <div key={item.key} data-index={item.index} ref={list.measureElement} className="absolute inset-x-0 top-0 px-4 md:pl-[3.75rem] md:pr-6" style={{ transform: `translateY(${item.start}px)` }}>
                <OneRow row={shown} open={opened.has(shown.key)} toggle={toggle} />
              </div>
            );
          })}
        </div>
      </div>
      {behind && isActive(task.state) && (
        <Button className="absolute bottom-4 left-1/2 -translate-x-1/2 shadow-lg" onClick={toEnd}><ArrowDown className="size-4" aria-hidden /> Latest</Button>
      )}
    </div>
  );
}

const OneRow = memo(function OneRow({ row, open, toggle }: { row: Row; open: boolean; toggle: (key: number) => void }) {
  switch (row.kind) {
    case "prompt":
      return <p className="hostile mb-3 whitespace-pre-wrap rounded-xl border border-line bg-surface px-4 py-3">{visible(row.text) || "The prompt has been erased."}</p>;
    case "line":
      return (
        <div className={`terminal min-h-5 ${row.error ? "border-l-2 border-warn pl-2 -ml-2.5" : ""}`}>
          {spans(row.text).map((span, at) => <span key={at} className={span.className}>{span.text}</span>)}
        </div>
      );
    case "text":
      return (
        <div className="hostile prose-task py-2">
          <Suspense fallback={<p className="whitespace-pre-wrap">{visible(row.text)}</p>}><Markdown text={row.text} /></Suspense>
        </div>
      );
    case "thinking":
      return (
        <Fold open={open} toggle={() => toggle(row.key)} icon={<Lightbulb className="size-4" aria-hidden />} title={<span className="text-muted">Thought: {visible(firstLine(row.text))}</span>}>
          <p className="hostile whitespace-pre-wrap py-2 text-sm text-muted">{visible(row.text)}</p>
        </Fold>
      );
    case "tool":
      return (
        <Fold
          open={open}
          toggle={() => toggle(row.key)}
          icon={row.failed ? <CircleAlert className="size-4 text-bad" aria-label="failed" /> : <Wrench className="size-4" aria-hidden />}
          title={<><span className="font-medium">{visible(row.name)}</span> <code className="text-muted">{visible(gist(row.input))}</code></>}
          aside={row.result === null ? "running" : undefined}
        >
          <dl className="space-y-2 py-2">
            {Object.entries(row.input).map(([name, value]) => (
              <div key={name}>
                <dt className="text-xs text-muted">{visible(name)}</dt>
                <dd className="terminal max-h-80 overflow-y-auto rounded-lg bg-sunken px-3 py-1.5" tabIndex={0}>{visible(typeof value === "string" ? value : JSON.stringify(value, null, 2))}</dd>
              </div>
            ))}
            {row.result !== null && (
              <div>
                <dt className="text-xs text-muted">{row.failed ? "error" : "result"}</dt>
                <dd className={`terminal max-h-96 overflow-y-auto rounded-lg bg-sunken px-3 py-1.5 ${row.failed ? "text-bad" : ""}`} tabIndex={0}>
                  {row.result.split("\n").map((line, at) => <div key={at} className="min-h-5">{spans(line).map((span, n) => <span key={n} className={span.className}>{span.text}</span>)}</div>)}
                </dd>
              </div>
            )}
          </dl>
        </Fold>
      );
    case "permission":
      return (
        <p className="flex items-center gap-2 py-1.5 text-sm">
          <ShieldQuestionMark className="size-4 shrink-0 text-warn" aria-hidden />
          <span className="hostile min-w-0 flex-1 truncate">Asked for a permission: <span className="font-medium">{visible(row.tool)}</span> <code className="text-muted">{visible(gist(row.input))}</code></span>
          <span className={`shrink-0 text-xs ${row.decision === null ? "text-warn" : "text-muted"}`}>{row.decision === null ? "no answer yet" : (DECISIONS[row.decision] ?? visible(row.decision))}</span>
        </p>
      );
    case "attempt":
      return <p className="flex items-center gap-3 py-3 text-xs text-muted before:h-px before:flex-1 before:bg-line after:h-px after:flex-1 after:bg-line">The sandbox was lost. Attempt {row.attempt} begins</p>;
    case "phase":
      return <p className="py-1 text-xs text-muted">{PHASES[row.phase] ?? visible(row.phase)}</p>;
    case "result":
      return (
        <div className={`my-3 flex gap-3 rounded-xl border px-4 py-3 ${row.outcome === "succeeded" ? "border-ok/40 bg-ok/5" : "border-bad/40 bg-bad/5"}`}>
          {row.outcome === "succeeded" ? <CircleCheck className="mt-0.5 size-4 shrink-0 text-ok" aria-hidden /> : <CircleAlert className="mt-0.5 size-4 shrink-0 text-bad" aria-hidden />}
          <div className="hostile prose-task min-w-0 flex-1 text-sm">
            <p className="font-medium">{row.outcome === "succeeded" ? "Done" : `Failed${row.reason ? `: ${visible(row.reason.replaceAll("_", " "))}` : ""}`}</p>
            {row.text && <p className="whitespace-pre-wrap">{visible(row.text)}</p>}
          </div>
        </div>
      );
  }
});

function Fold({ open, toggle, icon, title, aside, children }: { open: boolean; toggle: () => void; icon: React.ReactNode; title: React.ReactNode; aside?: string; children: React.ReactNode }) {
  return (
    <div className="py-0.5">
      <button type="button" aria-expanded={open} onClick={toggle} className="flex min-h-9 w-full items-center gap-2 rounded-lg border border-line bg-surface px-3 text-left text-sm hover:bg-sunken">
        <ChevronRight className={`size-4 shrink-0 text-muted transition-transform ${open ? "rotate-90" : ""}`} aria-hidden />
        <span className="shrink-0 text-muted">{icon}</span>
        <span className="hostile min-w-0 flex-1 truncate">{title}</span>
        {aside && <span className="shrink-0 text-xs text-busy">{aside}</span>}
      </button>
      {open && <div className="ml-4 border-l border-line pl-4">{children}</div>}
    </div>
  );
}

const firstLine = (text: string): string => text.trim().split("\n", 1)[0]?.slice(0, 200) ?? "";

/** What a tool call is about, in a line. */
function gist(input: Record<string, unknown>): string {
  for (const name of ["command", "file_path", "path", "pattern", "url", "query", "description", "prompt"]) {
    if (typeof input[name] === "string") return firstLine(input[name]);
  }
  const first = Object.values(input).find((value) => typeof value === "string");
  return typeof first === "string" ? firstLine(first) : "";
}
