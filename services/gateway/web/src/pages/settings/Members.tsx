import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api, data } from "@/api/client";
import type { components } from "@/api/schema";
import { members } from "@/api/queries";
import { useRights, useSession } from "@/api/session";
import { visible } from "@/text/ansi";
import { Button, Copy, Field } from "@/ui/controls";
import { Confirm } from "@/ui/dialog";
import { Failed, Skeleton } from "@/ui/states";
import { toast } from "@/ui/toast";

type MemberList = components["schemas"]["MemberList"];
type Role = "owner" | "admin" | "member" | "billing";
const ROLES: [Role, string][] = [["owner", "Owner"], ["admin", "Admin"], ["member", "Member"], ["billing", "Billing"]];

export function Members() {
  const cache = useQueryClient();
  const session = useSession();
  const { manages: mayManage } = useRights();
  const found = useQuery(members);
  const [email, setEmail] = useState("");
  const [role, setRole] = useState<Role>("member");
  const [removing, askToRemove] = useState<{ user: string; name: string } | null>(null);
  // The answer to a change says that it is done: the list is changed here, not asked for again before it knows.
  const update = (change: (before: MemberList) => MemberList) => cache.setQueryData(members.queryKey, (before) => before && change(before));
  const failed = (error: Error) => toast(error.message, true);
  const invite = useMutation({
    mutationFn: (body: { role: Role; email: string | null }) => data(api.POST("/v1/org/invitations", { body })),
    onSuccess: ({ id, expires_at }, { role, email }) => {
      setEmail("");
      update((before) => ({ ...before, invitations: [...before.invitations, { id, role, email, expires_at, invited_by: session.data?.user ?? "" }] }));
    },
  });
  const change = useMutation({
    mutationFn: ({ user, role }: { user: string; role: Role }) => data(api.PUT("/v1/org/members/{user}/role", { params: { path: { user } }, body: { role } })),
    onError: failed,
    onSuccess: (_, { user, role }) => update((before) => ({ ...before, members: before.members.map((one) => (one.user === user ? { ...one, role } : one)) })),
  });
  const remove = useMutation({
    mutationFn: (user: string) => data(api.DELETE("/v1/org/members/{user}", { params: { path: { user } } })),
    onSuccess: (_, removed) => {
      askToRemove(null);
      update((before) => ({ ...before, members: before.members.filter(({ user }) => user !== removed) }));
    },
  });
  const send = useMutation({
    mutationFn: (invitation: string) => data(api.POST("/v1/org/invitations/{invitation}/send", { params: { path: { invitation } } })),
    onError: failed,
    onSuccess: ({ expires_at, mailed }, invitation) => {
      toast(mailed ? "The invitation is sent again. The link before it is good no more." : "There is a new link. The one before it is good no more.");
      update((before) => ({ ...before, invitations: before.invitations.map((one) => (one.id === invitation ? { ...one, expires_at } : one)) }));
    },
  });
  const revoke = useMutation({
    mutationFn: (invitation: string) => data(api.DELETE("/v1/org/invitations/{invitation}", { params: { path: { invitation } } })),
    onError: failed,
    onSuccess: (_, revoked) => update((before) => ({ ...before, invitations: before.invitations.filter(({ id }) => id !== revoked) })),
  });
  const link = send.data && send.submittedAt > invite.submittedAt ? send.data : invite.data;
  if (found.isPending) return <Skeleton rows={3} />;
  if (!found.data) return <Failed error={found.error} retry={() => void found.refetch()} />;
  
  return (
    <div className="space-y-8">
      <ul aria-label="Members" className="divide-y divide-line overflow-hidden rounded-xl border border-line bg-surface">
        {found.data.members.map((member) => {
          const name = visible(member.name ?? member.email ?? member.user);
          const isSelf = member.user === session.data?.user;
          return (
            <li key={member.user} className="flex flex-wrap items-center gap-x-4 gap-y-2 px-4 py-3">
              <div className="min-w-0 flex-1">
                <p className="hostile truncate font-medium">{name}{isSelf && <span className="ml-2 text-xs font-normal text-muted">you</span>}</p>
                {member.email && member.name && <p className="hostile truncate text-xs text-muted">{visible(member.email)}</p>}
              </div>
              {mayManage && !isSelf ? (
                <>
                  <select aria-label={`Role of ${name}`} className="field !w-auto" value={member.role} onChange={(event) => change.mutate({ user: member.user, role: event.target.value as Role })}>
                    {ROLES.map(([value, title]) => <option key={value} value={value}>{title}</option>)}
                  </select>
                  <Button look="danger" aria-label={`Remove ${name}`} onClick={() => askToRemove({ user: member.user, name })}>Remove</Button>
                </>
              ) : (
                <span className="text-sm capitalize text-muted">{member.role}</span>
              )}
            </li>
          );
        })}
      </ul>
      {mayManage && (
        <form
          className="space-y-4 rounded-xl border border-line bg-surface p-4"
          onSubmit={(event) => {
            event.preventDefault();
            invite.mutate({ role, email: email.trim() || null });
          }}
        >
          <h2 className="font-semibold">Invite somebody</h2>
          <div className="grid items-end gap-4 sm:grid-cols-[1fr_10rem_auto]">
            <Field label="E-mail" hint="optional">
              <input className="field" type="email" value={email} onChange={(event) => setEmail(event.target.value)} />
            </Field>
            <Field label="Role">
              <select className="field" value={role} onChange={(event) => setRole(event.target.value as Role)}>
                {ROLES.map(([value, title]) => <option key={value} value={value}>{title}</option>)}
              </select>
            </Field>
            <Button type="submit" look="primary" busy={invite.isPending} className="min-h-[38px]">Invite</Button>
          </div>
          {invite.error && <p role="alert" className="text-sm text-bad">{invite.error.message}</p>}
          {link && (
            <div role="status" className="rounded-lg border border-ok/40 bg-ok/5 p-3">
              <p className="text-sm font-medium">{link.mailed ? "It has been sent. The same as a link:" : "Send this link. It is good once, and shown this once."}</p>
              <div className="mt-2 flex items-center gap-2">
                <code className="hostile min-w-0 flex-1 select-all text-xs">{link.url}</code>
                <Copy text={link.url} label="Copy the link">Copy</Copy>
              </div>
            </div>
          )}
        </form>
      )}
      {found.data.invitations.length > 0 && (
        <section aria-labelledby="invitations">
          <h2 id="invitations" className="mb-3 font-semibold">Invitations</h2>
          <ul className="divide-y divide-line overflow-hidden rounded-xl border border-line bg-surface">
            {found.data.invitations.map((invitation) => (
              <li key={invitation.id} className="flex items-center gap-4 px-4 py-3">
                <div className="min-w-0 flex-1">
                  <p className="hostile truncate">{visible(invitation.email ?? "By link")}</p>
                  <p className="text-xs text-muted"><span className="capitalize">{invitation.role}</span>, until {new Date(invitation.expires_at).toLocaleDateString(undefined, { dateStyle: "medium" })}</p>
                </div>
                {mayManage && (
                  <>
                    <Button busy={send.isPending && send.variables === invitation.id} aria-label={`Send again: ${visible(invitation.email ?? "the link")}`} onClick={() => send.mutate(invitation.id)}>Send again</Button>
                    <Button look="danger" aria-label={`Revoke: ${visible(invitation.email ?? "the link")}`} onClick={() => revoke.mutate(invitation.id)}>Revoke</Button>
                  </>
                )}
              </li>
            ))}
          </ul>
        </section>
      )}
      <Confirm
        open={removing !== null}
        title={`Remove ${removing?.name ?? ""}?`}
        detail="Their API keys of this organisation are refused from now on. Their tasks stay."
        yes="Remove them"
        busy={remove.isPending}
        error={remove.error?.message}
        onYes={() => removing && remove.mutate(removing.user)}
        onClose={() => askToRemove(null)}
      />
    </div>
  );
}
