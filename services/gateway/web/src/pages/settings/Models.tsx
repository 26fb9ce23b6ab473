import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api, data, type ModelCredential } from "@/api/client";
import { models } from "@/api/queries";
import { useRights } from "@/api/session";
import { visible } from "@/text/ansi";
import { Button, Field } from "@/ui/controls";
import { Confirm } from "@/ui/dialog";
import { Rows } from "@/ui/page";
import { Empty, Failed, Skeleton } from "@/ui/states";
import { toast } from "@/ui/toast";

/** Credentials of one's own for the models. What they pay for is not on the bill of this server. */
export function Models() {
  const cache = useQueryClient();
  const { manages } = useRights();
  const found = useQuery(models);
  const [name, setName] = useState("default");
  const [value, setValue] = useState("");
  const [kind, setKind] = useState<"key" | "token">("key");
  const [url, setUrl] = useState("");
  const [of, setOf] = useState<ModelCredential["of"]>("person");
  const [removing, askToRemove] = useState<ModelCredential | null>(null);
  const again = () => cache.invalidateQueries({ queryKey: models.queryKey });
  const store = useMutation({
    mutationFn: () => {
      const body = { value: value.trim(), kind, provider: "anthropic" as const, ...(url.trim() && { base_url: url.trim() }) };
      const params = { path: { name: name.trim() } };
      return data(of === "person" ? api.PUT("/v1/me/models/{name}", { params, body }) : api.PUT("/v1/org/models/{name}", { params, body }));
    },
    onSuccess: async () => {
      setValue("");
      toast("The credential is checked and stored, sealed.");
      await again();
    },
  });
  const use = useMutation({
    mutationFn: ({ name, of }: ModelCredential) => data(of === "person" ? api.PUT("/v1/me/model", { body: { name } }) : api.PUT("/v1/org/model", { body: { name } })),
    onSuccess: again,
    onError: (error) => toast(error.message, true),
  });
  const remove = useMutation({
    mutationFn: ({ name, of }: ModelCredential) => {
      const params = { path: { name } };
      return data(of === "person" ? api.DELETE("/v1/me/models/{name}", { params }) : api.DELETE("/v1/org/models/{name}", { params }));
    },
    onSuccess: async () => {
      askToRemove(null);
      await again();
    },
  });
  return (
    <div className="space-y-8">
      <form
        className="space-y-4 rounded-xl border border-line bg-surface p-4"
        onSubmit={(event) => {
          event.preventDefault();
          store.mutate();
        }}
      >
        <h2 className="font-semibold">A model key of your own</h2>
        <div className="grid gap-4 sm:grid-cols-2">
          <Field label="Name">
            <input className="field" required maxLength={64} value={name} onChange={(event) => setName(event.target.value)} />
          </Field>
          <Field label="Kind">
            <select className="field" value={kind} onChange={(event) => setKind(event.target.value as "key" | "token")}>
              <option value="key">API key</option>
              <option value="token">bearer token</option>
            </select>
          </Field>
          <Field label="Key">
            <input className="field" type="password" required autoComplete="new-password" value={value} onChange={(event) => setValue(event.target.value)} />
          </Field>
          <Field label="Address" hint="Anthropic's if left out">
            <input className="field" inputMode="url" placeholder="https://api.anthropic.com" value={url} onChange={(event) => setUrl(event.target.value)} />
          </Field>
          {manages && (
            <Field label="For">
              <select className="field" value={of} onChange={(event) => setOf(event.target.value as ModelCredential["of"])}>
                <option value="person">your tasks only</option>
                <option value="organisation">everybody's tasks of the organisation</option>
              </select>
            </Field>
          )}
        </div>
        {store.error && <p role="alert" className="text-sm text-bad">{store.error.message}</p>}
        <Button type="submit" look="primary" busy={store.isPending} disabled={!name.trim() || !value.trim()}>Check and store it</Button>
      </form>
      {found.isPending ? <Skeleton rows={2} /> : !found.data ? <Failed error={found.error} retry={() => void found.refetch()} /> : found.data.models.length === 0 ? (
        <Empty title="No model keys of your own">Tasks use the operator's key, if there is one, and you pay for its use.</Empty>
      ) : (
        <Rows label="Model keys">
          {found.data.models.map((model) => {
            const shown = visible(model.name);
            const mine = model.of === "person" || manages;
            return (
              <li key={`${model.of} ${model.name}`} className="flex flex-wrap items-center gap-x-4 gap-y-2 px-4 py-3">
                <div className="min-w-0 flex-1">
                  <p className="hostile truncate font-medium">{shown}{model.used && <span className="ml-2 rounded-full border border-ok/40 px-2 text-xs font-normal text-ok">your tasks use it</span>}</p>
                  <p className="hostile truncate text-xs text-muted">{model.of === "person" ? "yours" : "of the organisation"}, {visible(model.provider)}, {visible(model.base_url)}</p>
                </div>
                {!model.used && mine && <Button busy={use.isPending} aria-label={`Use ${shown}`} onClick={() => use.mutate(model)}>Use it</Button>}
                {mine && <Button look="danger" aria-label={`Remove ${shown}`} onClick={() => askToRemove(model)}>Remove</Button>}
              </li>
            );
          })}
        </Rows>
      )}
      <Confirm
        open={removing !== null}
        title={`Remove ${visible(removing?.name ?? "")}?`}
        detail="Tasks that run with it go on; those that start later use another one."
        yes="Remove the key"
        busy={remove.isPending}
        error={remove.error?.message}
        onYes={() => removing && remove.mutate(removing)}
        onClose={() => askToRemove(null)}
      />
    </div>
  );
}
