import { Outlet } from "@tanstack/react-router";
import { type PartGroup, Sided } from "@/ui/page";

const GROUPS: PartGroup[] = [
  { name: "Runs", parts: [{ to: "/installation", name: "Overview" }, { to: "/installation/parked", name: "Parked events" }] },
  { name: "Customers", parts: [{ to: "/installation/organisations", name: "Organisations" }, { to: "/installation/prices", name: "Plans and prices" }, { to: "/installation/support", name: "Support" }] },
];

/** For the operator of the installation. */
export function Installation() {
  return <Sided title="Installation" groups={GROUPS}><Outlet /></Sided>;
}
