import { createRootRoute, createRoute, createRouter, lazyRouteComponent, Link, redirect } from "@tanstack/react-router";
import type { UsageSearch } from "./pages/billing/Usage";
import type { JoinSearch } from "./pages/Join";
import type { Prefill } from "./pages/New";
import { filterOf, Tasks, type TaskSearch } from "./pages/Tasks";
import { Shell } from "./shell/Shell";
import { buttonClass } from "./ui/controls";
import { Empty, Failed, Skeleton } from "./ui/states";

const text = (value: unknown): string | undefined => (typeof value === "string" && value !== "" ? value : typeof value === "number" ? String(value) : undefined);

const root = createRootRoute({ component: Shell });
const parent = () => root;

const tasks = createRoute({
  getParentRoute: parent,
  path: "/",
  component: Tasks,
  validateSearch: (search): TaskSearch => ({ q: text(search["q"]), show: filterOf(search["show"]) }),
});
const create = createRoute({
  getParentRoute: parent,
  path: "/new",
  component: lazyRouteComponent(() => import("./pages/New"), "New"),
  validateSearch: (search): Prefill => ({ prompt: text(search["prompt"]), agent: text(search["agent"]), repo: text(search["repo"]), ref: text(search["ref"]) }),
});

const page = () => import("./pages/task");
const task = createRoute({ getParentRoute: parent, path: "/tasks/$task", component: lazyRouteComponent(page, "TaskPage") });
const below = () => task;
const activity = createRoute({ getParentRoute: below, path: "/", component: lazyRouteComponent(page, "Activity") });
const changes = createRoute({ getParentRoute: below, path: "/changes", component: lazyRouteComponent(page, "Changes") });
const timeline = createRoute({ getParentRoute: below, path: "/timeline", component: lazyRouteComponent(page, "Timeline") });
const cost = createRoute({ getParentRoute: below, path: "/cost", component: lazyRouteComponent(page, "TaskCost") });

const usage = createRoute({
  getParentRoute: parent,
  path: "/usage",
  component: lazyRouteComponent(() => import("./pages/billing/Usage"), "Usage"),
  validateSearch: (search): UsageSearch => ({ period: text(search["period"]) }),
});
const installation = createRoute({
  getParentRoute: parent,
  path: "/installation",
  component: lazyRouteComponent(() => import("./pages/Installation"), "Installation"),
});

const join = createRoute({
  getParentRoute: parent,
  path: "/join",
  component: lazyRouteComponent(() => import("./pages/Join"), "Join"),
  validateSearch: (search): JoinSearch => ({ token: text(search["token"]) }),
});
const settingsPages = () => import("./pages/settings");
const settings = createRoute({ getParentRoute: parent, path: "/settings", component: lazyRouteComponent(settingsPages, "Settings") });
const inSettings = () => settings;
const general = createRoute({ getParentRoute: inSettings, path: "/", component: lazyRouteComponent(settingsPages, "General") });
const keys = createRoute({ getParentRoute: inSettings, path: "/keys", component: lazyRouteComponent(settingsPages, "Keys") });
const sessions = createRoute({ getParentRoute: inSettings, path: "/sessions", component: lazyRouteComponent(settingsPages, "Sessions") });
const members = createRoute({ getParentRoute: inSettings, path: "/members", component: lazyRouteComponent(settingsPages, "Members") });
const allTasks = createRoute({
  getParentRoute: parent,
  path: "/tasks",
  beforeLoad: () => {
    throw redirect({ to: "/" });
  },
});

export const router = createRouter({
  routeTree: root.addChildren([
    tasks, allTasks, create, usage, installation, join,
    task.addChildren([activity, changes, timeline, cost]),
    settings.addChildren([general, keys, sessions, members]),
  ]),
  defaultPreload: "intent",
  defaultPendingComponent: () => <Skeleton />,
  defaultErrorComponent: ({ error, reset }) => <Failed error={error} retry={reset} />,
  defaultNotFoundComponent: () => (
    <Empty title="There is no such page" action={<Link to="/" className={buttonClass()}>All tasks</Link>} />
  ),
  scrollRestoration: true,
});

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}
