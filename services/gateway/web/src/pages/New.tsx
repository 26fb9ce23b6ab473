import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { ChevronRight } from "lucide-react";
import { useRef, useState } from "react";
import { api, data, Problem } from "@/api/client";
import { agents, LISTS } from "@/api/queries";
import { shellWord } from "@/text/format";
import { Button, Command, Field, Kbd } from "@/ui/controls";

export interface Prefill {
  prompt?: string;
  agent?: string;
  repo?: string;
  ref?: string;
}

interface Draft {
  prompt: string;
  agent: string;
  url: string;
  ref: string;
  minutes: string;
  attempts: string;
  priority: string;
  labels: string;
}

function labelsOf(text: string): Record<string, string> {
  const pairs = text.split(",").map((part) => part.trim()).filter(Boolean);
  return Object.fromEntries(pairs.map((pair) => {
    const at = pair.search(/[=:]/);
    return at < 0 ? [pair, ""] : [pair.slice(0, at).trim(), pair.slice(at + 1).trim()];
  }));
}

function body(draft: Draft) {
  return {
    prompt: draft.prompt,
    agent: draft.agent,
    ...(draft.url.trim() && { repo: { url: draft.url.trim(), ...(draft.ref.trim() && { ref: draft.ref.trim() }) } }),
    ...(draft.minutes && { timeout_s: Math.round(Number(draft.minutes) * 60) }),
    max_attempts: Number(draft.attempts || 3),
    priority: Number(draft.priority || 0),
    labels: labelsOf(draft.labels),
  };
}

function commandOf(draft: Draft): string {
  const words = ["rclaude", "run", "--agent", draft.agent];
  if (draft.url.trim()) words.push("--repo", shellWord(draft.url.trim()));
  else words.push("--no-repo");
  if (draft.ref.trim()) words.push("--ref", shellWord(draft.ref.trim()));
  if (draft.minutes) words.push("--timeout", String(Math.round(Number(draft.minutes) * 60)));
  if (draft.attempts && draft.attempts !== "3") words.push("--max-attempts", draft.attempts);
  if (draft.priority && draft.priority !== "0") words.push("--priority", draft.priority);
  for (const [name, value] of Object.entries(labelsOf(draft.labels))) words.push("--label", shellWord(`${name}=${value}`));
  return [...words, shellWord(draft.prompt.trim() || "...")].join(" ");
}

export function New() {
  const prefill = useSearch({ strict: false }) as Prefill;
  const offered = useQuery(agents);
  const navigate = useNavigate();
  const cache = useQueryClient();
  const [edited, edit] = useState<Partial<Draft>>({});
  // One key a draft: sending the same one again, after a network that failed, submits it once.
  const key = useRef<{ of: string; key: string }>({ of: "", key: "" });
  const first = offered.data?.agents.find((agent) => agent.offered && agent.name === "claude") ?? offered.data?.agents.find((agent) => agent.offered && agent.name !== "noop");
  const draft: Draft = {
    prompt: prefill.prompt ?? "",
    agent: prefill.agent ?? first?.name ?? "claude",
    url: prefill.repo ?? "",
    ref: prefill.ref ?? "",
    minutes: "", attempts: "", priority: "", labels: "",
    ...edited,
  };
  const set = (name: keyof Draft) => (event: { target: { value: string } }) => edit((before) => ({ ...before, [name]: event.target.value }));
  const submit = useMutation({
    mutationFn: () => {
      const wanted = body(draft);
      const text = JSON.stringify(wanted);
      if (key.current.of !== text) key.current = { of: text, key: crypto.randomUUID() };
      return data(api.POST("/v1/tasks", { body: wanted, params: { header: { "Idempotency-Key": key.current.key } } }));
    },
    onSuccess: ({ id }) => {
      void cache.invalidateQueries({ queryKey: LISTS });
      void navigate({ to: "/tasks/$task", params: { task: id } });
    },
  });
  const problem = submit.error instanceof Problem ? submit.error : null;
  const fields = (problem?.more["errors"] ?? []) as { field: string; message: string }[];
  const errorOf = (...names: string[]) => fields.find(({ field }) => names.some((name) => field.endsWith(name)))?.message;
  const blank = draft.prompt.trim() === "";
  return (
    <div className="h-full overflow-y-auto">
      <form
        className="mx-auto max-w-2xl space-y-5 px-4 py-6 md:px-6 md:py-10"
        onSubmit={(event) => {
          event.preventDefault();
          if (!blank && !submit.isPending) submit.mutate();
        }}
        onKeyDown={(event) => {
          if (event.key === "Enter" && (event.metaKey || event.ctrlKey)) event.currentTarget.requestSubmit();
        }}
      >
        <h1 className="text-lg font-semibold tracking-tight">New task</h1>
        <Field label={draft.agent === "shell" ? "Command" : "Prompt"} error={errorOf("prompt")}>
          <textarea
            autoFocus
            required
            rows={7}
            className={`field resize-y ${draft.agent === "shell" ? "font-mono text-sm" : ""}`}
            placeholder={draft.agent === "shell" ? "pytest -q" : "What is to be done? Markdown is fine."}
            value={draft.prompt}
            onChange={set("prompt")}
          />
        </Field>
        <div className="grid gap-4 sm:grid-cols-[10rem_1fr_10rem]">
          <Field label="Agent" error={errorOf("agent")}>
            <select className="field" value={draft.agent} onChange={set("agent")}>
              {(offered.data?.agents ?? [{ name: draft.agent, offered: true }]).map(({ name, offered }) => (
                <option key={name} value={name}>{name}{offered ? "" : " (not set up)"}</option>
              ))}
            </select>
          </Field>
          <Field label="Repository" hint="optional" error={errorOf("url", "repo")}>
            <input className="field" inputMode="url" placeholder="https://github.com/owner/name" value={draft.url} onChange={set("url")} />
          </Field>
          <Field label="Branch or commit" error={errorOf("ref")}>
            <input className="field" placeholder="default" disabled={!draft.url.trim()} value={draft.ref} onChange={set("ref")} />
          </Field>
        </div>
        <details className="group rounded-xl border border-line bg-surface px-4 py-3">
          <summary className="flex list-none items-center gap-2 text-sm font-medium">
            <ChevronRight className="size-4 transition-transform group-open:rotate-90" aria-hidden /> Limits and labels
          </summary>
          <div className="mt-4 grid gap-4 sm:grid-cols-3">
            <Field label="Minutes, at most" error={errorOf("timeout_s")}>
              <input className="field" type="number" min="1" max="1440" placeholder="as the plan" value={draft.minutes} onChange={set("minutes")} />
            </Field>
            <Field label="Attempts" error={errorOf("max_attempts")}>
              <input className="field" type="number" min="1" max="10" placeholder="3" value={draft.attempts} onChange={set("attempts")} />
            </Field>
            <Field label="Priority" error={errorOf("priority")}>
              <input className="field" type="number" min="-100" max="100" placeholder="0" value={draft.priority} onChange={set("priority")} />
            </Field>
            <Field className="sm:col-span-3" label="Labels" hint="name=value, name=value" error={errorOf("labels")}>
              <input className="field" placeholder="team=core, ticket=123" value={draft.labels} onChange={set("labels")} />
            </Field>
          </div>
        </details>
        {problem && fields.length === 0 && (
          <div role="alert" className="rounded-xl border border-bad/40 bg-bad/5 px-4 py-3 text-sm">
            <p className="hostile">{problem.message}</p>
            <p className="mt-1 text-muted"><code>{problem.code}</code></p>
          </div>
        )}
        <div className="flex items-center gap-3">
          <Button type="submit" look="primary" disabled={blank} busy={submit.isPending}>Run it</Button>
          <span className="hidden text-xs text-muted sm:inline"><Kbd>Ctrl</Kbd> <Kbd>Enter</Kbd></span>
        </div>
        <section aria-label="The same from a terminal" className="border-t border-line pt-5">
          <h2 className="mb-2 text-sm font-medium">The same from a terminal</h2>
          <Command>{commandOf(draft)}</Command>
        </section>
      </form>
    </div>
  );
}
