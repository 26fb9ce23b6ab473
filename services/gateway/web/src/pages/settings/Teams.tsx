import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { type FormEvent, useState } from "react";
import { api, data } from "@/api/client";
import { members, teams } from "@/api/queries";
import type { components } from "@/api/schema";
import { useRights } from "@/api/session";
import { visible } from "@/text/ansi";
import { money } from "@/text/format";
import { Button, Field } from "@/ui/controls";
import { Confirm } from "@/ui/dialog";
import { Empty, Failed, Skeleton } from "@/ui/states";
import { toast } from "@/ui/toast";

type Team = components["schemas"]["TeamAnswer"];

/** Named groups of members, with the labels, the budget and the API keys that each owns. */
export function Teams() {
  const { manages } = useRights();
  const found = useQuery(teams);
  const [name, setName] = useState("");
  const [deleting, askToDelete] = useState<Team | null>(null);
  const refresh = useRefresh();
  const create = useMutation({
    mutationFn: () => data(api.POST("/v1/org/teams", { body: { name: name.trim() } })),
    onSuccess: ({ position }) => {
      setName("");
      return refresh(position);
    },
  });
  const remove = useMutation({
    mutationFn: (team: string) => data(api.DELETE("/v1/org/teams/{team}", { params: { path: { team } } })),
    onSuccess: () => {
      askToDelete(null);
      return refresh();
    },
  });
  if (found.isPending) return <Skeleton rows={2} />;
  if (!found.data) return <Failed error={found.error} retry={() => void found.refetch()} />;
  return (
    <div className="space-y-8">
      {manages && (
        <form className="flex flex-wrap items-end gap-3 rounded-xl border border-line bg-surface p-4" onSubmit={submits(() => create.mutate())}>
          <Field label="New team" error={create.error?.message} className="min-w-56 flex-1">
            <input className="field" required maxLength={100} placeholder="Website" value={name} onChange={(event) => setName(event.target.value)} />
          </Field>
          <Button type="submit" look="primary" className="min-h-[38px]" busy={create.isPending} disabled={!name.trim()}>Create</Button>
        </form>
      )}
      {found.data.teams.length === 0 ? <Empty title="No teams">A team owns labels, a budget and API keys; its members can see each other’s tasks.</Empty> : found.data.teams.map((team) => (
        <TeamCard key={team.id} team={team} manages={manages} onDelete={() => askToDelete(team)} />
      ))}
      <Confirm
        open={deleting !== null}
        title={`Delete ${visible(deleting?.name ?? "")}?`}
        detail="Its API keys are refused from now on. Its tasks stay."
        yes="Delete the team"
        busy={remove.isPending}
        error={remove.error?.message}
        onYes={() => deleting && remove.mutate(deleting.id)}
        onClose={() => askToDelete(null)}
      />
    </div>
  );
}

function TeamCard({ team, manages, onDelete }: { team: Team; manages: boolean; onDelete: () => void }) {
  const shown = visible(team.name ?? team.id);
  const refresh = useRefresh();
  const everybody = useQuery({ ...members, enabled: manages });
  const [added, setAdded] = useState("");
  const failed = (error: Error) => toast(error.message, true);
  const path = (user: string) => ({ params: { path: { team: team.id, user } } });
  const add = useMutation({
    mutationFn: (user: string) => data(api.PUT("/v1/org/teams/{team}/members/{user}", path(user))),
    onError: failed,
    onSuccess: ({ position }) => {
      setAdded("");
      return refresh(position);
    },
  });
  const remove = useMutation({
    mutationFn: (user: string) => data(api.DELETE("/v1/org/teams/{team}/members/{user}", path(user))),
    onError: failed,
    onSuccess: ({ position }) => refresh(position),
  });
  const others = (everybody.data?.members ?? []).filter(({ user }) => !team.members.some((one) => one.user === user));
  return (
    <section aria-label={shown} className="space-y-4 rounded-xl border border-line bg-surface p-4">
      <div className="flex items-center gap-4">
        <h2 className="hostile min-w-0 flex-1 truncate font-semibold">{shown}</h2>
        {manages && (
          <>
            <Link to="/settings/keys" search={{ of: team.id }} className="text-sm underline decoration-line underline-offset-4 hover:decoration-current">New key</Link>
            <Button look="danger" aria-label={`Delete ${shown}`} onClick={onDelete}>Delete</Button>
          </>
        )}
      </div>
      <ul aria-label={`Members of ${shown}`} className="flex flex-wrap gap-2">
        {team.members.length === 0 && <li className="text-sm text-muted">Nobody yet</li>}
        {team.members.map(({ user, name }) => {
          const who = visible(name ?? user);
          return (
            <li key={user} className="hostile flex items-center gap-2 rounded-lg border border-line bg-sunken px-2 py-1 text-sm">
              {who}
              {manages && <Button look="bare" aria-label={`Take ${who} out of ${shown}`} onClick={() => remove.mutate(user)}>Remove</Button>}
            </li>
          );
        })}
      </ul>
      {manages ? (
        <>
          {others.length > 0 && (
            <form className="flex flex-wrap items-end gap-3" onSubmit={submits(() => add.mutate(added))}>
              <Field label="Add a member" className="min-w-56 flex-1">
                <select className="field" required value={added} onChange={(event) => setAdded(event.target.value)}>
                  <option value="">choose</option>
                  {others.map(({ user, name, email }) => <option key={user} value={user}>{visible(name ?? email ?? user)}</option>)}
                </select>
              </Field>
              <Button type="submit" className="min-h-[38px]" busy={add.isPending} disabled={!added}>Add</Button>
            </form>
          )}
          <Labels team={team} />
          <Budget team={team} />
        </>
      ) : (
        <p className="hostile text-sm text-muted">
          {Object.keys(team.labels).length > 0 && <>Labels: {visible(written(team.labels))}. </>}
          {team.budget_nano_usd === null ? "No budget of its own." : `Budget: ${money(team.budget_nano_usd)} a month.`}
        </p>
      )}
    </section>
  );
}

function Labels({ team }: { team: Team }) {
  const [text, setText] = useState(() => written(team.labels));
  const refresh = useRefresh();
  const set = useMutation({
    mutationFn: () => {
      const labels = Object.fromEntries(text.split(/[\s,]+/).filter(Boolean).map((one) => one.split(/=(.*)/s, 2) as [string, string]));
      return data(api.PUT("/v1/org/teams/{team}/labels", { params: { path: { team: team.id } }, body: { labels } }));
    },
    onSuccess: ({ position }) => {
      toast("The labels are set. Tasks that are submitted from now on bear them.");
      return refresh(position);
    },
  });
  return (
    <form className="flex flex-wrap items-end gap-3" onSubmit={submits(() => set.mutate())}>
      <Field label="Labels of its tasks" hint="name=value, no other task may bear them" error={set.error?.message} className="min-w-56 flex-1">
        <input className="field" value={text} pattern="\s*([^\s,=]+=[^\s,]*[\s,]*)*" placeholder="cost=4711" onChange={(event) => setText(event.target.value)} />
      </Field>
      <Button type="submit" className="min-h-[38px]" busy={set.isPending}>Set the labels</Button>
    </form>
  );
}

function Budget({ team }: { team: Team }) {
  const [text, setText] = useState(() => (team.budget_nano_usd === null ? "" : String(team.budget_nano_usd / 1e9)));
  const refresh = useRefresh();
  const set = useMutation({
    mutationFn: () =>
      data(api.PUT("/v1/org/teams/{team}/budget", { params: { path: { team: team.id } }, body: { nano_usd: text.trim() ? Math.round(Number(text) * 1e9) : null } })),
    onSuccess: ({ position }) => {
      toast(text.trim() ? "The budget is set." : "The team has no budget of its own.");
      return refresh(position);
    },
  });
  return (
    <form className="flex flex-wrap items-end gap-3" onSubmit={submits(() => set.mutate())}>
      <Field label="Budget" hint="dollars a month for models; empty: none" error={set.error?.message} className="min-w-56 flex-1">
        <input className="field" type="number" min="0" step="any" inputMode="decimal" value={text} onChange={(event) => setText(event.target.value)} />
      </Field>
      <Button type="submit" className="min-h-[38px]" busy={set.isPending}>Set the budget</Button>
    </form>
  );
}

/** Asks for the teams as they are at a position of the log. */
function useRefresh() {
  const cache = useQueryClient();
  return async (position?: number) => {
    cache.setQueryData(teams.queryKey, await data(api.GET("/v1/org/teams", { params: { query: { min_position: position } } })));
  };
}

const written = (labels: Record<string, string>): string => Object.entries(labels).map(([name, value]) => `${name}=${value}`).join(" ");

const submits = (work: () => void) => (event: FormEvent) => {
  event.preventDefault();
  work();
};
