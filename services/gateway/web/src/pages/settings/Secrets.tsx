import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api, data, type Secret } from "@/api/client";
import { secrets } from "@/api/queries";
import { useRights } from "@/api/session";
import { visible } from "@/text/ansi";
import { Button, Field } from "@/ui/controls";
import { Confirm } from "@/ui/dialog";
import { Rows } from "@/ui/page";
import { Empty, Failed, Skeleton } from "@/ui/states";
import { toast } from "@/ui/toast";

const NAME = /^[A-Z][A-Z0-9_]{0,63}$/;

/** Secrets by name. A value goes in and never comes out: not here, and not to the agent of a task either, unless that is chosen. */
export function Secrets() {
  const cache = useQueryClient();
  const { manages } = useRights();
  const found = useQuery(secrets);
  const [name, setName] = useState("");
  const [value, setValue] = useState("");
  const [hosts, setHosts] = useState("");
  const [asEnv, setAsEnv] = useState(false);
  const [of, setOf] = useState<Secret["of"]>("person");
  const [removing, askToRemove] = useState<Secret | null>(null);
  const store = useMutation({
    mutationFn: () => {
      const body = { value, as_env: asEnv, hosts: asEnv ? [] : hosts.split(",").map((host) => host.trim()).filter(Boolean) };
      const params = { path: { name } };
      return data(of === "person" ? api.PUT("/v1/me/secrets/{name}", { params, body }) : api.PUT("/v1/org/secrets/{name}", { params, body }));
    },
    onSuccess: async () => {
      toast(`${name} is stored, sealed. Its value is shown nowhere.`);
      setName("");
      setValue("");
      setHosts("");
      await cache.invalidateQueries({ queryKey: secrets.queryKey });
    },
  });
  const remove = useMutation({
    mutationFn: ({ name, of }: Secret) => {
      const params = { path: { name } };
      return data(of === "person" ? api.DELETE("/v1/me/secrets/{name}", { params }) : api.DELETE("/v1/org/secrets/{name}", { params }));
    },
    onSuccess: (_, removed) => {
      askToRemove(null);
      cache.setQueryData(secrets.queryKey, (before) => before && { ...before, secrets: before.secrets.filter((one) => one.name !== removed.name || one.of !== removed.of) });
    },
  });
  const badName = name !== "" && !NAME.test(name);
  return (
    <div className="space-y-8">
      <form
        className="space-y-4 rounded-xl border border-line bg-surface p-4"
        onSubmit={(event) => {
          event.preventDefault();
          store.mutate();
        }}
      >
        <h2 className="font-semibold">Store a secret</h2>
        <div className="grid gap-4 sm:grid-cols-2">
          <Field label="Name" error={badName ? "Capital letters, digits and _; a letter first" : undefined}>
            <input className="field font-mono" required autoComplete="off" placeholder="NPM_TOKEN" value={name} onChange={(event) => setName(event.target.value.toUpperCase())} />
          </Field>
          <Field label="Value">
            <input className="field" type="password" required autoComplete="new-password" value={value} onChange={(event) => setValue(event.target.value)} />
          </Field>
        </div>
        <fieldset>
          <legend className="mb-1 text-sm font-medium">How a task uses it</legend>
          <label className="flex min-h-8 items-center gap-2 text-sm">
            <input type="radio" name="use" className="accent-(--accent)" checked={!asEnv} onChange={() => setAsEnv(false)} />
            In requests to these hosts; the agent never sees it
          </label>
          {!asEnv && <input aria-label="Hosts" className="field my-1" required placeholder="registry.npmjs.org, api.example.com" value={hosts} onChange={(event) => setHosts(event.target.value)} />}
          <label className="flex min-h-8 items-center gap-2 text-sm">
            <input type="radio" name="use" className="accent-(--accent)" checked={asEnv} onChange={() => setAsEnv(true)} />
            As an environment variable; the agent can read it
          </label>
        </fieldset>
        {manages && (
          <Field label="For">
            <select className="field sm:!w-auto" value={of} onChange={(event) => setOf(event.target.value as Secret["of"])}>
              <option value="person">your tasks only</option>
              <option value="organisation">everybody's tasks of the organisation</option>
            </select>
          </Field>
        )}
        {store.error && <p role="alert" className="text-sm text-bad">{store.error.message}</p>}
        <Button type="submit" look="primary" busy={store.isPending} disabled={!NAME.test(name) || !value || (!asEnv && !hosts.trim())}>Store the secret</Button>
      </form>
      {found.isPending ? <Skeleton rows={2} /> : !found.data ? <Failed error={found.error} retry={() => void found.refetch()} /> : found.data.secrets.length === 0 ? (
        <Empty title="No secrets yet">A task names those that it needs.</Empty>
      ) : (
        <Rows label="Secrets">
          {found.data.secrets.map((secret) => (
            <li key={`${secret.of} ${secret.name}`} className="flex items-center gap-4 px-4 py-3">
              <div className="min-w-0 flex-1">
                <p className="hostile truncate font-mono text-sm font-medium">{secret.name}</p>
                <p className="hostile truncate text-xs text-muted">{secret.of === "person" ? "yours" : "of the organisation"}, {secret.as_env ? "an environment variable" : `for ${secret.hosts.map(visible).join(", ")}`}</p>
              </div>
              {(secret.of === "person" || manages) && <Button look="danger" aria-label={`Remove ${secret.name}`} onClick={() => askToRemove(secret)}>Remove</Button>}
            </li>
          ))}
        </Rows>
      )}
      <Confirm
        open={removing !== null}
        title={`Remove ${removing?.name ?? ""}?`}
        detail="Tasks that name it are refused from now on."
        yes="Remove the secret"
        busy={remove.isPending}
        error={remove.error?.message}
        onYes={() => removing && remove.mutate(removing)}
        onClose={() => askToRemove(null)}
      />
    </div>
  );
}
