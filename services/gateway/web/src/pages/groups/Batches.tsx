import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import type { TaskSummary } from "@/api/client";
import { labelled } from "@/api/queries";
import { visible } from "@/text/ansi";
import { count } from "@/text/format";
import { buttonClass, Command } from "@/ui/controls";
import { Ago, Empty, Failed, isActive, Skeleton, type StateCount, States } from "@/ui/states";

export const BATCH_LABEL = "batch";

interface Batch {
  name: string;
  tasks: TaskSummary[];
}

/** Batches, the newest first. The tasks of one carry its name as their label. */
export function Batches() {
  const found = useQuery(labelled(BATCH_LABEL));
  if (found.isPending) return <Skeleton />;
  if (!found.data) return <Failed error={found.error} retry={() => void found.refetch()} />;
  const batches = batchesOf(found.data);
  return (
    <div className="h-full overflow-y-auto">
      <div className="mx-auto max-w-4xl px-4 py-5 md:px-6 lg:py-6">
        <h1 className="mb-4 text-lg font-semibold tracking-tight">Batches</h1>
        {batches.length === 0 ? (
          <Empty title="No batches yet" action={<Link to="/new" className={buttonClass()}>New task</Link>}>
            <p className="mb-3">A batch is one prompt over many repositories or rows of a file. It is handed over from a terminal:</p>
            <Command>{'rclaude batch items.csv --prompt "update {package}"'}</Command>
          </Empty>
        ) : (
          <ul aria-label="Batches" className="divide-y divide-line overflow-hidden rounded-xl border border-line bg-surface">
            {batches.map(({ name, tasks }) => (
              <li key={name} className="relative px-4 py-3 hover:bg-sunken/60">
                <div className="flex items-baseline gap-3">
                  <Link to="/" search={{ q: name }} className="hostile min-w-0 flex-1 truncate font-medium after:absolute after:inset-0">{visible(name)}</Link>
                  <span className="tabular text-xs text-muted">{count(tasks.length)} {tasks.length === 1 ? "task" : "tasks"}</span>
                  <span className="tabular w-20 text-right text-xs text-muted"><Ago time={tasks.at(-1)?.submitted_at ?? ""} /></span>
                </div>
                <States label={`States of ${visible(name)}`} counts={statesOf(tasks)} />
              </li>
            ))}
          </ul>
        )}
      </div>
    </div>
  );
}

function batchesOf(tasks: readonly TaskSummary[]): Batch[] {
  const found = new Map<string, TaskSummary[]>();
  for (const task of tasks) {
    const name = task.labels[BATCH_LABEL];
    if (name) found.set(name, [...(found.get(name) ?? []), task]);
  }
  return [...found].map(([name, tasks]) => ({ name, tasks }));
}

function statesOf(tasks: readonly TaskSummary[]): StateCount {
  const active = tasks.filter(({ state }) => isActive(state)).length;
  const succeeded = tasks.filter(({ state }) => state === "succeeded").length;
  return { succeeded, active, other: tasks.length - active - succeeded };
}
