import { useInfiniteQuery, useMutation, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate, useRouter, useSearch } from "@tanstack/react-router";
import { useVirtualizer } from "@tanstack/react-virtual";
import { GitBranch, Search, X } from "lucide-react";
import { memo, useCallback, useEffect, useMemo, useRef, useState } from "react";
import { api, data, type TaskSummary } from "@/api/client";
import { withOrg } from "@/api/org";
import { LISTS, tasks } from "@/api/queries";
import { repositoryName } from "@/text/format";
import { visible } from "@/text/ansi";
import { Button } from "@/ui/controls";
import { Confirm } from "@/ui/dialog";
import { useMedia } from "@/ui/media";
import { ACTIVE, Ago, Empty, Failed, isActive, Skeleton, StateMark, Took } from "@/ui/states";
import { toast } from "@/ui/toast";
import type { Filter, TaskSearch } from "./filters";
import { FirstRun } from "./FirstRun";

const FILTERS: Record<Filter, { name: string; states?: TaskSummary["state"][] }> = {
  all: { name: "All" },
  active: { name: "Active", states: ACTIVE },
  succeeded: { name: "Succeeded", states: ["succeeded"] },
  failed: { name: "Not succeeded", states: ["failed", "timed_out", "cancelled", "rejected"] },
};
const ROW = { narrow: 60, wide: 40 };

export function Tasks() {
  const { q, show = "all" } = useSearch({ strict: false }) as TaskSearch;
  const navigate = useNavigate();
  const search = useRef<HTMLInputElement>(null);
  const [text, setText] = useState(q ?? "");
  useEffect(() => setText(q ?? ""), [q]);
  useEffect(() => {
    const timer = window.setTimeout(() => {
      if ((q ?? "") !== text.trim()) void navigate({ to: "/", search: (before: TaskSearch) => ({ ...before, q: text.trim() || undefined }), replace: true });
    }, 200);
    return () => window.clearTimeout(timer);
  }, [text, q, navigate]);

  const found = useInfiniteQuery(tasks({ state: FILTERS[show].states, q }));
  // A judge's task belongs to its candidate, and stands beside it in the comparison. A search finds it.
  const rows = useMemo(() => (found.data?.pages ?? []).flatMap((page) => page.tasks).filter(({ labels }) => q || !("judge-of" in labels)), [found.data, q]);
  const filtered = show !== "all" || Boolean(q);
  if (found.isSuccess && rows.length === 0 && !found.hasNextPage && !filtered) return <FirstRun />;

  return (
    <div className="flex h-full flex-col">
      <header className="flex flex-wrap items-center gap-x-4 gap-y-2 border-b border-line px-4 py-3 md:px-6">
        <h1 className="text-lg font-semibold tracking-tight">Tasks</h1>
        <div role="group" aria-label="Show" className="order-3 flex w-full overflow-x-auto md:gap-1 md:order-none md:w-auto">
          {(Object.keys(FILTERS) as Filter[]).map((name) => (
            <Link
              key={name}
              to="/"
              search={{ q, show: name === "all" ? undefined : name }}
              aria-current={name === show ? "true" : undefined}
              className={`min-h-8 whitespace-nowrap rounded-full border px-1.5 py-1 text-sm md:px-3 ${name === show ? "border-line bg-surface font-medium shadow-xs" : "border-transparent text-muted hover:text-text"}`}
            >
              {FILTERS[name].name}
            </Link>
          ))}
          <Link to="/batches" className="min-h-8 whitespace-nowrap rounded-full px-1.5 py-1 text-sm text-muted md:px-3 hover:text-text">Batches</Link>
        </div>
        <div className="relative ml-auto min-w-0 flex-1 md:max-w-72">
          <Search className="pointer-events-none absolute left-2.5 top-2.5 size-4 text-muted" aria-hidden />
          <input
            ref={search}
            data-search
            type="search"
            aria-label="Search tasks"
            className="field !pl-8"
            placeholder="Search prompts and labels"
            value={text}
            onChange={(event) => setText(event.target.value)}
            onKeyDown={(event) => event.key === "Escape" && event.currentTarget.blur()}
          />
        </div>
      </header>
      {found.isPending ? (
        <Skeleton rows={8} />
      ) : found.error && rows.length === 0 ? (
        <Failed error={found.error} retry={() => void found.refetch()} />
      ) : rows.length === 0 ? (
        <Empty title="No task matches" action={<Button onClick={() => void navigate({ to: "/", search: {} })}>Show all tasks</Button>}>
          {q ? <>Nothing with “{q}”{show === "all" ? "" : " among these"}.</> : "There is none of these now."}
        </Empty>
      ) : (
        <List rows={rows} more={found.hasNextPage} fetching={found.isFetchingNextPage} fetchMore={() => void found.fetchNextPage()} search={search} />
      )}
    </div>
  );
}

function List({ rows, more, fetching, fetchMore, search }: {
  rows: TaskSummary[];
  more: boolean;
  fetching: boolean;
  fetchMore: () => void;
  search: React.RefObject<HTMLInputElement | null>;
}) {
  const box = useRef<HTMLDivElement>(null);
  const navigate = useNavigate();
  const router = useRouter();
  const [current, setCurrent] = useState<string | null>(null);
  const [selected, select] = useState<ReadonlySet<string>>(new Set());
  const wide = useMedia("(min-width: 64rem)");
  const height = wide ? ROW.wide : ROW.narrow;
  const list = useVirtualizer({ count: rows.length + (more ? 1 : 0), getScrollElement: () => box.current, estimateSize: () => height, overscan: 4 });
  useEffect(() => list.measure(), [list, height]);
  const items = list.getVirtualItems();
  const last = items.at(-1)?.index ?? 0;
  useEffect(() => {
    if (more && !fetching && last >= rows.length - 20) fetchMore();
  }, [more, fetching, last, rows.length, fetchMore]);
  const toggle = useCallback((id: string) => select((before) => {
    const to = new Set(before);
    if (!to.delete(id)) to.add(id);
    return to;
  }), []);
  const latest = useRef({ rows, current, toggle });
  latest.current = { rows, current, toggle };
  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      const target = event.target as HTMLElement;
      if (event.metaKey || event.ctrlKey || event.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName) || document.querySelector("dialog[open]")) return;
      const { rows, current, toggle } = latest.current;
      const at = rows.findIndex(({ id }) => id === current);
      const row = rows[at];
      if (event.key === "/") {
        event.preventDefault();
        search.current?.focus();
      } else if (event.key === "j" || event.key === "k") {
        const to = Math.min(Math.max(at + (event.key === "j" ? 1 : -1), 0), rows.length - 1);
        setCurrent(rows[to]?.id ?? null);
        list.scrollToIndex(to);
      } else if (event.key === "Enter" && row && target === document.body) {
        void navigate({ to: "/tasks/$task", params: { task: row.id } });
      } else if (event.key === "x" && row) toggle(row.id);
      else if (event.key === "Escape") select(new Set());
    };
    window.addEventListener("keydown", pressed);
    return () => window.removeEventListener("keydown", pressed);
  }, [list, navigate, search]);
  return (
    <>
      <div ref={box} className="min-h-0 flex-1 overflow-y-auto" tabIndex={-1}>
        <ul
          aria-label="Tasks"
          className="relative"
          style={{ height: list.getTotalSize() }}
          onPointerOver={(event) => {
            const task = taskOf(event.target);
            if (task) void router.preloadRoute({ to: "/tasks/$task", params: { task } });
          }}
          onClick={(event) => {
            const task = taskOf(event.target);
            if (!task || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
            event.preventDefault();
            void navigate({ to: "/tasks/$task", params: { task } });
          }}
        >
          {items.map((item) => {
            const row = rows[item.index];
            return (
              <li key={item.key} aria-setsize={more ? -1 : rows.length} aria-posinset={item.index + 1} className="absolute inset-x-0 top-0" style={{ transform: `translateY(${item.start}px)`, height }}>
                {row ? <Row task={row} wide={wide} current={row.id === current} selected={selected.has(row.id)} toggle={toggle} /> : <div className="skeleton mx-6 my-2 h-6" />}
              </li>
            );
          })}
        </ul>
      </div>
      {selected.size > 0 && <Selection tasks={rows.filter(({ id }) => selected.has(id))} clear={() => select(new Set())} />}
    </>
  );
}

/** The task whose link something is in. One listener of the list serves the links of all rows. */
const taskOf = (target: EventTarget): string | undefined => (target as Element).closest<HTMLElement>("a[data-task]")?.dataset["task"];

const Row = memo(function Row({ task, wide, current, selected, toggle }: { task: TaskSummary; wide: boolean; current: boolean; selected: boolean; toggle: (id: string) => void }) {
  const title = (
    <a href={withOrg(`/tasks/${task.id}`)} data-task={task.id} className="hostile block truncate font-medium after:absolute after:inset-0 after:left-12">
      {visible(task.title ?? "Erased task")}
    </a>
  );
  const asks = task.waiting?.code === "permission";
  const reason = asks ? <span className="whitespace-nowrap font-medium text-warn">waits for an answer</span> : task.reason && <span className="truncate">{task.reason.replaceAll("_", " ")}</span>;
  return (
    <div className={`group relative flex h-full items-center gap-3 border-b border-line px-4 md:px-6 ${selected ? "bg-accent/8" : current ? "bg-sunken" : "hover:bg-sunken/60"}`}>
      {current && <span className="absolute inset-y-0 left-0 w-0.5 bg-accent" aria-hidden />}
      <span className="relative size-5 shrink-0">
        <span className={`absolute inset-0 grid place-items-center ${selected ? "opacity-0" : "pointer:group-hover:opacity-0 group-focus-within:opacity-0"}`}>
          <StateMark state={task.state} asks={asks} />
        </span>
        <input
          type="checkbox"
          aria-label={`Select ${visible(task.title ?? task.id)}`}
          className={`absolute inset-0.5 size-4 accent-(--accent) ${selected ? "" : "opacity-0 focus:opacity-100 pointer:group-hover:opacity-100 group-focus-within:opacity-100"}`}
          checked={selected}
          onChange={() => toggle(task.id)}
        />
      </span>
      {wide ? (
        <>
          <div className="flex min-w-0 flex-1 items-center gap-3 text-sm">
            {title}
            <span className="flex min-w-0 shrink-0 items-center gap-1.5 text-xs text-muted">{reason}<Labels task={task} /></span>
          </div>
          <div className="flex shrink-0 items-center gap-4 text-xs text-muted">
            <span className="w-44 min-w-0"><Repository task={task} /></span>
            <span className="w-14 truncate">{task.agent}</span>
            <span className="tabular w-20 text-right">{task.started_at && <Took from={task.started_at} until={task.finished_at} />}</span>
            <span className="tabular w-20 text-right"><Ago time={task.submitted_at} /></span>
          </div>
        </>
      ) : (
        <>
          <div className="min-w-0 flex-1">
            {title}
            <p className="flex min-w-0 items-center gap-x-2 overflow-hidden whitespace-nowrap text-xs text-muted">
              <span>{task.agent}</span>
              {asks && reason}
              <Repository task={task} />
              {!asks && <Labels task={task} />}
              {!asks && <span className="hidden truncate sm:inline">{reason}</span>}
            </p>
          </div>
          <div className="tabular shrink-0 text-right text-xs text-muted">
            <p><Ago time={task.submitted_at} /></p>
            {task.started_at && <p><Took from={task.started_at} until={task.finished_at} /></p>}
          </div>
        </>
      )}
    </div>
  );
});

function Repository({ task }: { task: TaskSummary }) {
  if (!task.repo) return null;
  return (
    <span className="hostile flex min-w-16 items-center gap-1 overflow-hidden">
      <GitBranch className="size-3 shrink-0" aria-hidden />
      <span className="truncate">{task.repo.url ? visible(repositoryName(task.repo.url)) : "uploaded"}</span>
    </span>
  );
}

function Labels({ task }: { task: TaskSummary }) {
  return Object.entries(task.labels).slice(0, 3).map(([name, value]) => (
    <span key={name} className="hostile min-w-6 max-w-36 truncate rounded border border-line bg-sunken px-1.5">{visible(value ? `${name}: ${value}` : name)}</span>
  ));
}

function Selection({ tasks, clear }: { tasks: TaskSummary[]; clear: () => void }) {
  const cache = useQueryClient();
  const [asking, ask] = useState(false);
  const active = tasks.filter(({ state }) => isActive(state));
  const cancel = useMutation({
    mutationFn: async () => {
      for (const { id } of active) await data(api.POST("/v1/tasks/{task}/cancel", { params: { path: { task: id } } }));
    },
    onSuccess: () => {
      toast(`${active.length} ${active.length === 1 ? "task is" : "tasks are"} being cancelled.`);
      ask(false);
      clear();
    },
    onSettled: () => cache.invalidateQueries({ queryKey: LISTS }),
  });
  return (
    <div role="region" aria-label="Selection" className="flex items-center gap-3 border-t border-line bg-surface px-4 py-2.5 text-sm md:px-6">
      <span className="font-medium">{tasks.length} selected</span>
      <Button look="danger" disabled={active.length === 0} onClick={() => ask(true)}>Cancel {active.length || ""}</Button>
      <Button look="bare" onClick={clear} aria-label="Clear the selection"><X className="size-4" aria-hidden /> Clear</Button>
      <Confirm
        open={asking}
        title={`Cancel ${active.length} ${active.length === 1 ? "task" : "tasks"}?`}
        detail="What they have done so far is billed. Their output stays."
        yes="Cancel them"
        busy={cancel.isPending}
        error={cancel.error?.message}
        onYes={() => cancel.mutate()}
        onClose={() => ask(false)}
      />
    </div>
  );
}
