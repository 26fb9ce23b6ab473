import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate, useRouter, useSearch } from "@tanstack/react-router";
import { ChevronRight } from "lucide-react";
import { lazy, Suspense, useRef, useState } from "react";
import { api, data, Problem } from "@/api/client";
import { withOrg } from "@/api/org";
import { agents, kept, LISTS, models, secrets, task as taskQuery } from "@/api/queries";
import { visible } from "@/text/ansi";
import { Button, Command, Copy, Field, Kbd } from "@/ui/controls";
import { BLANK, body, commandOf, type Draft, fromLink, fromSubmission, nano, toLink } from "./new/draft";
import type { Prefill } from "./new/prefill";

const Markdown = lazy(() => import("./task/Markdown"));
const NETWORKS: [string, string][] = [["", "as the runner's default"], ["none", "nowhere"], ["default", "registries and forges"], ["hosts", "these hosts"]];

const PERMISSIONS: [Draft["permissions"], string][] = [["", "everything"], ["edits", "edits of files; it asks for the rest"], ["ask", "nothing: it asks each time"]];

export function New() {
  const prefill = useSearch({ strict: false }) as Prefill;
  const offered = useQuery(agents);
  const stored = useQuery(secrets);
  const keys = useQuery(models);
  const navigate = useNavigate();
  const router = useRouter();
  const cache = useQueryClient();
  const [edited, edit] = useState<Partial<Draft>>({});
  const [preview, setPreview] = useState(false);
  // One key a draft: sending the same one again, after a network that failed, submits it once.
  const key = useRef<{ of: string; key: string }>({ of: "", key: "" });
  const ownKey = (keys.data?.models.length ?? 0) > 0;
  const runs = offered.data?.agents.filter((agent) => agent.offered && (!agent.needs_model_key || ownKey)) ?? [];
  const first = runs.find(({ name }) => name === "claude") ?? runs.find(({ name }) => name !== "noop");
  const continues = prefill.continues ?? "";
  const before = useQuery({ ...taskQuery(continues), enabled: continues !== "" });
  const asBefore = useQuery({ ...kept(continues), enabled: continues !== "" });
  const draft: Draft = { ...BLANK, agent: first?.name ?? "claude", ...fromSubmission(asBefore.data ?? {}), ...fromLink(prefill), ...edited };
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
  const refused = typeof problem?.more["field"] === "string" ? problem.more["field"] : null;
  const errorOf = (...names: string[]) => fields.find(({ field }) => names.some((name) => field.endsWith(name)))?.message ?? (refused && names.includes(refused) ? problem?.message : undefined);
  const isShell = draft.agent === "shell";
  const offers = (capability: string) => offered.data?.capabilities.includes(capability) ?? false;
  const badBudget = draft.budget.trim() !== "" && nano(draft.budget) === null;
  const unfit = draft.prompt.trim() === "" || badBudget;
  const listed = draft.network === "" || draft.network === "none" || draft.network === "default";
  const usable = stored.data?.secrets ?? [];
  const unknown = draft.secrets.filter((name) => !usable.some((secret) => secret.name === name));
  const link = `${window.location.origin}${withOrg(router.buildLocation({ to: "/new", search: toLink(draft) }).href)}`;
  const chosen = offered.data?.agents.find(({ name }) => name === draft.agent);
  const claude = offered.data?.agents.find(({ name }) => name === "claude");
  // Where Claude could not run, the page says why: also while another agent is chosen in its place.
  const lacking = keys.isSuccess && !ownKey ? [chosen, claude].find((agent) => agent?.needs_model_key) : undefined;
  return (
    <div className="h-full overflow-y-auto">
      <form
        className="mx-auto max-w-2xl space-y-5 px-4 py-6 md:px-6 md:py-10"
        onSubmit={(event) => {
          event.preventDefault();
          if (!unfit && !submit.isPending) submit.mutate();
        }}
        onKeyDown={(event) => {
          if (event.key === "Enter" && (event.metaKey || event.ctrlKey)) event.currentTarget.requestSubmit();
        }}
      >
        <h1 className="text-lg font-semibold tracking-tight">{draft.continues ? "Go on with a task" : "New task"}</h1>
        {draft.continues && (
          <p className="rounded-xl border border-line bg-surface px-4 py-3 text-sm">
            Takes up the files and the conversation of <Link to="/tasks/$task" params={{ task: draft.continues }} className="hostile font-medium underline underline-offset-2">{visible(before.data?.title ?? draft.continues)}</Link>.
          </p>
        )}
        <div>
          <Field label={isShell ? "Command" : "Prompt"} error={errorOf("prompt")}>
            <textarea
              autoFocus
              required
              rows={7}
              className={`field resize-y ${isShell ? "font-mono text-sm" : ""}`}
              placeholder={isShell ? "pytest -q" : "What is to be done? Markdown is fine."}
              value={draft.prompt}
              onChange={set("prompt")}
            />
          </Field>
          {!isShell && draft.prompt.trim() !== "" && (
            <>
              <button type="button" aria-expanded={preview} onClick={() => setPreview(!preview)} className="mt-1 text-xs text-muted underline underline-offset-2 hover:text-text">{preview ? "Hide the preview" : "Preview"}</button>
              {preview && <div className="hostile prose-task mt-2 rounded-xl border border-line bg-surface px-4 py-3"><Suspense fallback={<p className="whitespace-pre-wrap">{visible(draft.prompt)}</p>}><Markdown text={draft.prompt} /></Suspense></div>}
            </>
          )}
        </div>
        <div className="grid gap-4 sm:grid-cols-[10rem_1fr_10rem]">
          <Field label="Agent" error={errorOf("agent")}>
            <select className="field" value={draft.agent} onChange={set("agent")}>
              {(offered.data?.agents ?? [{ name: draft.agent, offered: true }]).map(({ name, offered }) => (
                <option key={name} value={name}>{name}{offered ? "" : " (not set up)"}</option>
              ))}
            </select>
          </Field>
          {!draft.continues && (
            <>
              <Field label="Repository" hint="optional" error={errorOf("url", "repo")}>
                <input className="field" inputMode="url" placeholder="https://github.com/owner/name" value={draft.url} onChange={set("url")} />
              </Field>
              <Field label="Branch or commit" error={errorOf("ref")}>
                <input className="field" placeholder="default" disabled={!draft.url.trim()} value={draft.ref} onChange={set("ref")} />
              </Field>
            </>
          )}
        </div>
        {lacking && <p className={`text-sm ${lacking === chosen ? "text-warn" : "text-muted"}`}>The agent <code>{lacking.name}</code> cannot run yet: it needs a key for its model. <Link to="/settings/models" className="underline underline-offset-2">Store a key of your own</Link>{lacking === chosen && ", or choose another agent"}.</p>}
        <Fold title="Model, place and access" opened={["model", "provider", "image", "network", "budget", "secrets", "permissions"].some((name) => name in prefill || name === refused) || Object.keys(asBefore.data ?? {}).length > 0}>
          <div className="grid gap-4 sm:grid-cols-2">
            <Field label="Model" hint={isShell ? "not for the shell" : "optional"} error={errorOf("model")}>
              <input className="field" placeholder="the agent's default" disabled={isShell} value={draft.model} onChange={set("model")} />
            </Field>
            <Field label="Model budget, dollars" error={errorOf("budget", "budget_nano_usd") ?? (badBudget ? "Write dollars, such as 2.50" : undefined)}>
              <input className="field" inputMode="decimal" placeholder="no limit" disabled={isShell} value={draft.budget} onChange={set("budget")} />
            </Field>
            <Field label="Runs at" error={errorOf("provider")}>
              <select className="field" value={draft.provider} onChange={set("provider")}>
                <option value="">any provider</option>
                {[...new Set([...(offered.data?.providers ?? []), ...(draft.provider ? [draft.provider] : [])])].map((name) => <option key={name}>{name}</option>)}
              </select>
            </Field>
            <Field label="Container image" hint={offers("image") ? "optional" : "no runner offers images"} error={errorOf("image")}>
              <input className="field" placeholder="of the runner" disabled={!offers("image") && !draft.image} value={draft.image} onChange={set("image")} />
            </Field>
            <Field label="May connect to" hint={offers("network") ? undefined : "no runner offers this"} error={errorOf("network")}>
              <select className="field" disabled={!offers("network") && !draft.network} value={listed ? draft.network : "hosts"} onChange={(event) => edit((before) => ({ ...before, network: event.target.value === "hosts" ? "github.com" : event.target.value }))}>
                {NETWORKS.map(([value, name]) => <option key={value} value={value}>{name}</option>)}
              </select>
            </Field>
            <Field label="May do without asking" hint={isShell ? "not for the shell" : undefined} error={errorOf("permission_mode")}>
              <select className="field" disabled={isShell} value={draft.permissions} onChange={(event) => edit((before) => ({ ...before, permissions: event.target.value as Draft["permissions"] }))}>
                {PERMISSIONS.map(([value, name]) => <option key={value} value={value}>{name}</option>)}
              </select>
            </Field>
            {!listed && (
              <Field label="Hosts" hint="with commas between them">
                <input className="field" placeholder="github.com, pypi.org:443" value={draft.network} onChange={set("network")} />
              </Field>
            )}
          </div>
          <fieldset className="mt-4">
            <legend className="mb-1 text-sm font-medium">Secrets</legend>
            {errorOf("secrets") && <p role="alert" className="text-sm text-bad">{errorOf("secrets")}</p>}
            {usable.length + unknown.length === 0 ? (
              <p className="text-sm text-muted">None are stored. <Link to="/settings/secrets" className="underline underline-offset-2 hover:text-text">Store one</Link>; tasks name it, and never see its value unless you say so.</p>
            ) : (
              <div className="flex flex-wrap gap-x-5">
                {[...new Set([...usable.map(({ name }) => name), ...unknown])].map((name) => (
                  <label key={name} className="flex min-h-8 items-center gap-2 text-sm">
                    <input
                      type="checkbox"
                      className="size-4 accent-(--accent)"
                      checked={draft.secrets.includes(name)}
                      onChange={() => edit((before) => ({ ...before, secrets: draft.secrets.includes(name) ? draft.secrets.filter((one) => one !== name) : [...draft.secrets, name] }))}
                    />
                    <code className="hostile">{name}</code>{stored.isSuccess && unknown.includes(name) && <span className="text-bad">not stored</span>}
                  </label>
                ))}
              </div>
            )}
          </fieldset>
        </Fold>
        <Fold title="Limits, labels and pull request" opened={["minutes", "labels", "pr"].some((name) => name in prefill)}>
          <div className="grid gap-4 sm:grid-cols-3">
            <Field label="Minutes, at most" error={errorOf("timeout_s")}>
              <input className="field" type="number" min="1" max="1440" placeholder="as the plan" value={draft.minutes} onChange={set("minutes")} />
            </Field>
            <Field label="Attempts" error={errorOf("max_attempts")}>
              <input className="field" type="number" min="1" max="10" placeholder="3" value={draft.attempts} onChange={set("attempts")} />
            </Field>
            <Field label="Priority" error={errorOf("priority")}>
              <input className="field" type="number" min="-100" max="100" placeholder="0" value={draft.priority} onChange={set("priority")} />
            </Field>
            <Field className="sm:col-span-2" label="Labels" hint="name=value, name=value" error={errorOf("labels")}>
              <input className="field" placeholder="team=core, ticket=123" value={draft.labels} onChange={set("labels")} />
            </Field>
            <Field label="Pull request" error={errorOf("pull_request")}>
              <select className="field" disabled={!draft.url.trim()} value={draft.pr} onChange={set("pr")}>
                <option value="">none</option>
                <option value="yes">when it succeeds</option>
                <option value="draft">as a draft</option>
              </select>
            </Field>
          </div>
        </Fold>
        {problem && fields.length === 0 && (
          <div role="alert" className="rounded-xl border border-bad/40 bg-bad/5 px-4 py-3 text-sm">
            <p className="hostile">{problem.message}</p>
            {problem.code === "quota_exceeded" && <Link to="/usage/plan" className="mt-1 inline-block underline underline-offset-2">See the plans</Link>}
          </div>
        )}
        <div className="flex items-center gap-3">
          <Button type="submit" look="primary" disabled={unfit} busy={submit.isPending}>Run it</Button>
          <span className="hidden text-xs text-muted sm:inline"><Kbd>Ctrl</Kbd> <Kbd>Enter</Kbd></span>
          {!draft.continues && <span className="ml-auto"><Copy text={link} label="Copy a link to this draft">Copy a link to this draft</Copy></span>}
        </div>
        <section aria-label="The same from a terminal" className="border-t border-line pt-5">
          <h2 className="mb-2 text-sm font-medium">The same from a terminal</h2>
          <Command>{commandOf(draft)}</Command>
        </section>
      </form>
    </div>
  );
}

function Fold({ title, opened, children }: { title: string; opened: boolean; children: React.ReactNode }) {
  return (
    <details open={opened || undefined} className="group rounded-xl border border-line bg-surface px-4 py-3">
      <summary className="flex list-none items-center gap-2 text-sm font-medium">
        <ChevronRight className="size-4 transition-transform group-open:rotate-90" aria-hidden /> {title}
      </summary>
      <div className="mt-4">{children}</div>
    </details>
  );
}
