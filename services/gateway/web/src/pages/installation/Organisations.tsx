import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api, data, type InstalledOrg } from "@/api/client";
import { accounts, everyOrg, plans } from "@/api/queries";
import { visible } from "@/text/ansi";
import { count, planName } from "@/text/format";
import { Button, Field } from "@/ui/controls";
import { Confirm } from "@/ui/dialog";
import { Table } from "@/ui/page";
import { Ago, Empty, Failed, Skeleton } from "@/ui/states";
import { toast } from "@/ui/toast";

/** Every organisation of the installation: its plan, what it uses, and its suspension. */
export function Organisations() {
  const cache = useQueryClient();
  const found = useQuery(everyOrg);
  const used = useQuery(accounts);
  const offered = useQuery(plans);
  const [text, setText] = useState("");
  const [suspending, askToSuspend] = useState<InstalledOrg | null>(null);
  const [reason, setReason] = useState("");
  const refresh = () => void cache.invalidateQueries({ queryKey: ["installation"] });
  const failed = (error: Error) => toast(error.message, true);
  const suspend = useMutation({
    mutationFn: (org: string) => data(api.PUT("/v1/orgs/{org}/suspension", { params: { path: { org } }, body: { reason: reason.trim() } })),
    onSuccess: () => {
      askToSuspend(null);
      setReason("");
      refresh();
    },
  });
  const resume = useMutation({ mutationFn: (org: string) => data(api.DELETE("/v1/orgs/{org}/suspension", { params: { path: { org } } })), onSuccess: refresh, onError: failed });
  const change = useMutation({
    mutationFn: ({ org, plan }: { org: string; plan: string }) => data(api.PUT("/v1/orgs/{org}/plan", { params: { path: { org } }, body: { plan } })),
    onSuccess: (_, { plan }) => {
      toast(`The plan is ${planName(plan)} from the next admission on.`);
      refresh();
    },
    onError: failed,
  });
  if (found.isPending || used.isPending) return <Skeleton />;
  if (!found.data || !used.data) return <Failed error={found.error ?? used.error} retry={() => void Promise.all([found.refetch(), used.refetch()])} />;
  const uses = new Map(used.data.map((one) => [one.org, one]));
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const shown = found.data.filter(({ id, name }) => words.every((word) => `${name ?? ""} ${id}`.toLowerCase().includes(word)));
  return (
    <div className="space-y-4">
      <div className="flex items-center gap-4">
        <input type="search" aria-label="Search organisations" className="field max-w-72" placeholder="Name or id" value={text} onChange={(event) => setText(event.target.value)} />
        <span className="tabular ml-auto text-sm text-muted">{count(found.data.length)} {found.data.length === 1 ? "organisation" : "organisations"}</span>
      </div>
      {shown.length === 0 ? <Empty title="No organisation matches" /> : (
        <Table label="Organisations" head={[{ name: "Organisation" }, { name: "Plan" }, { name: "Members", right: true }, { name: "Executions", right: true }, { name: "Since", right: true }, { name: "Admission", right: true }]}>
          {shown.slice(0, 200).map((org) => {
            const use = uses.get(org.id);
            const name = visible(org.name ?? org.id);
            return (
              <tr key={org.id}>
                <td className="max-w-60">
                  <span className="hostile block truncate font-medium">{name}</span>
                  <span className="block truncate font-mono text-xs text-muted">{org.id}</span>
                  {org.suspended && <span className="hostile block truncate text-xs text-bad">suspended: {visible(org.suspended)}</span>}
                  {org.erased_at && <span className="block text-xs text-warn">deleted, erased {new Date(org.erased_at).toLocaleDateString(undefined, { dateStyle: "medium" })}</span>}
                </td>
                <td>
                  {use && (
                    <select aria-label={`Plan of ${name}`} className="field !w-auto !min-h-8 !py-1 text-sm" value={use.plan} disabled={change.isPending} onChange={(event) => change.mutate({ org: org.id, plan: event.target.value })}>
                      {[...new Set([...(offered.data?.plans.map(({ plan }) => plan) ?? []), use.plan])].map((plan) => <option key={plan} value={plan}>{planName(plan)}</option>)}
                    </select>
                  )}
                </td>
                <td className="text-right">{count(org.members)}</td>
                <td className="text-right" title={use?.period}>{use ? count(use.executions) : "–"}</td>
                <td className="whitespace-nowrap text-right text-muted"><Ago time={org.created_at} /></td>
                <td className="text-right">
                  {org.suspended ? <Button aria-label={`Resume ${name}`} busy={resume.isPending && resume.variables === org.id} onClick={() => resume.mutate(org.id)}>Resume</Button> : !org.erased_at && <Button look="danger" aria-label={`Suspend ${name}`} onClick={() => askToSuspend(org)}>Suspend</Button>}
                </td>
              </tr>
            );
          })}
        </Table>
      )}
      {shown.length > 200 && <p className="text-sm text-muted">The first 200 are shown. Search for the others.</p>}
      <Confirm
        open={suspending !== null}
        title={`Suspend ${visible(suspending?.name ?? suspending?.id ?? "")}?`}
        detail={
          <>
            <p>No further task of it is admitted. What is queued or runs goes on; people can sign in, read and pay.</p>
            <Field label="Reason, shown to its members" className="mt-3 text-text">
              <input className="field" maxLength={100} value={reason} onChange={(event) => setReason(event.target.value)} />
            </Field>
          </>
        }
        yes="Suspend it"
        ready={reason.trim() !== ""}
        busy={suspend.isPending}
        error={suspend.error?.message}
        onYes={() => suspending && suspend.mutate(suspending.id)}
        onClose={() => askToSuspend(null)}
      />
    </div>
  );
}
