import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { api, data, Problem } from "@/api/client";
import type { components, paths } from "@/api/schema";
import { bill, orgs, plans, usage } from "@/api/queries";
import { useRights, useSession } from "@/api/session";
import { count, exactMoney, money, planName, quantity } from "@/text/format";
import { Button } from "@/ui/controls";
import { Meter } from "@/ui/charts";
import { Fact, Facts, Table } from "@/ui/page";
import { Empty, Failed, Skeleton } from "@/ui/states";
import { BillLines, EventTable } from "./BillLines";

export interface UsageSearch {
  period?: string;
}

type UsageData = components["schemas"]["UsageAnswer"];

const monthName = (starts: string): string => new Date(starts).toLocaleDateString("en-US", { month: "long", year: "numeric", timeZone: "UTC" });

export function Usage() {
  const { period } = useSearch({ strict: false }) as UsageSearch;
  const { pays } = useRights();
  const used = useQuery(usage(period));
  if (used.isPending) return <Skeleton />;
  if (!used.data) {
    if (used.error instanceof Problem && used.error.code === "period_not_found") return <Empty title="No bill for this month" action={<Months shown={period} />}>The account was not open then.</Empty>;
    return <Failed error={used.error} retry={() => void used.refetch()} />;
  }
  return (
    <div className="space-y-8">
      <div className="flex flex-wrap items-center gap-3">
        {used.data.plan && <span className="rounded-full border border-line bg-surface px-2.5 text-sm leading-6">{planName(used.data.plan)}</span>}
        <Months shown={used.data.period} />
      </div>
      <Quotas used={used.data} />
      {pays && <ThisBill period={period} />}
      {Object.keys(used.data.model_tokens).length > 0 && <Tokens tokens={used.data.model_tokens} />}
    </div>
  );
}

function Quotas({ used }: { used: UsageData }) {
  const { executions } = used;
  const plan = useQuery(plans).data?.plans.find(({ plan }) => plan === used.plan);
  const budget = plan?.entitlements.model_nano_usd ?? null;
  const own = Number(used.customer_model_nano_usd);
  return (
    <Facts label="Used">
      <Fact name="Executions" value={executions.limit === null ? count(executions.used) : `${count(executions.used)} of ${count(executions.limit)}`}>
        {executions.limit !== null && <Meter label="Executions of this month" used={executions.used} limit={executions.limit} />}
      </Fact>
      <Fact name="Model" value={budget === null ? money(used.model_nano_usd) : `${money(used.model_nano_usd)} of ${money(budget)}`}>
        {budget !== null && <Meter label="Model use of this month" used={Number(used.model_nano_usd)} limit={Number(budget)} />}
        {own > 0 && <span className="block text-xs font-normal text-muted">and {money(own)} with your own key</span>}
      </Fact>
      <Fact name="Processor time" value={quantity("vcpu_ms", used.vcpu_ms)} />
      <Fact name="Memory time" value={quantity("gib_ms", used.gib_ms)} />
    </Facts>
  );
}

function ThisBill({ period }: { period?: string }) {
  const due = useQuery(bill(period));
  if (due.isPending) return <Skeleton rows={3} />;
  if (!due.data) return <Failed error={due.error} retry={() => void due.refetch()} />;
  return (
    <section aria-labelledby="bill">
      <div className="mb-3 flex items-baseline justify-between gap-4">
        <h2 id="bill" className="font-semibold">{monthName(due.data.starts_at)} so far</h2>
        <p className="tabular text-xl font-semibold tracking-tight" title={exactMoney(due.data.total_nano_usd)}>{money(due.data.total_nano_usd)}</p>
      </div>
      {due.data.lines.length === 0 ? (
        <Empty title="Nothing yet">Lines appear with the first task of the month.</Empty>
      ) : (
        <BillLines lines={due.data.lines} more={(line) => isMetered(line.meter) && line.events > 0 && <LineEvents meter={line.meter} period={due.data.period} total={line.events} />} />
      )}
      <p className="mt-3 text-sm text-muted">At price book {due.data.price_book}. Every line opens to the events that it is the sum of.</p>
    </section>
  );
}

/** The months since the organisation exists, the newest first, a year of them at most; and the one that is shown. */
function Months({ shown }: { shown?: string }) {
  const navigate = useNavigate();
  const org = useSession().data?.org;
  const since = useQuery(orgs).data?.orgs.find(({ id }) => id === org)?.created_at.slice(0, 7);
  const now = new Date();
  const year = Array.from({ length: 12 }, (_, back) => new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() - back, 1)));
  const months = year.filter((month, back) => {
    const name = month.toISOString().slice(0, 7);
    return back === 0 || name === shown || (since !== undefined && name >= since);
  });
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

type Metered = paths["/v1/bill/events"]["get"]["parameters"]["query"]["meter"];
const METERED: Metered[] = [
  "executions",
  "vcpu_ms",
  "gib_ms",
  "egress_bytes",
  "storage_byte_days",
  "model_nano_usd",
  "model_tokens",
];
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
    <section aria-labelledby="tokens">
      <h2 id="tokens" className="mb-3 font-semibold">Model tokens</h2>
      <Table label="Tokens by model and kind" head={[{ name: "Model" }, ...kinds.map((kind) => ({ name: kind.replaceAll("_", " "), right: true }))]}>
        {Object.entries(tokens).map(([model, counts]) => (
          <tr key={model}>
            <td className="hostile">{model}</td>
            {kinds.map((kind) => <td key={kind} className="text-right">{count(counts[kind] ?? 0)}</td>)}
          </tr>
        ))}
      </Table>
    </section>
  );
}
