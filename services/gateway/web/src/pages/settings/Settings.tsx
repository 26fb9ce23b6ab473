import { Link, Outlet, useRouterState } from "@tanstack/react-router";

const PARTS = [
  { to: "/settings", name: "General" },
  { to: "/settings/keys", name: "API keys" },
  { to: "/settings/sessions", name: "Sessions" },
  { to: "/settings/members", name: "Members" },
] as const;

export function Settings() {
  const path = useRouterState({ select: (state) => state.location.pathname });
  return (
    <div className="h-full overflow-y-auto">
      <div className="mx-auto max-w-3xl px-4 py-6 md:px-6 md:py-8">
        <h1 className="text-lg font-semibold tracking-tight">Settings</h1>
        <nav aria-label="Settings" className="mt-3 flex gap-1 overflow-x-auto border-b border-line">
          {PARTS.map(({ to, name }) => (
            <Link
              key={to}
              to={to}
              aria-current={path === to ? "page" : undefined}
              className={`-mb-px min-h-9 whitespace-nowrap border-b-2 px-3 py-1.5 text-sm ${path === to ? "border-accent font-medium" : "border-transparent text-muted hover:text-text"}`}
            >
              {name}
            </Link>
          ))}
        </nav>
        <div className="pt-6"><Outlet /></div>
      </div>
    </div>
  );
}
