import { useQuery } from "@tanstack/react-query";
import { taskEvents } from "@/api/queries";
import type { TaskEvent } from "@/api/client";
import { clock, moment } from "@/text/format";
import { visible } from "@/text/ansi";
import { Failed, Skeleton } from "@/ui/states";
import { useOpened } from "./Task";

export function Timeline() {
  const { task } = useOpened();
  const found = useQuery(taskEvents(task.id));
  if (found.isPending) return <Skeleton />;
  if (!found.data) return <Failed error={found.error} retry={() => void found.refetch()} />;
  return (
    <div className="h-full overflow-y-auto" tabIndex={0} role="region" aria-label="Timeline">
      <ol className="max-w-4xl px-4 py-6 md:pl-[3.75rem] md:pr-6">
        {found.data.map((event, at) => <Event key={event.id} event={event} before={found.data[at - 1]} />)}
      </ol>
    </div>
  );
}

function Event({ event, before }: { event: TaskEvent; before?: TaskEvent }) {
  const gap = before ? Date.parse(event.time) - Date.parse(before.time) : 0;
  const facts = Object.entries(event.data).filter(([name, value]) => !["task", "org"].includes(name) && value !== null && typeof value !== "object");
  return (
    <li className="relative border-l border-line pb-5 pl-5 last:border-transparent">
      <span aria-hidden className="absolute -left-[5px] top-1.5 size-[9px] rounded-full border-2 border-accent bg-bg" />
      <div className="flex flex-wrap items-baseline gap-x-3">
        <h2 className="text-sm font-medium">{event.type.replace(/([a-z])([A-Z])/g, "$1 $2").replace(/ (\w)/g, (_, letter: string) => ` ${letter.toLowerCase()}`)}</h2>
        <time dateTime={event.time} title={moment(event.time)} className="tabular text-xs text-muted">{clock(event.time)}{gap >= 1 && `, ${gap < 1000 ? `${Math.round(gap)} ms` : `${(gap / 1000).toFixed(1)} s`} later`}</time>
        <span className="tabular ml-auto text-xs text-muted" title={`event ${event.id}`}>#{event.position}</span>
      </div>
      <details className="mt-0.5 text-xs text-muted">
        <summary className="hostile line-clamp-1 marker:text-muted">{facts.slice(0, 5).map(([name, value]) => `${name.replaceAll("_", " ")} ${visible(String(value))}`).join(" · ") || "Data"}</summary>
        <pre className="terminal mt-2 overflow-x-auto rounded-lg bg-sunken p-3" tabIndex={0}>{visible(JSON.stringify(event.data, null, 2))}</pre>
      </details>
    </li>
  );
}
