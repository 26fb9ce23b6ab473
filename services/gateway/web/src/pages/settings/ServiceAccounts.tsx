import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { api, data } from "@/api/client";
import { serviceAccounts } from "@/api/queries";
import { useRights } from "@/api/session";
import { visible } from "@/text/ansi";
import { Button, Field } from "@/ui/controls";
import { Confirm } from "@/ui/dialog";
import { Rows } from "@/ui/page";
import { Ago, Empty, Failed, Skeleton } from "@/ui/states";

/** Accounts for machines: their API keys stay when people leave. */
export function ServiceAccounts() {
  const cache = useQueryClient();
  const { manages } = useRights();
  const found = useQuery(serviceAccounts);
  const [name, setName] = useState("");
  const [removing, askToRemove] = useState<{ id: string; name: string } | null>(null);
  const create = useMutation({
    mutationFn: () => data(api.POST("/v1/org/service-accounts", { body: { name: name.trim() } })),
    onSuccess: async ({ position }) => {
      setName("");
      cache.setQueryData(serviceAccounts.queryKey, await data(api.GET("/v1/org/service-accounts", { params: { query: { min_position: position } } })));
    },
  });
  const remove = useMutation({
    mutationFn: (service_account: string) => data(api.DELETE("/v1/org/service-accounts/{service_account}", { params: { path: { service_account } } })),
    onSuccess: (_, removed) => {
      askToRemove(null);
      cache.setQueryData(serviceAccounts.queryKey, (before) => before && { ...before, service_accounts: before.service_accounts.filter(({ id }) => id !== removed) });
    },
  });
  if (found.isPending) return <Skeleton rows={2} />;
  if (!found.data) return <Failed error={found.error} retry={() => void found.refetch()} />;
  return (
    <div className="space-y-8">
      {manages && (
        <form
          className="flex flex-wrap items-end gap-3 rounded-xl border border-line bg-surface p-4"
          onSubmit={(event) => {
            event.preventDefault();
            create.mutate();
          }}
        >
          <Field label="New service account" error={create.error?.message} className="min-w-56 flex-1">
            <input className="field" required maxLength={100} placeholder="CI of the website" value={name} onChange={(event) => setName(event.target.value)} />
          </Field>
          <Button type="submit" look="primary" className="min-h-[38px]" busy={create.isPending} disabled={!name.trim()}>Create</Button>
        </form>
      )}
      {found.data.service_accounts.length === 0 ? <Empty title="No service accounts">Their keys stay good when the people who made them leave.</Empty> : (
        <Rows label="Service accounts">
          {found.data.service_accounts.map((account) => {
            const shown = visible(account.name ?? account.id);
            return (
              <li key={account.id} className="flex items-center gap-4 px-4 py-3">
                <div className="min-w-0 flex-1">
                  <p className="hostile truncate font-medium">{shown}</p>
                  <p className="truncate text-xs text-muted">made <Ago time={account.created_at} /></p>
                </div>
                {manages && (
                  <>
                    <Link to="/settings/keys" search={{ of: account.id }} className="text-sm underline decoration-line underline-offset-4 hover:decoration-current">New key</Link>
                    <Button look="danger" aria-label={`Remove ${shown}`} onClick={() => askToRemove({ id: account.id, name: shown })}>Remove</Button>
                  </>
                )}
              </li>
            );
          })}
        </Rows>
      )}
      <Confirm
        open={removing !== null}
        title={`Remove ${removing?.name ?? ""}?`}
        detail="Its API keys are refused from now on. Its tasks stay."
        yes="Remove the account"
        busy={remove.isPending}
        error={remove.error?.message}
        onYes={() => removing && remove.mutate(removing.id)}
        onClose={() => askToRemove(null)}
      />
    </div>
  );
}
