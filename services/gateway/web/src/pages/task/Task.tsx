import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, Outlet, useNavigate, useParams, useRouterState } from "@tanstack/react-router";
import { ChevronLeft, Ellipsis, GitBranch, RotateCcw, Square } from "lucide-react";
import { createContext, lazy, Suspense, useContext, useEffect, useMemo, useRef, useState, useSyncExternalStore } from "react";
import { api, data, type Task as TaskData } from "@/api/client";
import { LISTS, task as taskQuery, taskBill } from "@/api/queries";
import { type Snapshot, Transcript } from "@/live/transcript";
import { visible } from "@/text/ansi";
import { money, repositoryName } from "@/text/format";
import { Button, buttonClass } from "@/ui/controls";
import { Confirm } from "@/ui/dialog";
import { Ago, Empty, Failed, isActive, Skeleton, StateMark, Took } from "@/ui/states";
import { toast } from "@/ui/toast";
import { Problem } from "@/api/client";
import { Permissions } from "./Permissions";

interface Opened {
  task: TaskData;
  live: Snapshot;
}
const Context = createContext<Opened | null>(null);

/** The task of this page, and what it does. */
export function useOpened(): Opened {
  const opened = useContext(Context);
  if (!opened) throw new Error("outside of a task");
  return opened;
}

const TABS = [
  { to: "/tasks/$task", name: "Activity" },
  { to: "/tasks/$task/changes", name: "Changes" },
  { to: "/tasks/$task/timeline", name: "Timeline" },
  { to: "/tasks/$task/cost", name: "Cost" },
  { to: "/tasks/$task/terminal", name: "Terminal" },
] as const;

export function TaskPage() {
  const { task: id } = useParams({ strict: false }) as { task: string };
  return <Loaded key={id} id={id} />;
}

function Loaded({ id }: { id: string }) {
  const cache = useQueryClient();
  const transcript = useMemo(() => new Transcript(id), [id]);
  const live = useSyncExternalStore(transcript.subscribe, transcript.read);
  const found = useQuery(taskQuery(id, live.changed || undefined));
  // What has changed on the stream is read again, once for each change.
  useEffect(() => {
    if (live.changed > 0) void cache.invalidateQueries({ queryKey: ["task", id] });
  }, [cache, id, live.changed, live.ended]);
  const title = found.data?.title;
  useEffect(() => {
    if (title) document.title = `${title} · Remote Claude`;
    return () => void (document.title = "Remote Claude");
  }, [title]);
  if (found.isPending) return <Skeleton rows={4} />;
  if (!found.data) {
    if (found.error instanceof Problem && found.error.status === 404) {
      return <Empty title="There is no such task" action={<Link to="/" className={buttonClass()}>All tasks</Link>}>It may belong to another organisation.</Empty>;
    }
    return <Failed error={found.error} retry={() => void found.refetch()} />;
  }
  const state = live.state ?? found.data.state;
  return (
    <Context.Provider value={{ task: { ...found.data, state, changed: Math.max(found.data.changed, live.changed) }, live }}>
      <Page />
    </Context.Provider>
  );
}

function Page() {
  const { task } = useOpened();
  const navigate = useNavigate();
  const path = useRouterState({ select: (state) => state.location.pathname });
  const place = (to: string) => to.replace("$task", task.id);
  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      if (event.metaKey || event.ctrlKey || event.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test((event.target as HTMLElement).tagName) || document.querySelector("dialog[open]")) return;
      const tab = TABS[Number(event.key) - 1];
      if (tab) void navigate({ to: tab.to, params: { task: task.id } });
    };
    window.addEventListener("keydown", pressed);
    return () => window.removeEventListener("keydown", pressed);
  }, [navigate, task.id]);
  return (
    <div className="flex h-full flex-col">
      <header className="border-b border-line px-4 pt-3 md:px-6">
        <div className="flex items-start gap-3">
          <Link to="/" aria-label="All tasks" className="-ml-2 grid size-8 shrink-0 place-items-center rounded-lg text-muted hover:bg-sunken hover:text-text">
            <ChevronLeft className="size-5" aria-hidden />
          </Link>
          <h1 className="hostile line-clamp-2 min-w-0 flex-1 pt-0.5 text-base font-semibold leading-snug tracking-tight md:text-lg">{visible(task.title ?? "Erased task")}</h1>
          <Actions />
        </div>
        <Facts />
        <nav aria-label="Task" className="-mb-px mt-2 flex overflow-x-auto sm:gap-1 md:pl-6">
          {TABS.map(({ to, name }) => {
            const here = path === place(to);
            return (
              <Link
                key={to}
                to={to}
                params={{ task: task.id }}
                replace
                aria-current={here ? "page" : undefined}
                className={`min-h-9 whitespace-nowrap border-b-2 px-2 py-1.5 text-sm sm:px-3 ${here ? "border-accent font-medium" : "border-transparent text-muted hover:text-text"}`}
              >
                {name}
              </Link>
            );
          })}
        </nav>
      </header>
      <Permissions />
      <div className="min-h-0 flex-1"><Outlet /></div>
    </div>
  );
}

function Facts() {
  const { task } = useOpened();
  const labels = Object.entries(task.labels).filter(([name]) => name !== "best-of");
  const group = task.labels["best-of"];
  return (
    <div className="mt-1 flex flex-wrap items-center gap-x-4 gap-y-1 text-sm text-muted md:pl-9">
      <span role="status" aria-label="State"><StateMark state={task.state} asks={task.waiting?.code === "permission"} named /></span>
      <span>{task.agent}</span>
      {task.repo && (
        <span className="hostile inline-flex min-w-0 items-center gap-1">
          <GitBranch className="size-3.5 shrink-0" aria-hidden />
          <span className="truncate">{task.repo.url ? visible(repositoryName(task.repo.url)) : "uploaded repository"}{task.repo.ref && ` @ ${visible(task.repo.ref)}`}</span>
        </span>
      )}
      <Took from={task.started_at} until={task.finished_at} />
      <Cost />
      <Ago time={task.submitted_at} />
      {task.pull_request?.state === "opened" && task.pull_request.url?.startsWith("https://") && (
        <a href={task.pull_request.url} target="_blank" rel="noreferrer noopener" className="text-ok underline underline-offset-4">Pull request {task.pull_request.number && `#${task.pull_request.number}`}</a>
      )}
      {task.attempt > 1 && <span>attempt {task.attempt} of {task.max_attempts}</span>}
      {group && <Link to="/compare/$group" params={{ group }} className="text-accent underline underline-offset-4">Compare the candidates</Link>}
      {labels.map(([name, value]) => (
        <span key={name} className="hostile max-w-52 truncate rounded border border-line bg-sunken px-1.5 text-xs leading-5">{visible(value ? `${name}: ${value}` : name)}</span>
      ))}
      {(task.detail ?? task.reason) && <span className={`hostile basis-full ${task.state === "succeeded" ? "" : "text-bad"}`}>{visible(task.detail ?? task.reason?.replaceAll("_", " ") ?? "")}</span>}
    </div>
  );
}

/** What the task has come to so far. While it runs it is asked for every few seconds. */
function Cost() {
  const { task, live } = useOpened();
  const active = isActive(task.state);
  const bill = useQuery({ ...taskBill(task.id, task.changed), refetchInterval: active ? 3_000 : false });
  if (!bill.data) return null;
  // The stream says what the model has cost before the meter has it.
  const total = Math.max(bill.data.total_nano_usd, active ? Number(live.cost ?? 0) : 0);
  return (
    <Link to="/tasks/$task/cost" params={{ task: task.id }} replace className="tabular underline decoration-line underline-offset-4 hover:decoration-current" aria-label={`Cost ${money(total)}`}>
      {money(total)}
    </Link>
  );
}

function Actions() {
  const { task } = useOpened();
  const cache = useQueryClient();
  const [asking, ask] = useState(false);
  const trigger = useRef<HTMLButtonElement>(null);
  const cancel = useMutation({
    mutationFn: () => data(api.POST("/v1/tasks/{task}/cancel", { params: { path: { task: task.id } } })),
    onSuccess: () => {
      ask(false);
      toast("Cancelling. The agent gets a moment to stop.");
      void cache.invalidateQueries({ queryKey: LISTS });
    },
  });
  const again = { prompt: task.prompt ?? undefined, agent: task.agent, repo: task.repo?.url ?? undefined, ref: task.repo?.ref ?? undefined };
  return (
    <div className="flex shrink-0 items-center gap-2">
      {isActive(task.state) ? (
        <Button ref={trigger} look="danger" aria-label="Cancel the task" onClick={() => ask(true)}>
          <Square className="size-3.5" aria-hidden /> <span className="hidden sm:inline">Cancel</span>
        </Button>
      ) : (
        <Link to="/new" search={again} className={buttonClass()} aria-label="Run again">
          <RotateCcw className="size-3.5" aria-hidden /> <span className="hidden sm:inline">Run again</span>
        </Link>
      )}
      <MoreButton />
      <Confirm
        open={asking}
        title="Cancel this task?"
        detail="The agent stops. What it has used so far is billed; its output stays."
        yes="Cancel the task"
        busy={cancel.isPending}
        error={cancel.error?.message}
        onYes={() => cancel.mutate()}
        onClose={() => ask(false)}
      />
    </div>
  );
}

const MoreMenu = lazy(() => import("./MoreMenu"));

/** The menu is loaded when somebody is about to open it. */
function MoreButton() {
  const { task } = useOpened();
  const [wanted, want] = useState(false);
  const button = <Button look="bare" aria-label="More" aria-haspopup="menu" className="!px-2" onClick={() => want(true)}><Ellipsis className="size-4" aria-hidden /></Button>;
  return wanted ? <Suspense fallback={button}><MoreMenu task={task} /></Suspense> : button;
}
