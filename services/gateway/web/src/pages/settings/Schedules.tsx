import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { api, data, type Schedule } from "@/api/client";
import { agents, schedules } from "@/api/queries";
import { visible } from "@/text/ansi";
import { count, moment } from "@/text/format";
import { Button, Field } from "@/ui/controls";
import { Confirm } from "@/ui/dialog";
import { Rows, Section } from "@/ui/page";
import { Ago, Empty, Failed, Skeleton } from "@/ui/states";

const TIMES: [string, string][] = [
  ["0 7 * * 1-5", "weekdays at 7:00"],
  ["0 3 * * *", "every night at 3:00"],
  ["0 9 * * 1", "Mondays at 9:00"],
  ["0 * * * *", "every hour"],
];

/** Tasks that are submitted at the times of a cron expression. */
export function Schedules() {
  const cache = useQueryClient();
  const found = useQuery(schedules);
  const [removing, askToRemove] = useState<Schedule | null>(null);
  const remove = useMutation({
    mutationFn: (schedule: string) => data(api.DELETE("/v1/schedules/{schedule}", { params: { path: { schedule } } })),
    onSuccess: () => {
      askToRemove(null);
      void cache.invalidateQueries({ queryKey: schedules.queryKey });
    },
  });
  if (found.isPending) return <Skeleton rows={2} />;
  if (!found.data) return <Failed error={found.error} retry={() => void found.refetch()} />;
  return (
    <div className="space-y-8">
      <Create />
      <Section title="Schedules">
        {found.data.schedules.length === 0 ? <Empty title="No schedules">A schedule runs a task again and again: a nightly update of dependencies, a weekly report.</Empty> : (
          <Rows label="Schedules">
            {found.data.schedules.map((one) => (
              <li key={one.id} className="flex items-start gap-4 px-4 py-3">
                <div className="min-w-0 flex-1">
                  <p className="hostile truncate font-medium">{visible(one.prompt ?? "Erased")}</p>
                  <p className="flex flex-wrap gap-x-3 text-xs text-muted">
                    <span><code>{visible(one.cron)}</code> {visible(one.zone)}</span>
                    <span>{one.agent}</span>
                    <span>next {moment(one.next_due)}</span>
                    {one.last_task && <Link to="/tasks/$task" params={{ task: one.last_task }} className="underline decoration-line underline-offset-4 hover:decoration-current">last run{one.last_due && <> <Ago time={one.last_due} /></>}</Link>}
                    {one.last_refusal && <span className="text-bad">last run refused: {one.last_refusal.replaceAll("_", " ")}</span>}
                    {one.missed > 0 && <span className="text-warn">{count(one.missed)} missed</span>}
                  </p>
                </div>
                <Button look="danger" aria-label={`Remove the schedule ${visible(one.prompt ?? one.id).slice(0, 60)}`} onClick={() => askToRemove(one)}>Remove</Button>
              </li>
            ))}
          </Rows>
        )}
      </Section>
      <Confirm
        open={removing !== null}
        title="Remove the schedule?"
        detail="It starts no more tasks. Those that it has started go on."
        yes="Remove the schedule"
        busy={remove.isPending}
        error={remove.error?.message}
        onYes={() => removing && remove.mutate(removing.id)}
        onClose={() => askToRemove(null)}
      />
    </div>
  );
}

function Create() {
  const cache = useQueryClient();
  const offered = useQuery(agents);
  const [prompt, setPrompt] = useState("");
  const [agent, setAgent] = useState("");
  const [repo, setRepo] = useState("");
  const [cron, setCron] = useState("0 7 * * 1-5");
  const [zone, setZone] = useState(() => Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC");
  const names = offered.data?.agents.filter((one) => one.offered).map(({ name }) => name) ?? [];
  const chosen = agent || (names.includes("claude") ? "claude" : (names[0] ?? "claude"));
  const create = useMutation({
    mutationFn: () =>
      data(api.POST("/v1/schedules", { body: { cron: cron.trim(), zone: zone.trim(), task: { prompt, agent: chosen, feedback: false, patch_only: false, max_attempts: 3, priority: 0, labels: {}, ...(repo.trim() && { repo: { url: repo.trim() } }) } } })),
    onSuccess: () => {
      setPrompt("");
      void cache.invalidateQueries({ queryKey: schedules.queryKey });
    },
  });
  return (
    <form
      className="space-y-4 rounded-xl border border-line bg-surface p-4"
      onSubmit={(event) => {
        event.preventDefault();
        create.mutate();
      }}
    >
      <h2 className="font-semibold">New schedule</h2>
      <Field label={chosen === "shell" ? "Command" : "Prompt"}>
        <textarea className="field resize-y" rows={3} required value={prompt} onChange={(event) => setPrompt(event.target.value)} />
      </Field>
      <div className="grid gap-4 sm:grid-cols-[10rem_1fr]">
        <Field label="Agent">
          <select className="field" value={chosen} onChange={(event) => setAgent(event.target.value)}>
            {(names.length ? names : [chosen]).map((name) => <option key={name}>{name}</option>)}
          </select>
        </Field>
        <Field label="Repository" hint="optional">
          <input className="field" inputMode="url" placeholder="https://github.com/owner/name" value={repo} onChange={(event) => setRepo(event.target.value)} />
        </Field>
      </div>
      <div className="grid gap-4 sm:grid-cols-2">
        <Field label="When" hint="minute, hour, day, month, weekday">
          <input className="field font-mono text-sm" required maxLength={256} list="times" value={cron} onChange={(event) => setCron(event.target.value)} />
          <datalist id="times">{TIMES.map(([value, name]) => <option key={value} value={value}>{name}</option>)}</datalist>
        </Field>
        <Field label="Time zone">
          <input className="field" required maxLength={64} value={zone} onChange={(event) => setZone(event.target.value)} />
        </Field>
      </div>
      {create.error && <p role="alert" className="text-sm text-bad">{create.error.message}</p>}
      <Button type="submit" look="primary" busy={create.isPending} disabled={!prompt.trim() || !cron.trim()}>Create the schedule</Button>
    </form>
  );
}
