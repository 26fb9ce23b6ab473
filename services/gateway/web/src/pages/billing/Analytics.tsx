import { useQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import type { TaskSummary } from "@/api/client";
import { tasksOf, usageBy } from "@/api/queries";
import { visible } from "@/text/ansi";
import { count, duration, money, repositoryName } from "@/text/format";
import { Fact, Facts, Section, Table } from "@/ui/page";
import { Empty, Failed, isActive, Skeleton } from "@/ui/states";

export interface AnalyticsSearch {
  last?: number;
}

interface Figures {
  tasks: number;
  ended: number;
  succeeded: number;
  result: number | null;
  queued: number | null;
  queuedSlow: number | null;
  cost: number | null;
}

/** How well the tasks of an organisation go. Every number is made here, out of two answers of the API that the page names. */
export function Analytics() {
  const { last = 30 } = useSearch({ strict: false }) as AnalyticsSearch;
  const navigate = useNavigate();
  const all = useQuery(tasksOf(last));
  const used = useQuery(usageBy("task", last));
  const error = all.error ?? used.error;
  if (all.isPending || used.isPending) return <Skeleton rows={4} />;
  if (!all.data || !used.data) return <Failed error={error} retry={() => void Promise.all([all.refetch(), used.refetch()])} />;
  const costs = new Map(used.data.groups.map(({ group, quantities }) => [group ?? "", quantities["model_nano_usd"] ?? 0]));
  const { tasks, complete } = all.data;
  const whole = figures(tasks, costs);
  return (
    <div className="space-y-8">
      <label className="flex items-center gap-3 text-sm text-muted">
        Of the last
        <select className="field !w-auto" value={last} onChange={(event) => void navigate({ to: "/usage/analytics", search: { last: Number(event.target.value) }, replace: true })}>
          {[7, 30, 90, 365].map((days) => <option key={days} value={days}>{days} days</option>)}
        </select>
      </label>
      {tasks.length === 0 ? <Empty title="No tasks in this time" /> : (
        <>
          <Facts label="All tasks">
            <Fact name="Success rate" value={percent(whole)}><Under>{count(whole.succeeded)} of {count(whole.ended)} that ended</Under></Fact>
            <Fact name="Time to a result" value={time(whole.result)}><Under>median, from submitted to succeeded</Under></Fact>
            <Fact name="Time in the queue" value={time(whole.queued)}><Under>median; 95 % within {time(whole.queuedSlow)}</Under></Fact>
            <Fact name="Model cost of a success" value={cost(whole.cost)}><Under>all tasks' cost over the successes</Under></Fact>
          </Facts>
          <Split title="By repository" tasks={tasks} costs={costs} of={({ repo }) => (repo?.url ? repositoryName(repo.url) : repo ? "uploaded" : "without a repository")} />
          <Split title="By agent" tasks={tasks} costs={costs} of={({ agent }) => agent} />
          <details className="text-sm text-muted">
            <summary>What these numbers are made of</summary>
            <ul className="mt-2 list-disc space-y-1 pl-5">
              <li><code>GET /v1/tasks?limit=200</code>, page by page, as far as tasks were submitted in the last {last} days: {count(tasks.length)} tasks{complete ? "" : ", the latest ones only"}.</li>
              <li><code>GET /v1/usage/by/task?last={last}&limit=1000</code>: <code>model_nano_usd</code> of each task.</li>
              <li>Ended: <code>state</code> is succeeded, failed or timed_out. Cancelled and rejected tasks count neither way.</li>
              <li>Time to a result: <code>finished_at</code> − <code>submitted_at</code>. Time in the queue: <code>started_at</code> − <code>submitted_at</code>.</li>
            </ul>
          </details>
        </>
      )}
    </div>
  );
}

function Under({ children }: { children: React.ReactNode }) {
  return <span className="block text-xs font-normal text-muted">{children}</span>;
}

function Split({ title, tasks, costs, of }: { title: string; tasks: readonly TaskSummary[]; costs: ReadonlyMap<string, number>; of: (task: TaskSummary) => string }) {
  const groups = Map.groupBy(tasks, of);
  const rows = [...groups].sort(([, a], [, b]) => b.length - a.length).slice(0, 30);
  return (
    <Section title={title}>
      <Table label={`${title}, a table`} head={[{ name: title.charAt(3).toUpperCase() + title.slice(4) }, { name: "Tasks", right: true }, { name: "Success", right: true }, { name: "To a result", right: true }, { name: "In the queue", right: true }, { name: "Cost of a success", right: true }]}>
        {rows.map(([name, tasks]) => {
          const found = figures(tasks, costs);
          return (
            <tr key={name}>
              <td className="hostile min-w-32">{visible(name)}</td>
              <td className="text-right">{count(found.tasks)}</td>
              <td className="text-right">{percent(found)}</td>
              <td className="whitespace-nowrap text-right">{time(found.result)}</td>
              <td className="whitespace-nowrap text-right">{time(found.queued)}</td>
              <td className="text-right">{cost(found.cost)}</td>
            </tr>
          );
        })}
      </Table>
    </Section>
  );
}

function figures(tasks: readonly TaskSummary[], costs: ReadonlyMap<string, number>): Figures {
  const ended = tasks.filter(({ state }) => !isActive(state) && state !== "cancelled" && state !== "rejected");
  const succeeded = ended.filter(({ state }) => state === "succeeded");
  const queued = tasks.flatMap((task) => between(task.submitted_at, task.started_at));
  const spent = tasks.reduce((sum, { id }) => sum + (costs.get(id) ?? 0), 0);
  return {
    tasks: tasks.length, ended: ended.length, succeeded: succeeded.length,
    result: quantile(succeeded.flatMap((task) => between(task.submitted_at, task.finished_at)), 0.5),
    queued: quantile(queued, 0.5), queuedSlow: quantile(queued, 0.95),
    cost: succeeded.length ? spent / succeeded.length : null,
  };
}

const between = (from: string, until: string | null): number[] => (until ? [Date.parse(until) - Date.parse(from)] : []);

function quantile(values: number[], share: number): number | null {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? null;
}

const percent = ({ ended, succeeded }: Figures): string => (ended ? `${Math.round((succeeded / ended) * 100)} %` : "–");
const time = (ms: number | null): string => (ms === null ? "–" : duration(ms));
const cost = (nano: number | null): string => (nano === null ? "–" : money(nano));
