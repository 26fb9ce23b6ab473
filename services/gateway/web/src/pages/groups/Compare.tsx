import { useQueries, useQuery } from "@tanstack/react-query";
import { Link, useParams } from "@tanstack/react-router";
import { ChevronLeft, Trophy } from "lucide-react";
import { useState } from "react";
import type { TaskSummary } from "@/api/client";
import { labelled, patch, taskBill } from "@/api/queries";
import { visible } from "@/text/ansi";
import { type FileDiff, parseDiff } from "@/text/diff";
import { exactMoney, money } from "@/text/format";
import { buttonClass, Command } from "@/ui/controls";
import { Empty, Failed, isActive, Skeleton, StateMark, Took } from "@/ui/states";

export const GROUP_LABEL = "best-of";

interface Candidate {
  number: number;
  task: TaskSummary;
  judge: TaskSummary | null;
}

/** Candidates of `rclaude run --best-of`, side by side, the best first: what passes its judge, then what costs less, then the smaller change. */
export function Compare() {
  const { group } = useParams({ strict: false }) as { group: string };
  const found = useQuery(labelled(`${GROUP_LABEL}:${group}`));
  const candidates = candidatesOf(found.data ?? []);
  const bills = useQueries({ queries: candidates.map(({ task }) => ({ ...taskBill(task.id), enabled: !isActive(task.state) })) });
  const patches = useQueries({ queries: candidates.map(({ task }) => ({ ...patch(task.id), enabled: task.state === "succeeded", retry: false })) });
  const [file, choose] = useState<string | null>(null);
  if (found.isPending) return <Skeleton />;
  if (!found.data) return <Failed error={found.error} retry={() => void found.refetch()} />;
  if (candidates.length === 0) return <Empty title="There is no such group" action={<Link to="/" className={buttonClass()}>All tasks</Link>}>`rclaude run --best-of 4 ...` makes one.</Empty>;
  const shown = candidates.map((candidate, at) => {
    const files = patches[at]?.data ? parseDiff(patches[at].data) : [];
    const lines = files.reduce((sum, { added, removed }) => sum + added + removed, 0);
    return { ...candidate, files, lines, cost: bills[at]?.data?.total_nano_usd ?? null };
  });
  const judged = shown.some(({ judge }) => judge !== null);
  const passes = ({ task, judge }: Candidate) => task.state === "succeeded" && (!judged || judge?.state === "succeeded");
  const order = (one: (typeof shown)[number]) => [passes(one) ? 0 : 1, one.task.state === "succeeded" ? 0 : 1, one.cost ?? Number.MAX_SAFE_INTEGER, one.lines, one.number];
  shown.sort((a, b) => {
    const [left, right] = [order(a), order(b)];
    const at = left.findIndex((value, n) => value !== right[n]);
    return at < 0 ? 0 : (left[at] ?? 0) - (right[at] ?? 0);
  });
  const winner = shown[0] && passes(shown[0]) && shown.every(({ task }) => !isActive(task.state)) ? shown[0] : null;
  const paths = [...new Set(shown.flatMap(({ files }) => files.map(({ path }) => path)))].sort();
  const open = file ?? paths[0] ?? null;
  const total = shown.reduce((sum, { cost }) => sum + (cost ?? 0), 0);
  return (
    <div className="flex h-full flex-col">
      <header className="border-b border-line px-4 py-3 md:px-6">
        <div className="flex items-start gap-3">
          <Link to="/" aria-label="All tasks" className="-ml-2 grid size-8 shrink-0 place-items-center rounded-lg text-muted hover:bg-sunken hover:text-text"><ChevronLeft className="size-5" aria-hidden /></Link>
          <div className="min-w-0 flex-1">
            <h1 className="hostile line-clamp-2 pt-0.5 text-base font-semibold leading-snug tracking-tight md:text-lg">{visible(shown[0]?.task.title ?? group)}</h1>
            <p className="tabular text-sm text-muted">{shown.length} candidates · {money(total)} for all{judged ? ", judged" : ""}</p>
          </div>
          {winner && <div className="hidden w-80 shrink-0 text-xs lg:block"><Command>{`rclaude apply ${winner.task.id}`}</Command></div>}
        </div>
        {paths.length > 0 && (
          <label className="mt-2 flex items-center gap-2 text-sm md:pl-9">
            <span className="text-muted">File</span>
            <select className="field !w-auto min-w-0 !min-h-8 !py-1 font-mono text-xs" value={open ?? ""} onChange={(event) => choose(event.target.value)}>
              {paths.map((path) => <option key={path} value={path}>{visible(path)}</option>)}
            </select>
          </label>
        )}
      </header>
      <ul aria-label="Candidates" className="relative flex min-h-0 flex-1 snap-x overflow-x-auto">
        {shown.map((one) => (
          <li key={one.task.id} className="flex w-[85vw] shrink-0 snap-start flex-col border-r border-line sm:w-96 lg:w-auto lg:min-w-96 lg:flex-1">
            <div className={`border-b border-line px-4 py-3 ${one === winner ? "bg-ok/8" : "bg-surface"}`}>
              <div className="flex items-center gap-2">
                <h2 className="font-semibold"><Link to="/tasks/$task" params={{ task: one.task.id }} className="hover:underline">Candidate {one.number}</Link></h2>
                {one === winner && <span className="inline-flex items-center gap-1 rounded-full border border-ok/40 px-2 text-xs text-ok"><Trophy className="size-3" aria-hidden /> best</span>}
                <span className="ml-auto text-sm"><StateMark state={one.task.state} named /></span>
              </div>
              <dl className="tabular mt-1 flex flex-wrap gap-x-4 text-xs text-muted">
                <div><dt className="sr-only">Agent</dt><dd>{one.task.agent}</dd></div>
                <div><dt className="sr-only">Time</dt><dd><Took from={one.task.started_at} until={one.task.finished_at} /></dd></div>
                <div><dt className="sr-only">Cost</dt><dd>{one.cost === null ? "cost open" : <span title={exactMoney(one.cost)}>{money(one.cost)}</span>}</dd></div>
                <div><dt className="sr-only">Changed lines</dt><dd>{one.lines} {one.lines === 1 ? "line" : "lines"}</dd></div>
                {one.judge && <div><dt className="sr-only">Judge</dt><dd><Link to="/tasks/$task" params={{ task: one.judge.id }} className={`underline underline-offset-2 ${one.judge.state === "succeeded" ? "text-ok" : isActive(one.judge.state) ? "text-busy" : "text-bad"}`}>{one.judge.state === "succeeded" ? "passed its judge" : isActive(one.judge.state) ? "being judged" : "failed its judge"}</Link></dd></div>}
              </dl>
            </div>
            <div className="min-h-0 flex-1 overflow-auto" tabIndex={0} role="region" aria-label={`Change of candidate ${one.number}`}>
              <OneFile file={one.files.find(({ path }) => path === open)} />
            </div>
          </li>
        ))}
      </ul>
    </div>
  );
}

const MOST_LINES = 2_000;
const TONES = { add: "bg-ok/12", del: "bg-bad/12", same: "", hunk: "text-muted bg-sunken/60", note: "text-muted italic" } as const;

function OneFile({ file }: { file: FileDiff | undefined }) {
  if (!file) return <p className="px-4 py-3 text-sm text-muted">Left as it was.</p>;
  return (
    <div className="py-1">
      {file.lines.slice(0, MOST_LINES).map((line, at) => (
        <div key={at} className={`terminal flex ${TONES[line.kind]}`}>
          <span aria-hidden className="w-10 shrink-0 select-none pr-2 text-right text-muted">{line.after ?? line.before}</span>
          <span className="w-4 shrink-0 select-none text-muted" aria-hidden>{line.kind === "add" ? "+" : line.kind === "del" ? "−" : " "}</span>
          <span className="min-w-0 flex-1 pr-2">{visible(line.text)}</span>
        </div>
      ))}
      {file.lines.length > MOST_LINES && <p className="px-4 py-2 text-xs text-muted">and {file.lines.length - MOST_LINES} lines more: open the candidate</p>}
    </div>
  );
}

/** The candidates among the tasks of a group, each with its judge's task. */
function candidatesOf(tasks: readonly TaskSummary[]): Candidate[] {
  const found = new Map<number, Candidate>();
  for (const task of tasks) {
    const number = Number(task.labels["candidate"]);
    if (number > 0) found.set(number, { number, task, judge: null });
  }
  for (const task of tasks) {
    const candidate = found.get(Number(task.labels["judge-of"]));
    if (candidate) candidate.judge = task;
  }
  return [...found.values()].sort((a, b) => a.number - b.number);
}
