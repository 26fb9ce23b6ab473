import { useQuery } from "@tanstack/react-query";
import { taskEvents } from "@/api/queries";
import type { TaskEvent } from "@/api/client";
import { withOrg } from "@/api/org";
import { bytes, clock, duration, moment, words } from "@/text/format";
import { visible } from "@/text/ansi";
import { Failed, Skeleton } from "@/ui/states";
import { useOpened } from "./Task";

/** Events one after another of the same type, which are shown as one. */
interface Group {
  first: TaskEvent;
  events: TaskEvent[];
}

export function Timeline() {
  const { task } = useOpened();
  const found = useQuery(taskEvents(task.id));
  if (found.isPending) return <Skeleton />;
  if (!found.data) return <Failed error={found.error} retry={() => void found.refetch()} />;
  const groups: Group[] = [];
  for (const event of found.data) {
    const last = groups.at(-1);
    if (last && last.first.type === event.type) last.events.push(event);
    else groups.push({ first: event, events: [event] });
  }
  return (
    <div className="h-full overflow-y-auto" tabIndex={0} role="region" aria-label="Timeline">
      <Checkpoints events={found.data} />
      <ol className="max-w-4xl px-4 py-6 md:pl-[3.75rem] md:pr-6">
        {groups.map((group, at) => <Event key={group.first.id} group={group} before={groups[at - 1]?.events.at(-1)} />)}
      </ol>
    </div>
  );
}

/** What a task goes on from when its sandbox is lost, the latest first. The last one can be downloaded. */
function Checkpoints({ events }: { events: readonly TaskEvent[] }) {
  const { task } = useOpened();
  const saved = events.filter(({ type }) => type === "CheckpointSaved").reverse();
  if (saved.length === 0) return null;
  return (
    <details className="mx-4 mt-4 max-w-4xl rounded-xl border border-line bg-surface md:ml-[3.75rem]">
      <summary className="px-4 py-2.5 text-sm font-medium">{saved.length} {saved.length === 1 ? "checkpoint" : "checkpoints"} <span className="font-normal text-muted">the task goes on from the last if its sandbox is lost</span></summary>
      <ul aria-label="Checkpoints" className="divide-y divide-line border-t border-line">
        {saved.map((event, at) => (
          <li key={event.id} className="tabular flex items-center gap-4 px-4 py-2 text-sm">
            <span className="font-medium">{String(event.data["sequence"])}</span>
            <span className="text-muted">after turn {String(event.data["turn"])}</span>
            <span className="text-muted">{bytes(Number(event.data["size"] ?? 0))}</span>
            <time className="text-muted" dateTime={event.time} title={moment(event.time)}>{clock(event.time)}</time>
            {at === 0 && <a href={withOrg(`/v1/tasks/${task.id}/checkpoint`)} download className="ml-auto underline decoration-line underline-offset-4 hover:decoration-current">Download</a>}
          </li>
        ))}
      </ul>
    </details>
  );
}

const PLAIN = new Set(["task", "org", "body_hash", "repository_hash", "sequence", "measured_from", "measured_to"]);
const factsOf = (event: TaskEvent) => Object.entries(event.data).filter(([name, value]) => !PLAIN.has(name) && value !== null && typeof value !== "object");

function Event({ group: { first, events }, before }: { group: Group; before?: TaskEvent }) {
  const last = events.at(-1) ?? first;
  const gap = before ? Date.parse(first.time) - Date.parse(before.time) : 0;
  return (
    <li className="relative border-l border-line pb-5 pl-5 last:border-transparent">
      <span aria-hidden className="absolute -left-[5px] top-1.5 size-[9px] rounded-full border-2 border-accent bg-bg" />
      <div className="flex flex-wrap items-baseline gap-x-3">
        <h2 className="text-sm font-medium">{words(first.type)}{events.length > 1 && <span className="font-normal text-muted"> {events.length} times</span>}</h2>
        <time dateTime={first.time} title={moment(first.time)} className="tabular text-xs text-muted">{clock(first.time)}{gap >= 1 && `, ${gap < 1000 ? `${Math.round(gap)} ms` : duration(gap)} later`}</time>
        <span className="tabular ml-auto text-xs text-muted" title={`event ${first.id}`}>#{first.position}{last !== first && ` to #${last.position}`}</span>
      </div>
      <details className="mt-0.5 text-xs text-muted">
        <summary className="hostile line-clamp-1 marker:text-muted">{factsOf(last).slice(0, 5).map(([name, value]) => `${name.replaceAll("_", " ")} ${visible(String(value))}`).join(" · ") || "Data"}</summary>
        {events.map((event) => <pre key={event.id} className="terminal mt-2 overflow-x-auto rounded-lg bg-sunken p-3" tabIndex={0}>{visible(JSON.stringify(event, null, 2))}</pre>)}
      </details>
    </li>
  );
}
