import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { api, data } from "@/api/client";
import { conservation, parked } from "@/api/queries";
import { visible } from "@/text/ansi";
import { count, METERS, quantity } from "@/text/format";
import { Button, Command } from "@/ui/controls";
import { Rows, Section, Table } from "@/ui/page";
import { Empty, Failed, Skeleton } from "@/ui/states";
import { toast } from "@/ui/toast";

/** Events that a view could not fold, and whether what was metered adds up. */
export function Parked() {
  return (
    <div className="space-y-8">
      <ParkedEvents />
      <Conservation />
    </div>
  );
}

function ParkedEvents() {
  const cache = useQueryClient();
  const found = useQuery(parked);
  const retry = useMutation({
    mutationFn: (body: { view: string; position: number | null }) => data(api.POST("/v1/status/parked/retry", { body })),
    onSuccess: ({ folded, parked: left }) => {
      toast(left.length ? `${count(folded.length)} folded, ${count(left.length)} still parked.` : `${count(folded.length)} folded.`, left.length > 0);
      void cache.invalidateQueries({ queryKey: parked.queryKey });
    },
    onError: (error) => toast(error.message, true),
  });
  if (found.isPending) return <Skeleton rows={2} />;
  if (!found.data) return <Failed error={found.error} retry={() => void found.refetch()} />;
  const views = [...new Set(found.data.parked.map(({ view }) => view))];
  return (
    <Section title="Parked events" aside={views.map((view) => <Button key={view} busy={retry.isPending} onClick={() => retry.mutate({ view, position: null })}>Retry all of {view}</Button>)}>
      {found.data.parked.length === 0 ? <Empty title="Nothing is parked">An event that a view cannot fold is set aside here, with what waits behind it; the rest goes on.</Empty> : (
        <Rows label="Parked events">
          {found.data.parked.map((one) => (
            <li key={`${one.view} ${one.position}`} className="flex items-start gap-4 px-4 py-3">
              <div className="min-w-0 flex-1">
                <p className="flex flex-wrap items-baseline gap-x-3"><span className="font-medium">{visible(one.type)}</span><span className="tabular text-xs text-muted">#{count(one.position)} in <code>{one.view}</code></span></p>
                <p className="hostile text-sm text-bad">{visible(one.reason)}</p>
                <p className="hostile truncate font-mono text-xs text-muted">{visible(one.aggregate)}</p>
              </div>
              <Button aria-label={`Retry event ${one.position} in ${one.view}`} busy={retry.isPending && retry.variables.position === one.position} onClick={() => retry.mutate({ view: one.view, position: one.position })}>Retry</Button>
            </li>
          ))}
        </Rows>
      )}
      <div className="mt-3 space-y-2 text-sm text-muted">
        <p>To leave an event out for good, with your name and the reason on record:</p>
        <Command>rclaude-admin parked drop VIEW POSITION --reason "..."</Command>
      </div>
    </Section>
  );
}

function Conservation() {
  const found = useQuery(conservation);
  if (found.isPending) return <Skeleton rows={2} />;
  if (!found.data) return <Failed error={found.error} retry={() => void found.refetch()} />;
  const { period, meters, breaches } = found.data;
  const broken = Object.entries(breaches);
  return (
    <Section title="Conservation" aside={<Button busy={found.isFetching} onClick={() => void found.refetch()}>Check again</Button>}>
      <p role="status" className={`mb-3 text-sm ${broken.length ? "text-bad" : "text-muted"}`}>
        {broken.length ? `In ${period} this does not add up: ${broken.map(([name, by]) => `${name} by ${count(by)}`).join(", ")}.` : `In ${period} all that was metered is charged, included in a plan, or written off.`}
      </p>
      {meters.length > 0 && (
        <Table label="Sums by meter" head={[{ name: "Meter" }, { name: "Metered", right: true }, { name: "Charged", right: true }, { name: "Included", right: true }, { name: "Written off", right: true }, { name: "Unaccounted", right: true }]}>
          {meters.map(({ meter, metered, charged, included, written_off, unaccounted }) => (
            <tr key={meter}>
              <td>{METERS[meter] ?? meter}</td>
              {[metered, charged, included, written_off].map((value, at) => <td key={at} className="whitespace-nowrap text-right">{quantity(meter, value)}</td>)}
              <td className={`whitespace-nowrap text-right ${unaccounted ? "text-bad" : "text-muted"}`}>{quantity(meter, unaccounted)}</td>
            </tr>
          ))}
        </Table>
      )}
    </Section>
  );
}
