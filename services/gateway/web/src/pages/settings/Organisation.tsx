import { useMutation, useQuery } from "@tanstack/react-query";
import { Check } from "lucide-react";
import { useState } from "react";
import { api, data } from "@/api/client";
import { chooseOrg } from "@/api/org";
import { members, orgs } from "@/api/queries";
import { useRights, useSession } from "@/api/session";
import { visible } from "@/text/ansi";
import { Button, Field } from "@/ui/controls";
import { Confirm } from "@/ui/dialog";
import { Rows, Section } from "@/ui/page";
import { Failed, Skeleton } from "@/ui/states";
import { toast } from "@/ui/toast";

/** Act for another organisation: everything that the page knows belongs to the one before, so it begins again. */
export function switchTo(org: string | null): void {
  chooseOrg(org);
  window.location.assign("/");
}

export function Organisation() {
  const session = useSession();
  const { manages } = useRights();
  const found = useQuery(orgs);
  if (found.isPending) return <Skeleton rows={3} />;
  if (!found.data) return <Failed error={found.error} retry={() => void found.refetch()} />;
  const here = found.data.orgs.find(({ id }) => id === session.data?.org);
  return (
    <div className="space-y-8">
      <Section title="Your organisations">
        <Rows label="Your organisations">
          {found.data.orgs.map((org) => {
            const name = visible(org.name ?? org.id);
            return (
              <li key={org.id} className="flex items-center gap-4 px-4 py-3">
                <div className="min-w-0 flex-1">
                  <p className="hostile truncate font-medium">{name}</p>
                  <p className="text-xs text-muted"><span className="capitalize">{org.role}</span>{org.personal && ", personal"}</p>
                </div>
                {org === here ? <span className="flex items-center gap-1.5 text-sm text-ok"><Check className="size-4" aria-hidden /> This one</span> : <Button aria-label={`Switch to ${name}`} onClick={() => switchTo(org.id)}>Switch</Button>}
              </li>
            );
          })}
        </Rows>
      </Section>
      {found.data.deleted.length > 0 && <Deleted orgs={found.data.deleted} />}
      <Create />
      {here && manages && <Rename key={here.id} name={here.name ?? ""} />}
      {here && manages && <Forge />}
      {here && !here.personal && <Leaving name={visible(here.name ?? here.id)} />}
    </div>
  );
}

function Deleted({ orgs }: { orgs: { id: string; name: string | null; erased_at: string }[] }) {
  const restore = useMutation({
    mutationFn: (org: string) => data(api.POST("/v1/orgs/{org}/restore", { params: { path: { org } } })),
    onSuccess: ({ id }) => switchTo(id),
    onError: (error) => toast(error.message, true),
  });
  return (
    <Section title="Deleted organisations">
      <Rows label="Deleted organisations">
        {orgs.map((org) => {
          const name = visible(org.name ?? org.id);
          return (
            <li key={org.id} className="flex items-center gap-4 px-4 py-3">
              <div className="min-w-0 flex-1">
                <p className="hostile truncate font-medium">{name}</p>
                <p className="text-xs text-warn">erased for good on {new Date(org.erased_at).toLocaleDateString(undefined, { dateStyle: "medium" })}</p>
              </div>
              <Button aria-label={`Bring ${name} back`} busy={restore.isPending && restore.variables === org.id} onClick={() => restore.mutate(org.id)}>Bring it back</Button>
            </li>
          );
        })}
      </Rows>
    </Section>
  );
}

function Create() {
  const [name, setName] = useState("");
  const create = useMutation({
    mutationFn: () => data(api.POST("/v1/orgs", { body: { name: name.trim() } })),
    onSuccess: ({ id }) => switchTo(id),
  });
  return (
    <OneField title="New organisation" label="Name" value={name} set={setName} button="Create and switch to it" mutation={create}>
      Tasks, bill, members and secrets of their own.
    </OneField>
  );
}

function Rename({ name: before }: { name: string }) {
  const [name, setName] = useState(before);
  const rename = useMutation({
    mutationFn: () => data(api.PATCH("/v1/org", { body: { name: name.trim() } })),
    onSuccess: () => toast("The organisation has a new name."),
  });
  return <OneField title="Name of this organisation" label="New name" value={name} set={setName} button="Rename" mutation={rename} unchanged={name.trim() === before} />;
}

function Forge() {
  const [token, setToken] = useState("");
  const store = useMutation({
    mutationFn: () => data(api.PUT("/v1/org/forges/{forge}", { params: { path: { forge: "github" } }, body: { value: token.trim() } })),
    onSuccess: () => {
      setToken("");
      toast("The token is stored, sealed.");
    },
  });
  return (
    <OneField title="GitHub" label="Token for cloning and pull requests" secret value={token} set={setToken} button="Store" mutation={store}>
      Repositories of a task are cloned with it, pull requests opened. Agents never see it.
    </OneField>
  );
}

function OneField({ title, label, value, set, button, mutation, unchanged = false, secret = false, children }: {
  title: string;
  label: string;
  value: string;
  set: (text: string) => void;
  button: string;
  mutation: { mutate: () => void; isPending: boolean; error: Error | null };
  unchanged?: boolean;
  secret?: boolean;
  children?: React.ReactNode;
}) {
  return (
    <Section title={title}>
      {children && <p className="-mt-2 mb-3 text-sm text-muted">{children}</p>}
      <form
        className="flex flex-wrap items-end gap-3"
        onSubmit={(event) => {
          event.preventDefault();
          mutation.mutate();
        }}
      >
        <Field label={label} error={mutation.error?.message} className="min-w-56 flex-1">
          <input className="field" type={secret ? "password" : "text"} autoComplete="off" required maxLength={secret ? 10_000 : 100} value={value} onChange={(event) => set(event.target.value)} />
        </Field>
        <Button type="submit" className="min-h-[38px]" busy={mutation.isPending} disabled={!value.trim() || unchanged}>{button}</Button>
      </form>
    </Section>
  );
}

type Ask = "leave" | "transfer" | "delete";

function Leaving({ name }: { name: string }) {
  const { owns } = useRights();
  const session = useSession();
  const people = useQuery({ ...members, enabled: owns });
  const [asked, ask] = useState<Ask | null>(null);
  const [heir, setHeir] = useState("");
  const done = useMutation({
    mutationFn: (what: Ask) =>
      what === "leave" ? data(api.POST("/v1/org/leave")) : what === "delete" ? data(api.DELETE("/v1/org")) : data(api.POST("/v1/org/transfer", { body: { user: heir } })),
    onSuccess: (_, what) => (what === "transfer" ? window.location.reload() : switchTo(null)),
  });
  const others = people.data?.members.filter(({ user }) => user !== session.data?.user) ?? [];
  const texts: Record<Ask, [title: string, detail: string, yes: string]> = {
    leave: [`Leave ${name}?`, "You lose its tasks, and your API keys of it are refused.", "Leave it"],
    transfer: [`Give ${name} to another owner?`, "You become an admin of it.", "Make them the owner"],
    delete: [`Delete ${name}?`, "Nobody can act for it from now on. An owner can bring it back for thirty days; then its texts are erased for good.", "Delete the organisation"],
  };
  const [title, detail, yes] = texts[asked ?? "leave"];
  return (
    <Section title="Leave, give away or delete">
      <div className="flex flex-wrap items-end gap-3 rounded-xl border border-bad/35 p-4">
        <Button onClick={() => ask("leave")}>Leave</Button>
        {owns && others.length > 0 && (
          <>
            <Field label="New owner">
              <select className="field !w-auto" value={heir} onChange={(event) => setHeir(event.target.value)}>
                <option value="">choose</option>
                {others.map(({ user, name, email }) => <option key={user} value={user}>{visible(name ?? email ?? user)}</option>)}
              </select>
            </Field>
            <Button className="min-h-[38px]" disabled={!heir} onClick={() => ask("transfer")}>Give it away</Button>
          </>
        )}
        {owns && <Button look="danger" onClick={() => ask("delete")}>Delete the organisation</Button>}
      </div>
      <Confirm open={asked !== null} title={title} detail={detail} yes={yes} busy={done.isPending} error={done.error?.message} onYes={() => asked && done.mutate(asked)} onClose={() => ask(null)} />
    </Section>
  );
}
