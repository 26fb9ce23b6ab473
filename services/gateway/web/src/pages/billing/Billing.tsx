import { Outlet } from "@tanstack/react-router";
import { useRights } from "@/api/session";
import { type Part, Tabs } from "@/ui/page";

/** Use and money: its parts, as far as the person may see them. */
export function Billing() {
  const { pays } = useRights();
  const parts: Part[] = [
    { to: "/usage", name: "This month" },
    { to: "/usage/charts", name: "Charts" },
    ...(pays ? ([{ to: "/usage/invoices", name: "Invoices" }, { to: "/usage/plan", name: "Plan" }] as const) : []),
    { to: "/usage/analytics", name: "Analytics" },
  ];
  return (
    <div className="h-full overflow-y-auto">
      <div className="mx-auto max-w-4xl px-4 py-6 md:px-6 md:py-8">
        <h1 className="text-lg font-semibold tracking-tight">Usage and bill</h1>
        <Tabs label="Usage and bill" parts={parts} />
        <div className="pt-6"><Outlet /></div>
      </div>
    </div>
  );
}
