import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useSearch } from "@tanstack/react-router";
import { useState } from "react";
import { api, data } from "@/api/client";
import { keys, serviceAccounts, teams } from "@/api/queries";
import { useRights } from "@/api/session";
import { visible } from "@/text/ansi";
import { Button, Copy, Field } from "@/ui/controls";
import { Confirm } from "@/ui/dialog";
import { Ago, Empty, Failed, Skeleton } from "@/ui/states";
import { toast } from "@/ui/toast";

const SCOPES: [string, string][] = [
  ["tasks", "submit, cancel and read tasks"],
  ["tasks:read", "read tasks only"],
  ["billing", "see usage and bills"],
  ["org", "change the organisation"],
];

export interface KeySearch {
  of?: string;
}

export function Keys() {
  const { of } = useSearch({ strict: false }) as KeySearch;
  const { manages } = useRights();
  const accounts = useQuery({ ...serviceAccounts, enabled: manages });
  const known = useQuery({ ...teams, enabled: manages });
  const owners = [...(accounts.data?.service_accounts ?? []), ...(known.data?.teams ?? [])];
  const [account, setAccount] = useState(of ?? "");
  const cache = useQueryClient();
  const found = useQuery(keys);
  const [name, setName] = useState("");
  const [scopes, setScopes] = useState<string[]>(["tasks", "billing"]);
  const [days, setDays] = useState("90");
  const [revoking, askToRevoke] = useState<{ id: string; name: string } | null>(null);
  const create = useMutation({
    mutationFn: () => data(api.POST("/v1/keys", { body: { name: name.trim(), scopes, expires_in_days: days ? Number(days) : null, ...(account.startsWith("team_") ? { team: account } : { service_account: account || null }) } })),
    onSuccess: async ({ position }) => {
      setName("");
      cache.setQueryData(keys.queryKey, await data(api.GET("/v1/keys", { params: { query: { min_position: position } } })));
    },
  });
  const revoke = useMutation({
    mutationFn: (key: string) => data(api.DELETE("/v1/keys/{key}", { params: { path: { key } } })),
    onSuccess: (_, revoked) => {
      askToRevoke(null);
      toast("The key is revoked. It is refused from now on.");
      cache.setQueryData(keys.queryKey, (before) => before && { ...before, keys: before.keys.filter(({ id }) => id !== revoked) });
    },
  });
  const accountOf = (user: string): string => {
    const found = owners.find(({ id }) => id === user);
    return found ? `${visible(found.name ?? found.id)} · ` : "";
  };
  const toggle = (scope: string) => setScopes((before) => (before.includes(scope) ? before.filter((one) => one !== scope) : [...before, scope]));
  return (
    <div className="space-y-8">
      <form
        className="space-y-4 rounded-xl border border-line bg-surface p-4"
        onSubmit={(event) => {
          event.preventDefault();
          create.mutate();
        }}
      >
        <h2 className="font-semibold">New key</h2>
        <div className="grid gap-4 sm:grid-cols-[1fr_10rem]">
          <Field label="Name">
            <input className="field" required maxLength={100} placeholder="CI of the website" value={name} onChange={(event) => setName(event.target.value)} />
          </Field>
          <Field label="Good for">
            <select className="field" value={days} onChange={(event) => setDays(event.target.value)}>
              <option value="7">7 days</option>
              <option value="30">30 days</option>
              <option value="90">90 days</option>
              <option value="365">a year</option>
              <option value="">as long as it is kept</option>
            </select>
          </Field>
        </div>
        {owners.length > 0 && (
          <Field label="Of">
            <select className="field sm:!w-auto" value={account} onChange={(event) => setAccount(event.target.value)}>
              <option value="">you</option>
              {owners.map(({ id, name }) => <option key={id} value={id}>{visible(name ?? id)}</option>)}
            </select>
          </Field>
        )}
        <fieldset>
          <legend className="mb-1 text-sm font-medium">It may</legend>
          <div className="grid gap-x-6 gap-y-1 sm:grid-cols-2">
            {SCOPES.map(([scope, what]) => (
              <label key={scope} className="flex min-h-8 items-center gap-2 text-sm">
                <input type="checkbox" className="size-4 accent-(--accent)" checked={scopes.includes(scope)} onChange={() => toggle(scope)} />
                {what}
              </label>
            ))}
          </div>
        </fieldset>
        {create.error && <p role="alert" className="text-sm text-bad">{create.error.message}</p>}
        <Button type="submit" look="primary" busy={create.isPending} disabled={!name.trim() || scopes.length === 0}>Make the key</Button>
        {create.data && (
          <div role="status" className="rounded-lg border border-ok/40 bg-ok/5 p-3">
            <p className="text-sm font-medium">This is the key. It is shown this once.</p>
            <div className="mt-2 flex items-center gap-2">
              <code data-secret className="hostile min-w-0 flex-1 select-all">{create.data.secret}</code>
              <Copy text={create.data.secret} label="Copy the key">Copy</Copy>
            </div>
          </div>
        )}
      </form>
      <section aria-labelledby="keys">
        <h2 id="keys" className="mb-3 font-semibold">Keys</h2>
        {found.isPending ? <Skeleton rows={2} /> : !found.data ? <Failed error={found.error} retry={() => void found.refetch()} /> : found.data.keys.length === 0 ? (
          <Empty title="No keys yet">A key lets a program act for you: CI, a script, `rclaude login --with-key`.</Empty>
        ) : (
          <ul className="divide-y divide-line overflow-hidden rounded-xl border border-line bg-surface">
            {found.data.keys.map((key) => (
              <li key={key.id} className="flex items-center gap-4 px-4 py-3">
                <div className="min-w-0 flex-1">
                  <p className="hostile truncate font-medium">{visible(key.name ?? "Without a name")}</p>
                  <p className="truncate text-xs text-muted">
                    <code>{key.prefix}…</code> · {accountOf(key.user)}{key.scopes.join(", ")} · made <Ago time={key.created_at} />
                    {key.expires_at && <> · until {new Date(key.expires_at).toLocaleDateString(undefined, { dateStyle: "medium" })}</>}
                  </p>
                </div>
                <Button look="danger" aria-label={`Revoke ${visible(key.name ?? key.prefix)}`} onClick={() => askToRevoke({ id: key.id, name: key.name ?? key.prefix })}>Revoke</Button>
              </li>
            ))}
          </ul>
        )}
      </section>
      <Confirm
        open={revoking !== null}
        title={`Revoke “${visible(revoking?.name ?? "")}”?`}
        detail="Whatever uses it is refused from now on, open connections too. It cannot be brought back."
        yes="Revoke the key"
        busy={revoke.isPending}
        error={revoke.error?.message}
        onYes={() => revoking && revoke.mutate(revoking.id)}
        onClose={() => askToRevoke(null)}
      />
    </div>
  );
}
