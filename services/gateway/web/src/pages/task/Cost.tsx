import { useQuery } from "@tanstack/react-query";
import { taskBill } from "@/api/queries";
import { BillLines } from "@/pages/billing/BillLines";
import { exactMoney } from "@/text/format";
import { Empty, Failed, isActive, Skeleton } from "@/ui/states";
import { useOpened } from "./Task";

export function TaskCost() {
  const { task } = useOpened();
  const bill = useQuery({ ...taskBill(task.id, task.changed), refetchInterval: isActive(task.state) ? 3_000 : false });
  if (bill.isPending) return <Skeleton />;
  if (!bill.data) return <Failed error={bill.error} retry={() => void bill.refetch()} />;
  const { lines, events, total_nano_usd } = bill.data;
  if (lines.length === 0) return <Empty title="Nothing to pay so far">{isActive(task.state) ? "What it uses is metered as it runs." : "The task used nothing that is billed."}</Empty>;
  return (
    <div className="h-full overflow-y-auto" tabIndex={0} role="region" aria-label="Cost">
      <div className="max-w-4xl px-4 py-6 md:pl-[3.75rem] md:pr-6">
        <div className="mb-5 flex items-baseline justify-between gap-4">
          <h2 className="text-sm text-muted">{isActive(task.state) ? "So far" : "Altogether"}</h2>
          <p className="tabular text-2xl font-semibold tracking-tight">{exactMoney(total_nano_usd)}</p>
        </div>
        <BillLines lines={lines} events={events} />
        <p className="mt-4 text-sm text-muted">Open a line to see every event of the log that it is the sum of.</p>
      </div>
    </div>
  );
}
