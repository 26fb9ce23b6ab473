/** Desktop notifications of tasks that end, where the person has asked for them. */

import type { TaskSummary } from "@/api/client";
import { visible } from "@/text/ansi";

const KEY = "rclaude-notify";
const ENDED: ReadonlySet<string> = new Set(["succeeded", "failed", "timed_out"]);

export const notifies = (): boolean => localStorage.getItem(KEY) === "yes" && typeof Notification !== "undefined" && Notification.permission === "granted";

/** Ask the browser for the permission, or give it up. Returns whether tasks are notified of from here on. */
export async function setNotifies(on: boolean): Promise<boolean> {
  if (!on || typeof Notification === "undefined") {
    localStorage.removeItem(KEY);
    return false;
  }
  if ((await Notification.requestPermission()) !== "granted") return false;
  localStorage.setItem(KEY, "yes");
  return true;
}

/** Notices which tasks of a person end, out of what the stream says has changed. */
export class Endings {
  private readonly told = new Set<string>();
  private readonly since = new Date().toISOString();

  constructor(private readonly open: (task: string) => void) {}

  /** Whether a change is worth a look: nobody looks at the page, and a notification is wanted. */
  wanted(): boolean {
    return notifies() && document.visibilityState !== "visible";
  }

  read(task: TaskSummary, user: string): void {
    const ended = task.finished_at !== null && task.finished_at > this.since && ENDED.has(task.state);
    if (!ended || task.submitted_by !== user || this.told.has(task.id)) return;
    this.told.add(task.id);
    const title = task.state === "succeeded" ? "Task succeeded" : task.state === "failed" ? "Task failed" : "Task timed out";
    const shown = new Notification(title, { body: visible(task.title ?? task.id), tag: task.id, icon: "/favicon.svg" });
    shown.onclick = () => {
      window.focus();
      this.open(task.id);
      shown.close();
    };
  }
}
