/** A task that is being written: the form's texts, what is sent of them, and the same as a command line or a link. */

import { shellWord } from "@/text/format";
import type { Submission } from "@/api/client";
import type { Prefill } from "./prefill";

export interface Draft {
  prompt: string;
  agent: string;
  url: string;
  ref: string;
  model: string;
  provider: string;
  image: string;
  network: string;
  budget: string;
  secrets: readonly string[];
  permissions: "" | "edits" | "ask";
  pr: "" | "yes" | "draft";
  minutes: string;
  attempts: string;
  priority: string;
  labels: string;
  continues: string;
}

export const BLANK: Draft = {
  prompt: "", agent: "", url: "", ref: "", model: "", provider: "", image: "", network: "", budget: "", secrets: [], permissions: "", pr: "",
  minutes: "", attempts: "", priority: "", labels: "", continues: "",
};

/** What a draft that goes on with a task takes from that task's submission. */
export function fromSubmission({ permission_mode, network, model, provider, image, secrets }: Partial<Submission>): Partial<Draft> {
  return {
    ...(permission_mode && permission_mode !== "all" && { permissions: permission_mode }),
    ...(network && { network }), ...(model && { model }), ...(provider && { provider }), ...(image && { image }), ...(secrets && { secrets }),
  };
}

export function fromLink({ repo, secrets, permissions, pr, ...same }: Prefill): Partial<Draft> {
  const given = Object.fromEntries(Object.entries(same).filter(([, value]) => value !== undefined)) as Partial<Draft>;
  return {
    ...given,
    ...(repo !== undefined && { url: repo }),
    ...(secrets !== undefined && { secrets: listOf(secrets) }),
    ...((permissions === "edits" || permissions === "ask") && { permissions }),
    ...((pr === "yes" || pr === "draft") && { pr }),
  };
}

export function toLink(draft: Draft): Prefill {
  const { prompt, agent, url, ref, model, provider, image, network, budget, secrets, permissions, pr, minutes, labels } = draft;
  const all = { prompt, agent, repo: url, ref, model, provider, image, network, budget, secrets: secrets.join(","), permissions, pr, minutes, labels };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== ""));
}

const listOf = (text: string): string[] => text.split(",").map((part) => part.trim()).filter(Boolean);

export function labelsOf(text: string): Record<string, string> {
  return Object.fromEntries(listOf(text).map((pair) => {
    const at = pair.search(/[=:]/);
    return at < 0 ? [pair, ""] : [pair.slice(0, at).trim(), pair.slice(at + 1).trim()];
  }));
}

/** Nano-dollars of a text such as `2.50`; null where it is none. */
export function nano(dollars: string): number | null {
  const found = /^\$?(\d{1,6})(?:\.(\d{1,9}))?$/.exec(dollars.trim());
  return found ? Number(found[1]) * 1e9 + Number((found[2] ?? "").padEnd(9, "0")) : null;
}

export function body(draft: Draft) {
  const url = draft.url.trim();
  const budget = nano(draft.budget);
  return {
    prompt: draft.prompt,
    agent: draft.agent,
    ...(url && { repo: { url, ...(draft.ref.trim() && { ref: draft.ref.trim() }) } }),
    ...(draft.continues && { continues: draft.continues }),
    ...(draft.model.trim() && { model: draft.model.trim() }),
    ...(draft.provider && { provider: draft.provider }),
    ...(draft.image.trim() && { image: draft.image.trim() }),
    ...(draft.network.trim() && { network: draft.network.trim() }),
    ...(budget !== null && { budget_nano_usd: budget }),
    ...(draft.secrets.length > 0 && { secrets: [...draft.secrets] }),
    ...(draft.permissions && draft.agent !== "shell" && { permission_mode: draft.permissions }),
    ...(draft.pr && url && { pull_request: { draft: draft.pr === "draft" } }),
    ...(draft.minutes && { timeout_s: Math.round(Number(draft.minutes) * 60) }),
    max_attempts: Number(draft.attempts || 3),
    priority: Number(draft.priority || 0),
    labels: labelsOf(draft.labels),
  };
}

export function commandOf(draft: Draft): string {
  const words = draft.continues ? ["rclaude", "resume", shellWord(draft.continues)] : ["rclaude", "run", "--agent", shellWord(draft.agent)];
  const option = (name: string, value: string) => value.trim() && words.push(`--${name}`, shellWord(value.trim()));
  if (!draft.continues) {
    if (draft.url.trim()) option("repo", draft.url);
    else words.push("--no-repo");
    option("ref", draft.ref);
    option("image", draft.image);
    option("network", draft.network);
    if (draft.agent !== "shell") option("permission-mode", draft.permissions);
    for (const secret of draft.secrets) option("secret", secret);
    if (draft.pr && draft.url.trim()) words.push("--pr");
    if (draft.pr === "draft" && draft.url.trim()) words.push("--draft");
    if (draft.attempts !== "3") option("max-attempts", draft.attempts);
    if (draft.priority !== "0") option("priority", draft.priority);
    for (const [name, value] of Object.entries(labelsOf(draft.labels))) option("label", `${name}=${value}`);
  }
  option("model", draft.model);
  option("provider", draft.provider);
  option("budget", draft.budget.replace("$", ""));
  if (draft.minutes) option("timeout", String(Math.round(Number(draft.minutes) * 60)));
  return [...words, shellWord(draft.prompt.trim() || "...")].join(" ");
}
