import { useNavigate } from "@tanstack/react-router";
import { useEffect, useMemo, useRef } from "react";
import { useRights } from "@/api/session";
import { setTheme } from "./theme";

export interface Command {
  name: string;
  keys?: string;
  hint?: string;
  run: () => void;
}

/** What can be done from anywhere, by its shortcut or out of the palette. */
export function useCommands(open: { palette: () => void; help: () => void; signOut: () => void }): Command[] {
  const { manages, pays, operates } = useRights();
  const navigate = useNavigate();
  const latest = useRef(open);
  latest.current = open;
  return useMemo(
    () => [
      { name: "New task", keys: "c", run: () => void navigate({ to: "/new" }) },
      { name: "Tasks", keys: "g t", run: () => void navigate({ to: "/" }) },
      { name: "Batches", keys: "g h", run: () => void navigate({ to: "/batches" }) },
      { name: "Usage and bill", keys: "g u", run: () => void navigate({ to: "/usage" }) },
      { name: "Charts of use", keys: "g c", run: () => void navigate({ to: "/usage/charts" }) },
      ...(pays ? [
        { name: "Invoices", keys: "g b", run: () => void navigate({ to: "/usage/invoices" }) },
        { name: "Plan and upgrade", keys: "g p", run: () => void navigate({ to: "/usage/plan" }) },
      ] : []),
      { name: "Analytics", keys: "g n", run: () => void navigate({ to: "/usage/analytics" }) },
      { name: "API keys", keys: "g k", run: () => void navigate({ to: "/settings/keys" }) },
      { name: "Sessions", keys: "g s", run: () => void navigate({ to: "/settings/sessions" }) },
      { name: "Members", keys: "g m", run: () => void navigate({ to: "/settings/members" }) },
      { name: "Switch organisation", keys: "g o", run: () => void navigate({ to: "/settings/organisation" }) },
      { name: "Teams", run: () => void navigate({ to: "/settings/teams" }) },
      { name: "Service accounts", run: () => void navigate({ to: "/settings/service-accounts" }) },
      { name: "Secrets", keys: "g x", run: () => void navigate({ to: "/settings/secrets" }) },
      { name: "Model keys", run: () => void navigate({ to: "/settings/models" }) },
      { name: "Schedules", run: () => void navigate({ to: "/settings/schedules" }) },
      ...(manages ? [{ name: "Webhooks and deliveries", run: () => void navigate({ to: "/settings/webhooks" }) }] : []),
      ...(manages ? [{ name: "Audit", keys: "g a", run: () => void navigate({ to: "/settings/audit" }) }] : []),
      { name: "Support tickets", run: () => void navigate({ to: "/settings/support" }) },
      { name: "You, theme and notifications", keys: "g y", run: () => void navigate({ to: "/settings" }) },
      ...(operates ? [
        { name: "Installation", keys: "g i", run: () => void navigate({ to: "/installation" }) },
        { name: "Parked events and conservation", run: () => void navigate({ to: "/installation/parked" }) },
        { name: "Every organisation", run: () => void navigate({ to: "/installation/organisations" }) },
        { name: "Tickets of every organisation", run: () => void navigate({ to: "/installation/support" }) },
        { name: "Plans and prices", run: () => void navigate({ to: "/installation/prices" }) },
      ] : []),
      { name: "Keyboard shortcuts", keys: "?", run: () => latest.current.help() },
      { name: "Theme: light", run: () => setTheme("light") },
      { name: "Theme: dark", run: () => setTheme("dark") },
      { name: "Theme: as the system", run: () => setTheme("system") },
      { name: "Sign out", run: () => latest.current.signOut() },
    ],
    [navigate, manages, pays, operates],
  );
}

function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));
}

/** Single keys and sequences (`g t`), unless somebody is typing or a dialog is open. */
export function useShortcuts(commands: Command[], onPalette: () => void): void {
  useEffect(() => {
    let prefix = "";
    let timer: number | undefined;
    const pressed = (event: KeyboardEvent) => {
      if ((event.metaKey || event.ctrlKey) && event.key.toLowerCase() === "k") {
        event.preventDefault();
        onPalette();
        return;
      }
      if (event.metaKey || event.ctrlKey || event.altKey || isTyping(event.target) || document.querySelector("dialog[open]")) return;
      const keys = prefix ? `${prefix} ${event.key}` : event.key;
      window.clearTimeout(timer);
      const found = commands.find((command) => command.keys === keys);
      if (found) {
        event.preventDefault();
        prefix = "";
        found.run();
      } else {
        prefix = commands.some((command) => command.keys?.startsWith(`${keys} `)) ? keys : "";
        timer = window.setTimeout(() => (prefix = ""), 1200);
      }
    };
    window.addEventListener("keydown", pressed);
    return () => {
      window.removeEventListener("keydown", pressed);
      window.clearTimeout(timer);
    };
  }, [commands, onPalette]);
}
