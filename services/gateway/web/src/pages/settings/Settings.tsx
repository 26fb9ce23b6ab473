import { Outlet } from "@tanstack/react-router";
import { useRights } from "@/api/session";
import { type PartGroup, Sided } from "@/ui/page";

export function Settings() {
  const { manages } = useRights();
  const groups: PartGroup[] = [
    { name: "You", parts: [{ to: "/settings", name: "You" }, { to: "/settings/sessions", name: "Sessions" }] },
    {
      name: "Organisation",
      parts: [
        { to: "/settings/organisation", name: "Organisation" },
        { to: "/settings/members", name: "Members" },
        { to: "/settings/teams", name: "Teams" },
        { to: "/settings/keys", name: "API keys" },
        { to: "/settings/service-accounts", name: "Service accounts" },
        ...(manages ? ([{ to: "/settings/audit", name: "Audit" }] as const) : []),
        { to: "/settings/support", name: "Support" },
      ],
    },
    {
      name: "Tasks",
      parts: [
        { to: "/settings/secrets", name: "Secrets" },
        { to: "/settings/models", name: "Models" },
        { to: "/settings/schedules", name: "Schedules" },
        ...(manages ? ([{ to: "/settings/webhooks", name: "Webhooks" }] as const) : []),
      ],
    },
  ];
  return <Sided title="Settings" groups={groups}><Outlet /></Sided>;
}
