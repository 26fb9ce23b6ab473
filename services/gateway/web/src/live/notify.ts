/** Desktop notifications of tasks that end or wait for an answer, where the person has asked for them. */

import type { Task } from "@/api/client";
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

/** Notifies a person of tasks that end or wait for an answer, out of what the stream reports as changed. */
export class Notifications {
  private readonly told = new Set<string>();
  private readonly since = new Date().toISOString();

  constructor(private readonly open: (task: string) => void) {}

  /** Whether a change is worth a look: nobody looks at the page, and a notification is wanted. */
  wanted(): boolean {
    return notifies() && document.visibilityState !== "visible";
  }

  read(task: Task, user: string): void {
    if (task.submitted_by !== user) return;
    for (const { request } of task.permissions) this.notify(task, request, "Task waits for your answer");
    if (task.finished_at !== null && task.finished_at > this.since && ENDED.has(task.state)) {
      this.notify(task, "end", task.state === "succeeded" ? "Task succeeded" : task.state === "failed" ? "Task failed" : "Task timed out");
    }
  }

  private notify(task: Task, reason: string, title: string): void {
    const told = `${task.id} ${reason}`;
    if (this.told.has(told)) return;
    this.told.add(told);
    const shown = new Notification(title, { body: visible(task.title ?? task.id), tag: told, icon: "/favicon.svg" });
    shown.onclick = () => {
      window.focus();
      this.open(task.id);
      shown.close();
    };
  }
}
