import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useParams } from "@tanstack/react-router";
import { ChevronLeft, Square } from "lucide-react";
import { useState } from "react";
import { api, type BatchItem, data, Problem } from "@/api/client";
import { batch as batchQuery, batchBill, LISTS } from "@/api/queries";
import { visible } from "@/text/ansi";
import { count, exactMoney, money } from "@/text/format";
import { Button, buttonClass } from "@/ui/controls";
import { Confirm } from "@/ui/dialog";
import { Ago, Empty, Failed, Skeleton, StateMark, States, Took } from "@/ui/states";
import { toast } from "@/ui/toast";
import { countsOf } from "./Batches";

/** A batch: what has become of each item, what it has cost, and its end. */
export function BatchPage() {
  const { batch: id } = useParams({ strict: false }) as { batch: string };
  const cache = useQueryClient();
  const found = useQuery(batchQuery(id));
  const bill = useQuery({ ...batchBill(id), retry: false });
  const [asking, ask] = useState(false);
  const cancel = useMutation({
    mutationFn: async () => {
      const { position } = await data(api.POST("/v1/batches/{batch}/cancel", { params: { path: { batch: id } } }));
      await cache.fetchQuery({ ...batchQuery(id, position), staleTime: 0 });
    },
    onSuccess: () => {
      toast("Cancelling. What runs gets a moment to stop; nothing more is submitted.");
      ask(false);
      void cache.invalidateQueries({ queryKey: LISTS });
    },
  });
  if (found.isPending) return <Skeleton />;
  if (!found.data) {
    if (found.error instanceof Problem && found.error.status === 404) return <Empty title="There is no such batch" action={<Link to="/batches" className={buttonClass()}>All batches</Link>}>It may belong to another organisation.</Empty>;
    return <Failed error={found.error} retry={() => void found.refetch()} />;
  }
  const batch = found.data;
  const costs = new Map(bill.data?.tasks.map(({ task, total_nano_usd }) => [task, total_nano_usd]));
  const name = visible(batch.name ?? batch.id);
  return (
    <div className="h-full overflow-y-auto">
      <div className="mx-auto max-w-4xl px-4 py-5 md:px-6 lg:py-6">
        <header className="mb-4 flex items-start gap-2">
          <Link to="/batches" aria-label="All batches" className="-ml-2 grid size-8 shrink-0 place-items-center rounded-lg text-muted hover:bg-sunken hover:text-text"><ChevronLeft className="size-5" aria-hidden /></Link>
          <div className="min-w-0 flex-1">
            <h1 className="hostile pt-0.5 text-lg font-semibold leading-snug tracking-tight">{name}</h1>
            <p className="mt-1 flex flex-wrap items-center gap-x-4 gap-y-1 text-sm text-muted">
              <span role="status" aria-label="State"><StateMark state={batch.state} named /></span>
              <span>{count(batch.size)} {batch.size === 1 ? "task" : "tasks"}{batch.max_parallel ? `, ${count(batch.max_parallel)} at a time` : ""}</span>
              {batch.stop_on_failure && <span>stops at the first failure</span>}
              <Took from={batch.created_at} until={batch.ended_at} />
              {bill.data && <span className="tabular" title={exactMoney(bill.data.total_nano_usd)}>{money(bill.data.total_nano_usd)} in all</span>}
              <Ago time={batch.created_at} />
            </p>
          </div>
          {batch.state === "running" && !batch.cancelled && (
            <Button look="danger" aria-label="Cancel the batch" onClick={() => ask(true)}><Square className="size-3.5" aria-hidden /> <span className="hidden sm:inline">Cancel</span></Button>
          )}
        </header>
        <States label={`States of ${name}`} counts={countsOf(batch)} />
        <ul aria-label="Items" className="mt-4 divide-y divide-line overflow-hidden rounded-xl border border-line bg-surface">
          {batch.items.map((item) => <Item key={item.number} item={item} cost={item.task ? costs.get(item.task) : undefined} />)}
        </ul>
      </div>
      <Confirm
        open={asking}
        title={`Cancel ${name}?`}
        detail="Its tasks that run are cancelled, and no more are submitted. What they have used so far is billed."
        yes="Cancel the batch"
        busy={cancel.isPending}
        error={cancel.error?.message}
        onYes={() => cancel.mutate()}
        onClose={() => ask(false)}
      />
    </div>
  );
}

const ITEM_STATES = { not_submitted: "not submitted", refused: "refused" } as const;

function Item({ item, cost }: { item: BatchItem; cost: number | undefined }) {
  const name = visible(item.key ?? `Item ${item.number}`);
  const why = item.detail ?? item.reason?.replaceAll("_", " ");
  return (
    <li className="relative flex flex-wrap items-center gap-x-4 px-4 py-2.5 hover:bg-sunken/60">
      <span className="hostile min-w-0 flex-1 truncate font-medium">
        {item.task ? <Link to="/tasks/$task" params={{ task: item.task }} className="after:absolute after:inset-0">{name}</Link> : name}
      </span>
      <span className="text-sm">{item.state === "not_submitted" || item.state === "refused" ? <span className={item.state === "refused" ? "text-bad" : "text-muted"}>{ITEM_STATES[item.state]}</span> : <StateMark state={item.state} named />}</span>
      <span className="tabular w-20 text-right text-xs text-muted">{cost === undefined ? "" : money(cost)}</span>
      {why && item.state !== "succeeded" && <p className="hostile basis-full text-xs text-muted">{visible(why)}</p>}
    </li>
  );
}
