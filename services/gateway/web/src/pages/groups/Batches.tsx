import { useInfiniteQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import type { Batch } from "@/api/client";
import { batches } from "@/api/queries";
import { visible } from "@/text/ansi";
import { count } from "@/text/format";
import { Button, buttonClass, Command } from "@/ui/controls";
import { Ago, Empty, Failed, isActive, Skeleton, type StateCount, StateMark, States } from "@/ui/states";

/** Batches, the newest first. */
export function Batches() {
  const found = useInfiniteQuery(batches);
  if (found.isPending) return <Skeleton />;
  if (!found.data) return <Failed error={found.error} retry={() => void found.refetch()} />;
  const shown = found.data.pages.flatMap((page) => page.batches);
  return (
    <div className="h-full overflow-y-auto">
      <div className="mx-auto max-w-4xl px-4 py-5 md:px-6 lg:py-6">
        <h1 className="mb-4 text-lg font-semibold tracking-tight">Batches</h1>
        {shown.length === 0 ? (
          <Empty title="No batches yet" action={<Link to="/new" className={buttonClass()}>New task</Link>}>
            <p className="mb-3">A batch is one prompt over many repositories or rows of a file. It is handed over from a terminal:</p>
            <Command>{'rclaude batch items.csv --prompt "update {package}"'}</Command>
          </Empty>
        ) : (
          <ul aria-label="Batches" className="divide-y divide-line overflow-hidden rounded-xl border border-line bg-surface">
            {shown.map((one) => (
              <li key={one.id} className="relative px-4 py-3 hover:bg-sunken/60">
                <div className="flex items-baseline gap-3">
                  <span className="self-center"><StateMark state={one.state} /></span>
                  <Link to="/batches/$batch" params={{ batch: one.id }} className="hostile min-w-0 flex-1 truncate font-medium after:absolute after:inset-0">{visible(one.name ?? one.id)}</Link>
                  <span className="tabular whitespace-nowrap text-xs text-muted">{count(one.size)} {one.size === 1 ? "task" : "tasks"}</span>
                  <span className="tabular w-20 text-right text-xs text-muted"><Ago time={one.created_at} /></span>
                </div>
                <States label={`States of ${visible(one.name ?? one.id)}`} counts={countsOf(one)} />
              </li>
            ))}
          </ul>
        )}
        {found.hasNextPage && <Button className="mt-4" busy={found.isFetchingNextPage} onClick={() => void found.fetchNextPage()}>Earlier batches</Button>}
      </div>
    </div>
  );
}

/** An item that is not submitted yet is still to come, unless its batch has ended. */
export function countsOf({ states, ended_at }: Batch): StateCount {
  const counts: StateCount = { succeeded: 0, active: 0, other: 0 };
  for (const [state, number] of Object.entries(states)) {
    const active = state === "not_submitted" ? ended_at === null : isActive(state as Parameters<typeof isActive>[0]);
    counts[state === "succeeded" ? "succeeded" : active ? "active" : "other"] += number;
  }
  return counts;
}
