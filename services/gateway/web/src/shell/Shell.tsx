import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, Outlet, useNavigate, useRouterState } from "@tanstack/react-router";
import { Building2, CircleGauge, Command as CommandIcon, ListTodo, Plus, Server, Settings, WifiOff } from "lucide-react";
import { type ComponentType, useCallback, useEffect, useState, useSyncExternalStore } from "react";
import { api, data } from "@/api/client";
import { LISTS, orgs, task as taskQuery } from "@/api/queries";
import { isOpen, useRights, useSession } from "@/api/session";
import { Notifications } from "@/live/notify";
import { stream } from "@/live/stream";
import { buttonClass, Kbd } from "@/ui/controls";
import { Failed, Skeleton } from "@/ui/states";
import { visible } from "@/text/ansi";
import { toast, Toasts } from "@/ui/toast";
import { Problem } from "@/api/client";
import { useCommands, useShortcuts } from "./commands";
import { Help } from "./Help";
import { Palette } from "./Palette";
import { SignedOut } from "./SignedOut";

interface Place {
  to: "/" | "/usage" | "/settings" | "/installation";
  name: string;
  icon: ComponentType<{ className?: string }>;
}
const PLACES: Place[] = [
  { to: "/", name: "Tasks", icon: ListTodo },
  { to: "/usage", name: "Usage", icon: CircleGauge },
  { to: "/settings", name: "Settings", icon: Settings },
];
/** Words beside an icon, where the navigation has room for them. */
const WIDE = "hidden lg:inline";
const OPERATORS: Place = { to: "/installation", name: "Installation", icon: Server };

export function Shell() {
  const open = useRouterState({ select: (state) => isOpen(state.location.pathname) });
  return open ? <Outlet /> : <ForMembers />;
}

function ForMembers() {
  const session = useSession();
  if (session.isPending) return <div className="mx-auto max-w-3xl"><Skeleton /></div>;
  if (session.error) {
    if (session.error instanceof Problem && session.error.status === 401) return <SignedOut />;
    return <Failed error={session.error} retry={() => void session.refetch()} />;
  }
  return <SignedIn />;
}

function SignedIn() {
  const cache = useQueryClient();
  const [palette, showPalette] = useState(false);
  const [help, showHelp] = useState(false);
  const openPalette = useCallback(() => showPalette(true), []);
  const signOut = useCallback(async () => {
    try {
      await data(api.DELETE("/v1/session"));
    } catch (error) {
      if (!(error instanceof Problem && error.status === 401)) return toast(String((error as Error).message), true);
    }
    stream.stop();
    cache.clear();
    window.location.assign("/");
  }, [cache]);
  const { operates } = useRights();
  const places = operates ? [...PLACES, OPERATORS] : PLACES;
  const commands = useCommands({ palette: openPalette, help: () => showHelp(true), signOut: () => void signOut() });
  useShortcuts(commands, openPalette);
  useLive();
  useOrgInAddress();
  const path = useRouterState({ select: (state) => state.location.pathname });
  const isAt = (to: string) => (to === "/" ? path === "/" || path.startsWith("/tasks/") : path.startsWith(to));
  return (
    <div className="flex h-full flex-col md:flex-row">
      <a href="#main" className="sr-only focus:not-sr-only focus:absolute focus:z-50 focus:m-2 focus:rounded-lg focus:bg-surface focus:px-3 focus:py-2">
        Skip to the content
      </a>
      <nav aria-label="Main" className="hidden w-14 shrink-0 flex-col gap-1 border-r border-line bg-sunken px-2 py-3 md:flex lg:w-52 lg:px-3 lg:py-4">
        <Link to="/" aria-label="Remote Claude" className="mb-3 flex min-h-8 items-center justify-center gap-2.5 rounded-lg font-semibold tracking-tight lg:justify-start lg:px-2">
          <img src="/favicon.svg" alt="" width="22" height="22" /> <span className={WIDE}>Remote Claude</span>
        </Link>
        <Link to="/new" aria-label="New task" title="New task" className={`${buttonClass("primary")} mb-3 !px-0`}>
          <Plus className="size-4" aria-hidden /> <span className={WIDE}>New task</span>
        </Link>
        {places.map(({ to, name, icon: Icon }) => (
          <Link
            key={to}
            to={to}
            aria-label={name}
            title={name}
            aria-current={isAt(to) ? "page" : undefined}
            className={`flex min-h-9 items-center justify-center gap-2.5 rounded-lg text-sm lg:justify-start lg:px-2.5 ${isAt(to) ? "bg-surface font-medium shadow-xs ring-1 ring-line" : "text-muted hover:bg-surface hover:text-text"}`}
          >
            <Icon className="size-4" aria-hidden /> <span className={WIDE}>{name}</span>
          </Link>
        ))}
        <div className="mt-auto space-y-1">
          <Organisation />
          <Connection />
          <button type="button" onClick={openPalette} aria-label="Commands" title="Commands, Ctrl K" className="flex min-h-9 w-full items-center justify-center gap-2.5 rounded-lg text-sm text-muted hover:bg-surface hover:text-text lg:justify-start lg:px-2.5">
            <CommandIcon className="size-4" aria-hidden /> <span className={WIDE}>Commands</span> <span className={`ml-auto ${WIDE}`}><Kbd>Ctrl K</Kbd></span>
          </button>
        </div>
      </nav>
      <div className="flex min-h-0 min-w-0 flex-1 flex-col">
        <LostBanner />
        <main id="main" tabIndex={-1} className="min-h-0 flex-1 outline-none">
          <Outlet />
        </main>
      </div>
      <nav aria-label="Main" className="flex shrink-0 justify-around border-t border-line bg-sunken pb-[env(safe-area-inset-bottom)] md:hidden">
        {places.slice(0, 2).map((place) => <Tab key={place.to} {...place} here={isAt(place.to)} />)}
        <Link to="/new" aria-label="New task" className="my-1.5 grid size-11 place-items-center rounded-full bg-accent text-on-accent">
          <Plus className="size-5" aria-hidden />
        </Link>
        {places.slice(2).map((place) => <Tab key={place.to} {...place} here={isAt(place.to)} />)}
      </nav>
      <Palette open={palette} onClose={() => showPalette(false)} commands={commands} />
      <Help open={help} onClose={() => showHelp(false)} commands={commands} />
      <Toasts />
    </div>
  );
}

function Tab({ to, name, icon: Icon, here }: Place & { here: boolean }) {
  return (
    <Link to={to} aria-current={here ? "page" : undefined} className={`flex min-h-14 min-w-16 flex-col items-center justify-center gap-0.5 text-xs ${here ? "font-medium text-accent" : "text-muted"}`}>
      <Icon className="size-5" aria-hidden /> {name}
    </Link>
  );
}

/** Names the organisation in the address where the person is in several, so that a copied link opens for others too. */
function useOrgInAddress(): void {
  const { data: session } = useSession();
  const navigate = useNavigate();
  const org = session && session.memberships.length > 1 ? (session.org ?? undefined) : undefined;
  const named = useRouterState({ select: (state) => (state.location.search as { org?: string }).org });
  useEffect(() => {
    // Whatever page is open: no one search type fits.
    if (org && named !== org) void navigate({ to: ".", search: ((before: object) => ({ ...before, org })) as never, replace: true });
  }, [navigate, org, named]);
}

/** Keeps lists and opened tasks true while something changes on the server. */
function useLive(): void {
  const cache = useQueryClient();
  const navigate = useNavigate();
  const user = useSession().data?.user ?? "";
  useEffect(() => {
    const notifications = new Notifications((task) => void navigate({ to: "/tasks/$task", params: { task } }));
    stream.onSignedOut = () => void cache.resetQueries({ queryKey: ["session"] });
    stream.start();
    let timer: number | undefined;
    const unfollow = stream.follow((tasks, position) => {
      if (tasks && notifications.wanted()) {
        for (const id of tasks.slice(0, 20)) void cache.fetchQuery({ ...taskQuery(id, position), staleTime: 0 }).then((task) => notifications.read(task, user), () => undefined);
      }
      if (timer !== undefined) return;
      timer = window.setTimeout(() => {
        timer = undefined;
        void cache.invalidateQueries({ queryKey: LISTS });
      }, tasks?.length === 0 ? 0 : 250);
    });
    return () => {
      window.clearTimeout(timer);
      unfollow();
      stream.stop();
    };
  }, [cache, navigate, user]);
}

/** Which organisation the page acts for, where there are several. */
function Organisation() {
  const session = useSession();
  const several = (session.data?.memberships.length ?? 0) > 1;
  const found = useQuery({ ...orgs, enabled: several });
  if (!several) return null;
  const here = found.data?.orgs.find(({ id }) => id === session.data?.org);
  return (
    <Link to="/settings/organisation" aria-label={`Organisation ${visible(here?.name ?? "")}: switch`} className="flex min-h-9 items-center justify-center gap-2.5 rounded-lg text-sm text-muted hover:bg-surface hover:text-text lg:justify-start lg:px-2.5">
      <Building2 className="size-4 shrink-0" aria-hidden /> <span className={`hostile min-w-0 truncate ${WIDE}`}>{visible(here?.name ?? "Organisation")}</span>
    </Link>
  );
}

export function useConnection() {
  return useSyncExternalStore(stream.subscribe, () => stream.connection);
}

function Connection() {
  const connection = useConnection();
  const [tone, text] = connection === "live" ? ["bg-ok", "Live"] : connection === "lost" ? ["bg-warn", "Reconnecting"] : ["bg-line", "Connecting"];
  return (
    <p title={text} className="flex items-center justify-center gap-2.5 py-1 text-xs text-muted lg:justify-start lg:px-2.5">
      <span className={`mx-1 size-2 rounded-full ${tone}`} aria-hidden /> <span className={WIDE}>{text}</span>
    </p>
  );
}

function LostBanner() {
  const connection = useConnection();
  return (
    <div role="status">
      {connection === "lost" && (
        <p className="flex items-center justify-center gap-2 border-b border-warn/40 bg-warn/10 px-4 py-1.5 text-sm">
          <WifiOff className="size-4 shrink-0 text-warn" aria-hidden />
          The server does not answer. What you see may be old; the page catches up by itself.
        </p>
      )}
    </div>
  );
}
