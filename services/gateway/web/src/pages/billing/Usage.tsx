import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { api, data, Problem } from "@/api/client";
import type { paths } from "@/api/schema";
import { bill, usage } from "@/api/queries";
import { count, exactMoney, money, quantity } from "@/text/format";
import { Button } from "@/ui/controls";
import { Empty, Failed, Skeleton } from "@/ui/states";
import { BillLines, EventTable } from "./BillLines";

export interface UsageSearch {
  period?: string;
}

const monthName = (starts: string): string => new Date(starts).toLocaleDateString("en-US", { month: "long", year: "numeric", timeZone: "UTC" });

export function Usage() {
  const { period } = useSearch({ strict: false }) as UsageSearch;
  const used = useQuery(usage(period));
  const due = useQuery(bill(period));
  const error = used.error ?? due.error;
  if (used.isPending || due.isPending) return <Skeleton />;
  if (!used.data || !due.data) {
    if (error instanceof Problem && error.code === "period_not_found") return <Empty title="No bill for this month" action={<Months shown={period} />}>The account was not open then.</Empty>;
    return <Failed error={error} retry={() => void Promise.all([used.refetch(), due.refetch()])} />;
  }
  const { executions, model_tokens } = used.data;
  return (
    <div className="h-full overflow-y-auto">
      <div className="mx-auto max-w-4xl px-4 py-6 md:px-6 md:py-8">
        <header className="flex flex-wrap items-center gap-x-4 gap-y-2">
          <h1 className="text-lg font-semibold tracking-tight">Usage and bill</h1>
          {used.data.plan && <span className="rounded-full border border-line bg-surface px-2.5 text-sm leading-6 capitalize">{used.data.plan}</span>}
          <Months shown={used.data.period} />
        </header>
        <section aria-label="Used" className="mt-6 grid gap-px overflow-hidden rounded-xl border border-line bg-line sm:grid-cols-2 lg:grid-cols-4">
          <Tile name="Executions" value={executions.limit === null ? count(executions.used) : `${count(executions.used)} of ${count(executions.limit)}`}>
            {executions.limit !== null && <Meter used={executions.used} limit={executions.limit} />}
          </Tile>
          <Tile name="Processor time" value={quantity("vcpu_ms", used.data.vcpu_ms)} />
          <Tile name="Memory time" value={quantity("gib_ms", used.data.gib_ms)} />
          <Tile name="Model" value={money(used.data.model_nano_usd)} />
        </section>
        <section aria-labelledby="bill" className="mt-8">
          <div className="mb-3 flex items-baseline justify-between gap-4">
            <h2 id="bill" className="font-semibold">{monthName(used.data.starts_at)} so far</h2>
            <p className="tabular text-xl font-semibold tracking-tight" title={exactMoney(due.data.total_nano_usd)}>{money(due.data.total_nano_usd)}</p>
          </div>
          {due.data.lines.length === 0 ? (
            <Empty title="Nothing yet">Lines appear with the first task of the month.</Empty>
          ) : (
            <BillLines lines={due.data.lines} more={(line) => isMetered(line.meter) && line.events > 0 && <LineEvents meter={line.meter} period={due.data.period} total={line.events} />} />
          )}
          <p className="mt-3 text-sm text-muted">At price book {due.data.price_book}. Every line opens to the events that it is the sum of.</p>
        </section>
        {Object.keys(model_tokens).length > 0 && <Tokens tokens={model_tokens} />}
      </div>
    </div>
  );
}

function Months({ shown }: { shown?: string }) {
  const navigate = useNavigate();
  const now = new Date();
  const months = Array.from({ length: 12 }, (_, back) => new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() - back, 1)));
  return (
    <select
      aria-label="Month"
      className="field ml-auto !w-auto"
      value={shown ?? months[0]?.toISOString().slice(0, 7)}
      onChange={(event) => void navigate({ to: "/usage", search: { period: event.target.value } })}
    >
      {months.map((month) => {
        const name = month.toISOString().slice(0, 7);
        return <option key={name} value={name}>{monthName(month.toISOString())}</option>;
      })}
    </select>
  );
}

function Tile({ name, value, children }: { name: string; value: string; children?: React.ReactNode }) {
  return (
    <div className="bg-surface px-4 py-3.5">
      <h2 className="text-sm text-muted">{name}</h2>
      <p className="tabular mt-0.5 text-lg font-semibold tracking-tight">{value}</p>
      {children}
    </div>
  );
}

function Meter({ used, limit }: { used: number; limit: number }) {
  const share = limit === 0 ? 1 : Math.min(used / limit, 1);
  const tone = share >= 1 ? "bg-bad" : share >= 0.8 ? "bg-warn" : "bg-ok";
  return (
    <div role="meter" aria-label="Executions of this month" aria-valuemin={0} aria-valuemax={limit} aria-valuenow={used} className="mt-2 h-1.5 overflow-hidden rounded-full bg-sunken">
      <div className={`h-full rounded-full ${tone}`} style={{ width: `${share * 100}%` }} />
    </div>
  );
}

type Metered = paths["/v1/bill/events"]["get"]["parameters"]["query"]["meter"];
const METERED: Metered[] = ["executions", "vcpu_ms", "gib_ms", "egress_bytes", "model_nano_usd", "model_tokens"];
const isMetered = (meter: string): meter is Metered => (METERED as string[]).includes(meter);

function LineEvents({ meter, period, total }: { meter: Metered; period: string; total: number }) {
  const found = useInfiniteQuery({
    queryKey: ["bill", period, "events", meter],
    initialPageParam: 0,
    queryFn: ({ pageParam, signal }) => data(api.GET("/v1/bill/events", { params: { query: { meter, period, after: pageParam, limit: 50 } }, signal })),
    getNextPageParam: (page) => page.next ?? undefined,
  });
  if (found.isPending) return <Skeleton rows={2} height={18} />;
  if (!found.data) return <Failed error={found.error} retry={() => void found.refetch()} />;
  const events = found.data.pages.flatMap((page) => page.events);
  return (
    <>
      <EventTable events={events} tasks />
      {found.hasNextPage && (
        <Button busy={found.isFetchingNextPage} onClick={() => void found.fetchNextPage()}>
          More, {count(events.length)} of {count(total)} are shown
        </Button>
      )}
    </>
  );
}

function Tokens({ tokens }: { tokens: Record<string, Record<string, number>> }) {
  const kinds = [...new Set(Object.values(tokens).flatMap(Object.keys))].sort();
  return (
    <section aria-labelledby="tokens" className="mt-8">
      <h2 id="tokens" className="mb-3 font-semibold">Model tokens</h2>
      <div className="overflow-x-auto rounded-xl border border-line bg-surface" tabIndex={0} role="region" aria-label="Tokens by model and kind">
        <table className="tabular w-full text-sm">
          <thead className="text-muted">
            <tr>
              <th className="px-4 py-2 text-left font-medium">Model</th>
              {kinds.map((kind) => <th key={kind} className="px-4 py-2 text-right font-medium">{kind.replaceAll("_", " ")}</th>)}
            </tr>
          </thead>
          <tbody>
            {Object.entries(tokens).map(([model, counts]) => (
              <tr key={model} className="border-t border-line">
                <td className="hostile px-4 py-2">{model}</td>
                {kinds.map((kind) => <td key={kind} className="px-4 py-2 text-right">{count(counts[kind] ?? 0)}</td>)}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}
