import { Outlet } from "@tanstack/react-router";
import { useRights } from "@/api/session";
import { type Part, Tabs } from "@/ui/page";

export function Settings() {
  const { manages } = useRights();
  const parts: Part[] = [
    { to: "/settings", name: "You" },
    { to: "/settings/sessions", name: "Sessions" },
    { to: "/settings/organisation", name: "Organisation" },
    { to: "/settings/members", name: "Members" },
    { to: "/settings/keys", name: "API keys" },
    { to: "/settings/service-accounts", name: "Service accounts" },
    { to: "/settings/secrets", name: "Secrets" },
    { to: "/settings/models", name: "Models" },
    ...(manages ? ([{ to: "/settings/audit", name: "Audit" }] as const) : []),
  ];
  return (
    <div className="h-full overflow-y-auto">
      <div className="mx-auto max-w-4xl px-4 py-6 md:px-6 md:py-8">
        <h1 className="text-lg font-semibold tracking-tight">Settings</h1>
        <Tabs label="Settings" parts={parts} />
        <div className="pt-6"><Outlet /></div>
      </div>
    </div>
  );
}
