import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { ChevronRight } from "lucide-react";
import { useState } from "react";
import { api, data, type Webhook } from "@/api/client";
import { webhooks } from "@/api/queries";
import { visible } from "@/text/ansi";
import { count, moment } from "@/text/format";
import { Button, Copy, Field } from "@/ui/controls";
import { Confirm } from "@/ui/dialog";
import { Rows, Section } from "@/ui/page";
import { Ago, Empty, Failed, Skeleton } from "@/ui/states";
import { toast } from "@/ui/toast";

const OUTCOMES = { pending: "text-muted", delivered: "text-ok", failed: "text-bad" } as const;

/** Addresses that get a signed message when a task ends, and what came of each message. */
export function Webhooks() {
  const cache = useQueryClient();
  const found = useQuery({ ...webhooks, refetchInterval: 5_000 });
  const [url, setUrl] = useState("");
  const [format, setFormat] = useState<"standard" | "slack">("standard");
  const [opened, open] = useState<string | null>(null);
  const [removing, askToRemove] = useState<Webhook | null>(null);
  const add = useMutation({
    mutationFn: () => data(api.POST("/v1/webhooks", { body: { url: url.trim(), format } })),
    onSuccess: async ({ position }) => {
      setUrl("");
      cache.setQueryData(webhooks.queryKey, await data(api.GET("/v1/webhooks", { params: { query: { min_position: position } } })));
    },
  });
  const remove = useMutation({
    mutationFn: (webhook: string) => data(api.DELETE("/v1/webhooks/{webhook}", { params: { path: { webhook } } })),
    onSuccess: (_, removed) => {
      askToRemove(null);
      cache.setQueryData(webhooks.queryKey, (before) => before && { ...before, webhooks: before.webhooks.filter(({ id }) => id !== removed) });
    },
  });
  if (found.isPending) return <Skeleton rows={2} />;
  if (!found.data) return <Failed error={found.error} retry={() => void found.refetch()} />;
  return (
    <div className="space-y-8">
      <form
        className="space-y-3 rounded-xl border border-line bg-surface p-4"
        onSubmit={(event) => {
          event.preventDefault();
          add.mutate();
        }}
      >
        <div className="flex flex-wrap items-end gap-3">
          <Field label="New webhook" error={add.error?.message} className="min-w-56 flex-1">
            <input className="field" type="url" required maxLength={2048} placeholder="https://example.com/hooks/tasks" value={url} onChange={(event) => setUrl(event.target.value)} />
          </Field>
          <Field label="Message">
            <select className="field" value={format} onChange={(event) => setFormat(event.target.value as typeof format)}>
              <option value="standard">Signed JSON</option>
              <option value="slack">Text for Slack</option>
            </select>
          </Field>
          <Button type="submit" look="primary" className="min-h-[38px]" busy={add.isPending} disabled={!url.trim()}>Add</Button>
        </div>
        <p className="text-sm text-muted">The address gets a message when a task ends, again and again until it answers with 2xx.</p>
        {add.data && (
          <div role="status" className="rounded-lg border border-ok/40 bg-ok/5 p-3">
            <p className="text-sm font-medium">This secret signs every message. It is shown this once.</p>
            <div className="mt-2 flex items-center gap-2">
              <code data-secret className="hostile min-w-0 flex-1 select-all">{add.data.secret}</code>
              <Copy text={add.data.secret} label="Copy the secret">Copy</Copy>
            </div>
          </div>
        )}
      </form>
      <Section title="Webhooks">
        {found.data.webhooks.length === 0 ? <Empty title="No webhooks">Chat rooms, dashboards and scripts hear of the end of a task through one.</Empty> : (
          <Rows label="Webhooks">
            {found.data.webhooks.map((hook) => {
              const shown = visible(hook.url ?? hook.id);
              const isOpen = opened === hook.id;
              return (
                <li key={hook.id}>
                  <div className="flex items-center gap-3 px-4 py-3">
                    <button type="button" aria-expanded={isOpen} onClick={() => open(isOpen ? null : hook.id)} className="flex min-w-0 flex-1 items-center gap-2 text-left">
                      <ChevronRight className={`size-4 shrink-0 text-muted transition-transform ${isOpen ? "rotate-90" : ""}`} aria-hidden />
                      <span className="min-w-0">
                        <span className="hostile block truncate font-medium">{shown}</span>
                        <span className="tabular block truncate text-xs text-muted">
                          {count(hook.delivered)} delivered · <span className={hook.failed ? "text-bad" : ""}>{count(hook.failed)} failed</span> · {count(hook.pending)} pending
                          {hook.last && hook.last_at && <> · last: {visible(hook.last.replaceAll("_", " "))} <Ago time={hook.last_at} /></>}
                        </span>
                      </span>
                    </button>
                    <Button look="danger" aria-label={`Remove ${shown}`} onClick={() => askToRemove(hook)}>Remove</Button>
                  </div>
                  {isOpen && <Deliveries hook={hook.id} />}
                </li>
              );
            })}
          </Rows>
        )}
      </Section>
      <Confirm
        open={removing !== null}
        title="Remove the webhook?"
        detail={<><span className="hostile">{visible(removing?.url ?? removing?.id ?? "")}</span> gets nothing more, not even what it has missed.</>}
        yes="Remove the webhook"
        busy={remove.isPending}
        error={remove.error?.message}
        onYes={() => removing && remove.mutate(removing.id)}
        onClose={() => askToRemove(null)}
      />
    </div>
  );
}

function Delivered({ task, again }: { task: string | null; again?: { isPending: boolean; variables?: string; mutate: (task: string) => void } }) {
  if (task === null) return <span className="text-xs">A quota</span>;
  return (
    <>
      <Link to="/tasks/$task" params={{ task }} className="min-w-0 truncate font-mono text-xs underline decoration-line underline-offset-4 hover:decoration-current">{task}</Link>
      {again && <Button look="bare" aria-label={`Post the end of ${task} again`} busy={again.isPending && again.variables === task} onClick={() => again.mutate(task)}>Again</Button>}
    </>
  );
}

function Deliveries({ hook }: { hook: string }) {
  const cache = useQueryClient();
  const replay = useMutation({
    mutationFn: (task: string) => data(api.POST("/v1/webhooks/{webhook}/deliveries", { params: { path: { webhook: hook } }, body: { task } })),
    onSuccess: () => {
      toast("The end of the task is posted once more.");
      return cache.invalidateQueries({ queryKey: ["webhooks"] });
    },
    onError: (error) => toast(error.message, true),
  });
  const found = useInfiniteQuery({
    queryKey: ["webhooks", hook, "deliveries"],
    refetchInterval: 5_000,
    initialPageParam: undefined as number | undefined,
    queryFn: ({ pageParam, signal }) => data(api.GET("/v1/webhooks/{webhook}/deliveries", { params: { path: { webhook: hook }, query: { before: pageParam, limit: 50 } }, signal })),
    getNextPageParam: (page) => page.next ?? undefined,
  });
  if (found.isPending) return <Skeleton rows={2} height={20} />;
  if (!found.data) return <Failed error={found.error} retry={() => void found.refetch()} />;
  const deliveries = found.data.pages.flatMap((page) => page.deliveries);
  if (deliveries.length === 0) return <p className="border-t border-line bg-sunken/50 px-4 py-3 text-sm text-muted">No task has ended since the webhook was added.</p>;
  return (
    <div className="border-t border-line bg-sunken/50">
      <ul aria-label="Deliveries" className="divide-y divide-line">
        {deliveries.map((one) => (
          <li key={one.id} className="flex flex-wrap items-center gap-x-4 gap-y-1 px-4 py-2 text-sm md:pl-10">
            <span className={`w-20 shrink-0 font-medium ${OUTCOMES[one.outcome]}`}>{one.outcome}</span>
            <span className="tabular w-8 shrink-0 text-muted">{one.status ?? ""}</span>
            <Delivered task={one.task} again={one.outcome !== "pending" ? replay : undefined} />
            {one.reason && <span className="hostile min-w-0 truncate text-xs text-bad">{visible(one.reason.replaceAll("_", " "))}</span>}
            <time className="tabular ml-auto shrink-0 text-xs text-muted" dateTime={one.at} title={moment(one.at)}><Ago time={one.at} /></time>
          </li>
        ))}
      </ul>
      {found.hasNextPage && <div className="px-4 py-3"><Button busy={found.isFetchingNextPage} onClick={() => void found.fetchNextPage()}>Earlier deliveries</Button></div>}
    </div>
  );
}
