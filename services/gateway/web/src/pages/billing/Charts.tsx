import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import type { Dimension, TaskSummary } from "@/api/client";
import { members, tasksOf, usageBy } from "@/api/queries";
import { visible } from "@/text/ansi";
import { count, quantity, repositoryName } from "@/text/format";
import { type Bar, Bars, Columns } from "@/ui/charts";
import { Empty, Failed, Skeleton, StateMark } from "@/ui/states";

export interface ChartSearch {
  by?: Dimension;
  last?: number;
  of?: string;
  pick?: string;
}

const DIMENSIONS: [Dimension, string][] = [
  ["day", "Day"], ["person", "Person"], ["repository", "Repository"], ["label", "Label"], ["model", "Model"], ["agent", "Agent"], ["task", "Task"],
];
const MEASURES: [string, string][] = [["model_nano_usd", "Model cost"], ["executions", "Executions"], ["vcpu_ms", "Processor time"], ["gib_ms", "Memory time"]];
const SPANS: [number, string][] = [[7, "7 days"], [30, "30 days"], [90, "90 days"], [365, "A year"]];
const TOKENS = "tokens";
const LOCAL: Dimension[] = ["repository", "label"];

/** What was used, by one dimension; each value opens to its tasks. */
export function Charts() {
  const { by = "day", last = 30, of = "model_nano_usd", pick } = useSearch({ strict: false }) as ChartSearch;
  const navigate = useNavigate();
  const change = (to: ChartSearch) => void navigate({ to: "/usage/charts", search: { by, last, of, ...to }, replace: true });
  return (
    <div className="space-y-6">
      <div className="grid grid-cols-3 gap-3 sm:flex sm:flex-wrap">
        <Select label="By" value={by} options={DIMENSIONS} onChange={(value) => change({ by: value as Dimension })} />
        {by !== "model" && <Select label="Measure" value={of} options={MEASURES} onChange={(value) => change({ of: value })} />}
        <Select label="Of the last" value={String(last)} options={SPANS.map(([days, name]) => [String(days), name])} onChange={(value) => change({ last: Number(value) })} />
      </div>
      <Chart by={by} last={last} of={by === "model" ? TOKENS : of} pick={pick ?? null} choose={(key) => change({ pick: key === pick ? undefined : key })} />
    </div>
  );
}

function Select({ label, value, options, onChange }: { label: string; value: string; options: readonly (readonly [string, string])[]; onChange: (value: string) => void }) {
  return (
    <label className="min-w-0 text-sm">
      <span className="mb-1 block text-muted">{label}</span>
      <select className="field sm:!w-auto" value={value} onChange={(event) => onChange(event.target.value)}>
        {options.map(([value, name]) => <option key={value} value={value}>{name}</option>)}
      </select>
    </label>
  );
}

type Quantities = Record<string, number>;
const measured = (of: string, quantities: Quantities): number =>
  of === TOKENS ? Object.values(quantities).reduce((sum, n) => sum + n, 0) : (quantities[of] ?? 0);
const shownAs = (of: string, value: number): string => (of === TOKENS ? `${count(value)} tokens` : of === "executions" ? count(value) : quantity(of, value));

function Chart({ by, last, of, pick, choose }: { by: Dimension; last: number; of: string; pick: string | null; choose: (key: string) => void }) {
  // Repositories and labels are known to billing by keyed hashes only: they are summed here, over tasks.
  const local = LOCAL.includes(by);
  const found = useQuery(usageBy(local ? "task" : by, last));
  const all = useQuery(tasksOf(last));
  const people = useQuery({ ...members, enabled: by === "person" });
  if (found.isPending || (local && all.isPending)) return <Skeleton rows={4} />;
  if (!found.data) return <Failed error={found.error} retry={() => void found.refetch()} />;
  const tasks = all.data?.tasks ?? [];
  const known = new Map(tasks.map((task) => [task.id, task]));
  const sums = new Map<string, Quantities>();
  for (const { group, quantities } of found.data.groups) {
    for (const name of local ? valuesOf(by, known.get(group ?? "")) : [group ?? ""]) {
      const sum = sums.get(name) ?? {};
      for (const [meter, n] of Object.entries(quantities)) sum[meter] = (sum[meter] ?? 0) + n;
      sums.set(name, sum);
    }
  }
  const nameOf = (key: string): string => {
    if (by === "person") return people.data?.members.find(({ user }) => user === key)?.name ?? (key || "Nobody known");
    if (by === "task") return known.get(key)?.title ?? key;
    return key || (by === "repository" ? "Without a repository" : by === "label" ? "Without a label" : "Other");
  };
  const bars: Bar[] = [...sums].map(([key, quantities]) => ({
    key, name: nameOf(key), value: measured(of, quantities), shown: shownAs(of, measured(of, quantities)),
    more: of === TOKENS || of === "executions" ? undefined : `${count(quantities["executions"] ?? 0)} run`,
  }));
  const total = bars.reduce((sum, { value }) => sum + value, 0);
  if (bars.every(({ value }) => value === 0)) return <Empty title="Nothing of this was used">In the last {last} days. Choose another measure or a longer time.</Empty>;
  const picked = pick === null ? null : tasks.filter((task) => belongs(by, task, pick));
  return (
    <>
      <p className="tabular text-sm text-muted"><b className="text-xl font-semibold text-text">{by === "label" ? "" : shownAs(of, total)}</b> {found.data.since} to {found.data.until}, UTC</p>
      {by === "day" ? (
        <>
          <Columns label="Use by day" chosen={pick} choose={choose} bars={everyDay(found.data.since, found.data.until, bars, of)} />
          {pick !== null && <Below title={pick} tasks={picked} />}
        </>
      ) : (
        <Bars
          label={`Use by ${by}`}
          bars={bars.filter(({ value }) => value > 0).sort((a, b) => b.value - a.value).slice(0, 50)}
          open={(bar) => by === "model" ? null : by === "task" ? (
            <Link to="/tasks/$task/cost" params={{ task: bar.key }} className="mt-1 inline-block text-xs text-muted underline underline-offset-2 hover:text-text">Its bill and events</Link>
          ) : (
            <>
              <button type="button" aria-expanded={pick === bar.key} onClick={() => choose(bar.key)} className="mt-1 text-xs text-muted underline underline-offset-2 hover:text-text">
                {pick === bar.key ? "Hide its tasks" : "Its tasks"}
              </button>
              {pick === bar.key && <Below title={bar.name} tasks={picked} />}
            </>
          )}
        />
      )}
      {all.data && !all.data.complete && <p className="text-sm text-muted">Tasks are looked up among the latest {count(tasks.length)}.</p>}
    </>
  );
}

function valuesOf(by: Dimension, task: TaskSummary | undefined): string[] {
  if (!task) return [""];
  if (by === "repository") return [task.repo?.url ? repositoryName(task.repo.url) : task.repo ? "uploaded" : ""];
  const labels = Object.entries(task.labels).map(([name, value]) => (value ? `${name}=${value}` : name));
  return labels.length ? labels : [""];
}

function belongs(by: Dimension, task: TaskSummary, key: string): boolean {
  switch (by) {
    case "day":
      return (task.finished_at ?? task.submitted_at).startsWith(key);
    case "person":
      return task.submitted_by === key;
    case "agent":
      return task.agent === key;
    default:
      return valuesOf(by, task).includes(key);
  }
}

function everyDay(since: string, until: string, bars: readonly Bar[], of: string): Bar[] {
  const found = new Map(bars.map((bar) => [bar.key, bar]));
  const days: Bar[] = [];
  for (let at = Date.parse(since); at <= Date.parse(until); at += 86_400_000) {
    const key = new Date(at).toISOString().slice(0, 10);
    const name = new Date(at).toLocaleDateString("en-US", { month: "short", day: "numeric", timeZone: "UTC" });
    days.push({ ...(found.get(key) ?? { value: 0, shown: shownAs(of, 0) }), key, name });
  }
  return days;
}

function Below({ title, tasks }: { title: string; tasks: TaskSummary[] | null }) {
  if (!tasks || tasks.length === 0) return <p className="mt-2 text-sm text-muted">No task of {visible(title)} is in the list.</p>;
  return (
    <ul aria-label={`Tasks of ${visible(title)}`} className="mt-2 rounded-lg bg-sunken px-3 py-1">
      {tasks.slice(0, 20).map((task) => (
        <li key={task.id}>
          <Link to="/tasks/$task/cost" params={{ task: task.id }} className="flex min-h-8 items-center gap-2 text-sm hover:underline">
            <StateMark state={task.state} />
            <span className="hostile min-w-0 flex-1 truncate">{visible(task.title ?? task.id)}</span>
          </Link>
        </li>
      ))}
      {tasks.length > 20 && <li className="py-1 text-xs text-muted">and {count(tasks.length - 20)} more</li>}
    </ul>
  );
}
