import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate, useParams } from "@tanstack/react-router";
import { useState } from "react";
import { api, data } from "@/api/client";
import { members, ticket as ticketQuery, tickets } from "@/api/queries";
import { visible } from "@/text/ansi";
import { Button, buttonClass, Field } from "@/ui/controls";
import { Rows, Section } from "@/ui/page";
import { Ago, Empty, Failed, Skeleton } from "@/ui/states";
import { Conversation, TicketState } from "./Conversation";

/** Requests for support of the organisation: its own for a member, all for who manages it. */
export function Tickets() {
  const found = useQuery(tickets);
  if (found.isPending) return <Skeleton rows={3} />;
  if (!found.data) return <Failed error={found.error} retry={() => void found.refetch()} />;
  return (
    <div className="space-y-8">
      <Section title="Tickets">
        {found.data.tickets.length === 0 ? <Empty title="No tickets yet">What you ask the operator of this installation stands here, with the answers.</Empty> : (
          <Rows label="Tickets">
            {found.data.tickets.map((one) => (
              <li key={one.id} className="relative flex items-center gap-3 px-4 py-3 hover:bg-sunken/60">
                <Link to="/settings/support/$ticket" params={{ ticket: one.id }} className="hostile min-w-0 flex-1 truncate font-medium after:absolute after:inset-0">{visible(one.title ?? "Erased ticket")}</Link>
                <TicketState ticket={one} />
                <span className="tabular w-20 shrink-0 text-right text-xs text-muted"><Ago time={one.opened_at} /></span>
              </li>
            ))}
          </Rows>
        )}
      </Section>
      <Open />
    </div>
  );
}

function Open() {
  const cache = useQueryClient();
  const navigate = useNavigate();
  const [title, setTitle] = useState("");
  const [text, setText] = useState("");
  const [task, setTask] = useState("");
  const open = useMutation({
    mutationFn: () => data(api.POST("/v1/org/tickets", { body: { title: title.trim(), text: text.trim(), task: task.trim() || null } })),
    onSuccess: async ({ id, position }) => {
      await cache.fetchQuery({ ...ticketQuery(id, position), staleTime: 0 });
      void cache.invalidateQueries({ queryKey: tickets.queryKey });
      void navigate({ to: "/settings/support/$ticket", params: { ticket: id } });
    },
  });
  return (
    <Section title="Open a ticket">
      <form
        className="space-y-3"
        onSubmit={(event) => {
          event.preventDefault();
          open.mutate();
        }}
      >
        <Field label="Title"><input className="field" required maxLength={200} value={title} onChange={(event) => setTitle(event.target.value)} /></Field>
        <Field label="What happened" hint="What you did, what you expected, what you saw"><textarea className="field resize-y" rows={5} required maxLength={20_000} value={text} onChange={(event) => setText(event.target.value)} /></Field>
        <Field label="Task" hint="if it is about one"><input className="field font-mono text-sm" placeholder="task_..." value={task} onChange={(event) => setTask(event.target.value)} /></Field>
        {open.error && <p role="alert" className="text-sm text-bad">{open.error.message}</p>}
        <Button type="submit" look="primary" busy={open.isPending} disabled={!title.trim() || !text.trim()}>Open the ticket</Button>
      </form>
    </Section>
  );
}

export function TicketPage() {
  const { ticket: id } = useParams({ strict: false }) as { ticket: string };
  const cache = useQueryClient();
  const found = useQuery({ ...ticketQuery(id), refetchInterval: 15_000 });
  const people = useQuery(members);
  if (found.isPending) return <Skeleton rows={3} />;
  if (!found.data) {
    return <Empty title="There is no such ticket" action={<Link to="/settings/support" className={buttonClass()}>All tickets</Link>}>{found.error?.message}</Empty>;
  }
  const nameOf = (user: string | null) => {
    if (user === null) return "The operator";
    const person = people.data?.members.find((one) => one.user === user);
    return person?.name ?? person?.email ?? user;
  };
  const renew = async (position: number) => {
    await cache.fetchQuery({ ...ticketQuery(id, position), staleTime: 0 });
    await cache.invalidateQueries({ queryKey: tickets.queryKey, exact: true });
  };
  const path = { ticket: id };
  return (
    <Conversation
      ticket={found.data}
      back="/settings/support"
      facts={<span>opened by <span className="hostile">{visible(nameOf(found.data.opened_by))}</span></span>}
      nameOf={nameOf}
      answer={async (text) => renew((await data(api.POST("/v1/org/tickets/{ticket}/messages", { params: { path }, body: { text } }))).position)}
      close={async () => renew((await data(api.POST("/v1/org/tickets/{ticket}/close", { params: { path } }))).position)}
    />
  );
}
