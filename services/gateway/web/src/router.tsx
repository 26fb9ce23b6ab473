import { createRootRoute, createRoute, createRouter, lazyRouteComponent, Link, redirect, retainSearchParams } from "@tanstack/react-router";
import type { Dimension } from "./api/client";
import { currentOrg } from "./api/org";
import { client, task as taskQuery } from "./api/queries";
import type { AnalyticsSearch } from "./pages/billing/Analytics";
import type { ChartSearch } from "./pages/billing/Charts";
import type { UsageSearch } from "./pages/billing/Usage";
import type { JoinSearch } from "./pages/Join";
import type { KeySearch } from "./pages/settings/Keys";
import { PREFILLS, type Prefill } from "./pages/new/prefill";
import { filterOf, type TaskSearch } from "./pages/filters";
import { Shell } from "./shell/Shell";
import { buttonClass } from "./ui/controls";
import { Empty, Failed, Skeleton } from "./ui/states";

const text = (value: unknown): string | undefined => (typeof value === "string" && value !== "" ? value : typeof value === "number" ? String(value) : undefined);

const DIMENSIONS: Dimension[] = ["day", "person", "team", "repository", "label", "model", "agent", "task"];
const days = (value: unknown): number | undefined => (Number.isInteger(value) && Number(value) > 0 && Number(value) <= 3660 ? Number(value) : undefined);

interface RootSearch {
  org?: string;
}

// Of somebody who is in several organisations the address names the one that the page acts for, so that a link opens for others.
const root = createRootRoute({
  component: Shell,
  validateSearch: (search): RootSearch => ({ org: text(search["org"]) }),
  search: { middlewares: [retainSearchParams<RootSearch>(["org"])] },
});
const parent = () => root;

const tasks = createRoute({
  getParentRoute: parent,
  path: "/",
  component: lazyRouteComponent(() => import("./pages/Tasks"), "Tasks"),
  validateSearch: (search): TaskSearch => ({ q: text(search["q"]), show: filterOf(search["show"]) }),
});
const create = createRoute({
  getParentRoute: parent,
  path: "/new",
  component: lazyRouteComponent(() => import("./pages/New"), "New"),
  validateSearch: (search): Prefill => Object.fromEntries(PREFILLS.map((name) => [name, text(search[name])]).filter(([, value]) => value !== undefined)),
});

const page = () => import("./pages/task");
const task = createRoute({
  getParentRoute: parent,
  path: "/tasks/$task",
  component: lazyRouteComponent(page, "TaskPage"),
  // Asked for while the page's script is loaded. A chosen organisation is checked first, with the session.
  loader: ({ params }) => {
    if (!currentOrg()) void client.prefetchQuery(taskQuery(params.task));
  },
});
const below = () => task;
const activity = createRoute({ getParentRoute: below, path: "/", component: lazyRouteComponent(page, "Activity") });
const changes = createRoute({ getParentRoute: below, path: "/changes", component: lazyRouteComponent(() => import("./pages/task/Changes"), "Changes") });
const timeline = createRoute({ getParentRoute: below, path: "/timeline", component: lazyRouteComponent(() => import("./pages/task/Timeline"), "Timeline") });
const cost = createRoute({ getParentRoute: below, path: "/cost", component: lazyRouteComponent(() => import("./pages/task/Cost"), "TaskCost") });

const terminal = createRoute({ getParentRoute: below, path: "/terminal", component: lazyRouteComponent(() => import("./pages/task/Terminal"), "Terminal") });

const groupPages = () => import("./pages/groups");
const compare = createRoute({ getParentRoute: parent, path: "/compare/$group", component: lazyRouteComponent(groupPages, "Compare") });
const batches = createRoute({ getParentRoute: parent, path: "/batches", component: lazyRouteComponent(groupPages, "Batches") });
const batch = createRoute({ getParentRoute: parent, path: "/batches/$batch", component: lazyRouteComponent(groupPages, "BatchPage") });

const billingPages = () => import("./pages/billing");
const billing = createRoute({ getParentRoute: parent, path: "/usage", component: lazyRouteComponent(billingPages, "Billing") });
const inBilling = () => billing;
const usage = createRoute({
  getParentRoute: inBilling,
  path: "/",
  component: lazyRouteComponent(billingPages, "Usage"),
  validateSearch: (search): UsageSearch => ({ period: text(search["period"]) }),
});
const charts = createRoute({
  getParentRoute: inBilling,
  path: "/charts",
  component: lazyRouteComponent(billingPages, "Charts"),
  validateSearch: (search): ChartSearch => ({
    by: DIMENSIONS.find((one) => one === search["by"]), last: days(search["last"]), of: text(search["of"]), pick: typeof search["pick"] === "string" ? search["pick"] : undefined,
  }),
});
const invoices = createRoute({ getParentRoute: inBilling, path: "/invoices", component: lazyRouteComponent(billingPages, "Invoices") });
const invoice = createRoute({ getParentRoute: inBilling, path: "/invoices/$invoice", component: lazyRouteComponent(billingPages, "InvoicePage") });
const plan = createRoute({ getParentRoute: inBilling, path: "/plan", component: lazyRouteComponent(billingPages, "PlanPage") });
const analytics = createRoute({
  getParentRoute: inBilling,
  path: "/analytics",
  component: lazyRouteComponent(billingPages, "Analytics"),
  validateSearch: (search): AnalyticsSearch => ({ last: days(search["last"]) }),
});
const installationPages = () => import("./pages/installation");
const installation = createRoute({ getParentRoute: parent, path: "/installation", component: lazyRouteComponent(installationPages, "Installation") });
const inInstallation = () => installation;
const overview = createRoute({ getParentRoute: inInstallation, path: "/", component: lazyRouteComponent(installationPages, "Overview") });
const parkedEvents = createRoute({ getParentRoute: inInstallation, path: "/parked", component: lazyRouteComponent(installationPages, "Parked") });
const organisations = createRoute({ getParentRoute: inInstallation, path: "/organisations", component: lazyRouteComponent(installationPages, "Organisations") });
const supportPages = () => import("./pages/support");
const installationTickets = createRoute({ getParentRoute: inInstallation, path: "/support", component: lazyRouteComponent(supportPages, "EveryTicket") });
const installationTicket = createRoute({ getParentRoute: inInstallation, path: "/support/$ticket", component: lazyRouteComponent(supportPages, "AnyTicketPage") });
const prices = createRoute({ getParentRoute: inInstallation, path: "/prices", component: lazyRouteComponent(installationPages, "Prices") });

const join = createRoute({
  getParentRoute: parent,
  path: "/join",
  component: lazyRouteComponent(() => import("./pages/Join"), "Join"),
  validateSearch: (search): JoinSearch => ({ token: text(search["token"]) }),
});
const shared = createRoute({ getParentRoute: parent, path: "/shared/$share", component: lazyRouteComponent(() => import("./pages/Shared"), "SharedPage") });
const settingsPages = () => import("./pages/settings");
const settings = createRoute({ getParentRoute: parent, path: "/settings", component: lazyRouteComponent(settingsPages, "Settings") });
const inSettings = () => settings;
const general = createRoute({ getParentRoute: inSettings, path: "/", component: lazyRouteComponent(settingsPages, "General") });
const sessions = createRoute({ getParentRoute: inSettings, path: "/sessions", component: lazyRouteComponent(settingsPages, "Sessions") });
const organisation = createRoute({ getParentRoute: inSettings, path: "/organisation", component: lazyRouteComponent(settingsPages, "Organisation") });
const members = createRoute({ getParentRoute: inSettings, path: "/members", component: lazyRouteComponent(settingsPages, "Members") });
const keys = createRoute({
  getParentRoute: inSettings,
  path: "/keys",
  component: lazyRouteComponent(settingsPages, "Keys"),
  validateSearch: (search): KeySearch => ({ of: text(search["of"]) }),
});
const teams = createRoute({ getParentRoute: inSettings, path: "/teams", component: lazyRouteComponent(settingsPages, "Teams") });
const serviceAccounts = createRoute({ getParentRoute: inSettings, path: "/service-accounts", component: lazyRouteComponent(settingsPages, "ServiceAccounts") });
const secrets = createRoute({ getParentRoute: inSettings, path: "/secrets", component: lazyRouteComponent(settingsPages, "Secrets") });
const models = createRoute({ getParentRoute: inSettings, path: "/models", component: lazyRouteComponent(settingsPages, "Models") });
const audit = createRoute({ getParentRoute: inSettings, path: "/audit", component: lazyRouteComponent(settingsPages, "Audit") });
const schedules = createRoute({ getParentRoute: inSettings, path: "/schedules", component: lazyRouteComponent(settingsPages, "Schedules") });
const tickets = createRoute({ getParentRoute: inSettings, path: "/support", component: lazyRouteComponent(supportPages, "Tickets") });
const ticket = createRoute({ getParentRoute: inSettings, path: "/support/$ticket", component: lazyRouteComponent(supportPages, "TicketPage") });
const webhooks = createRoute({ getParentRoute: inSettings, path: "/webhooks", component: lazyRouteComponent(settingsPages, "Webhooks") });
const allTasks = createRoute({
  getParentRoute: parent,
  path: "/tasks",
  beforeLoad: () => {
    throw redirect({ to: "/" });
  },
});

export const router = createRouter({
  routeTree: root.addChildren([
    tasks, allTasks, create, join, compare, batches, batch, shared,
    installation.addChildren([overview, parkedEvents, organisations, prices, installationTickets, installationTicket]),
    billing.addChildren([usage, charts, invoices, invoice, plan, analytics]),
    task.addChildren([activity, changes, timeline, cost, terminal]),
    settings.addChildren([general, sessions, organisation, members, teams, keys, serviceAccounts, secrets, models, schedules, webhooks, audit, tickets, ticket]),
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
