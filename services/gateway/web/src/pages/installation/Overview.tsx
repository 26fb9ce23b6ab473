import { useQuery } from "@tanstack/react-query";
import { api, data, Problem } from "@/api/client";
import { visible } from "@/text/ansi";
import { count } from "@/text/format";
import { Meter } from "@/ui/charts";
import { Fact, Facts, Rows, Section, Table } from "@/ui/page";
import { Empty, Failed, Skeleton } from "@/ui/states";

interface View {
  position: number;
  lag: number;
  state: string;
}
interface Service {
  state: string;
  reason: string | null;
  views: Record<string, View>;
  [more: string]: unknown;
}
interface Runner {
  runner: string;
  provider: string;
  slots: number;
  isolation: string;
  attempts: { task: string; attempt: number }[];
  agents: { name: string; available: boolean; reason: string }[];
}
interface Scheduler {
  leader: boolean;
  queued: number;
  running: number;
  runners: number;
  unreadable_events: number;
  plans_without_runner: { plan: string; detail: string }[];
}
interface Status {
  version: string;
  position: number;
  log: { state: string; reason: string | null };
  archive: { position: number; lag: number; state: string; reason: string | null } | null;
  services: Record<string, Service>;
}

/** What runs this installation, for its operator. */
export function Overview() {
  const found = useQuery({
    queryKey: ["status"],
    queryFn: ({ signal }) => data(api.GET("/v1/status", { signal })) as unknown as Promise<Status>,
    refetchInterval: 3_000,
  });
  if (found.isPending) return <Skeleton />;
  if (!found.data) {
    if (found.error instanceof Problem && found.error.status === 403) return <Empty title="For operators">This page shows what runs for all organisations. Ask the operator of the installation.</Empty>;
    return <Failed error={found.error} retry={() => void found.refetch()} />;
  }
  const { version, position, log, archive, services } = found.data;
  const scheduler = services["scheduler"] as (Service & Partial<Scheduler>) | undefined;
  const runners = (services["runner"]?.["runners"] ?? []) as Runner[];
  const troubles = [
    ...(log.reason ? [`The log: ${log.reason}.`] : []),
    ...(archive?.reason ? [`The archive: ${archive.reason}.`] : []),
    ...Object.entries(services).flatMap(([name, { reason }]) => (reason ? [`${name}: ${reason}.`] : [])),
    ...(scheduler?.plans_without_runner ?? []).map(({ plan, detail }) => `Tasks of the plan ${plan} wait: ${detail}`),
    ...(scheduler?.unreadable_events ? [`The scheduler could not read ${count(scheduler.unreadable_events)} events.`] : []),
  ];
  return (
    <div className="space-y-8">
      {found.error && <p role="status" className="rounded-xl border border-warn/40 bg-warn/5 px-4 py-2 text-sm">The server does not answer. This is how it was.</p>}
      {troubles.length > 0 && (
        <ul aria-label="Needs attention" className="list-disc space-y-1 rounded-xl border border-bad/40 bg-bad/5 py-3 pl-8 pr-4 text-sm">
          {troubles.map((text) => <li key={text} className="hostile">{visible(text)}</li>)}
        </ul>
      )}
      <Facts label="Installation">
        <Fact name="Version" value={version} />
        <Fact name="Log" value={`${log.reason ? "stalled" : log.state}, at ${count(position)}`} bad={log.reason !== null} />
        <Fact name="Archive" value={archive ? `${archive.state}, ${count(archive.lag)} behind` : "off"} bad={Boolean(archive?.reason)} />
        <Fact name="Tasks" value={scheduler?.queued === undefined ? "no scheduler here" : `${count(scheduler.running ?? 0)} running, ${count(scheduler.queued)} queued`} />
      </Facts>
      <Section title="Runners" aside={<span className="text-sm text-muted">{count(scheduler?.runners ?? runners.length)} in all, {count(runners.length)} in this process</span>}>
        {runners.length === 0 ? <Empty title="No runner in this process">Those of other processes are counted above.</Empty> : (
          <Rows label="Runners">{runners.map((runner) => <RunnerRow key={runner.runner} runner={runner} />)}</Rows>
        )}
      </Section>
      <Section title="Services">
        <Table label="Services and their views" head={[{ name: "Service" }, { name: "State" }, { name: "Views" }, { name: "Behind", right: true }]}>
          {Object.entries(services).map(([name, { state, reason, views }]) => (
            <tr key={name} className="align-top">
              <td className="font-medium">{name}</td>
              <td><span className="inline-flex items-center gap-2"><span className={`size-2 shrink-0 rounded-full ${state === "ready" ? "bg-ok" : "bg-bad"}`} aria-hidden />{reason ? "not ready" : state}</span></td>
              <td className="text-muted">{Object.entries(views).map(([view, { state }]) => <div key={view} className="whitespace-nowrap"><code>{view}</code> {state}</div>)}</td>
              <td className="text-right">{Object.entries(views).map(([view, { lag }]) => <div key={view} className={lag > 1000 ? "text-warn" : ""}>{count(lag)}</div>)}</td>
            </tr>
          ))}
        </Table>
      </Section>
    </div>
  );
}

function RunnerRow({ runner: { runner, provider, slots, isolation, attempts, agents } }: { runner: Runner }) {
  return (
    <li className="px-4 py-3">
      <div className="flex flex-wrap items-baseline gap-x-3">
        <span className="font-medium">{visible(provider)}</span>
        <code className="hostile min-w-0 truncate text-xs text-muted">{runner}</code>
        <span className="tabular ml-auto text-sm">{count(attempts.length)} of {count(slots)} slots</span>
      </div>
      <Meter label={`Slots of ${runner}`} used={attempts.length} limit={slots} />
      <p className="mt-2 text-xs text-muted">
        {visible(isolation)} · {agents.map(({ name, available, reason }) => (available ? visible(name) : `${visible(name)} (not set up${reason ? `: ${visible(reason)}` : ""})`)).join(", ")}
      </p>
    </li>
  );
}
