import { useMutation } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { ChevronLeft } from "lucide-react";
import { type ReactNode, useState } from "react";
import type { Ticket, TicketMessage } from "@/api/client";
import { visible } from "@/text/ansi";
import { Button, Field } from "@/ui/controls";
import { Confirm } from "@/ui/dialog";
import { Ago } from "@/ui/states";

type Whole = Ticket & { messages: TicketMessage[] };

/** Whether a ticket waits for the operator, for the customer, or is closed. */
export function TicketState({ ticket }: { ticket: Ticket }) {
  const [tone, text] = ticket.closed_at ? ["border-line text-muted", "closed"] : ticket.answered ? ["border-ok/40 text-ok", "answered"] : ["border-warn/40 text-warn", "waits for an answer"];
  return <span className={`whitespace-nowrap rounded-full border px-2 text-xs leading-5 ${tone}`}>{text}</span>;
}

/** The messages of a ticket, in their order, with what can be done about it. `nameOf` says who wrote a message. */
export function Conversation({ ticket, back, facts, nameOf, answer, close }: {
  ticket: Whole;
  back: "/settings/support" | "/installation/support";
  facts: ReactNode;
  nameOf: (user: string | null) => string;
  answer: (text: string) => Promise<unknown>;
  close: () => Promise<unknown>;
}) {
  const [text, setText] = useState("");
  const [asking, ask] = useState(false);
  const answering = useMutation({ mutationFn: answer, onSuccess: () => setText("") });
  const closing = useMutation({ mutationFn: close, onSuccess: () => ask(false) });
  return (
    <div className="space-y-5">
      <header className="flex items-start gap-2">
        <Link to={back} aria-label="All tickets" className="-ml-2 grid size-8 shrink-0 place-items-center rounded-lg text-muted hover:bg-sunken hover:text-text"><ChevronLeft className="size-5" aria-hidden /></Link>
        <div className="min-w-0 flex-1">
          <h2 className="hostile pt-0.5 font-semibold leading-snug">{visible(ticket.title ?? "Erased ticket")}</h2>
          <p className="mt-1 flex flex-wrap items-center gap-x-3 gap-y-1 text-sm text-muted">
            <TicketState ticket={ticket} />
            {ticket.support === "priority" && <span>priority</span>}
            {facts}
            {ticket.task && <Link to="/tasks/$task" params={{ task: ticket.task }} className="underline underline-offset-4">its task</Link>}
          </p>
        </div>
        {!ticket.closed_at && <Button onClick={() => ask(true)}>Close</Button>}
      </header>
      <ol aria-label="Messages" className="space-y-3">
        {ticket.messages.map((message) => (
          <li key={message.id} className={`rounded-xl border border-line px-4 py-3 ${message.by === null ? "bg-sunken" : "bg-surface"}`}>
            <p className="mb-1 flex items-baseline justify-between gap-3 text-xs text-muted"><span className="hostile min-w-0 truncate font-medium text-text">{visible(nameOf(message.by))}</span><Ago time={message.at} /></p>
            <p className="hostile whitespace-pre-wrap text-sm">{visible(message.text ?? "This message has been erased.")}</p>
          </li>
        ))}
      </ol>
      {ticket.closed_at ? <p className="text-sm text-muted">The ticket is closed: it takes no more messages.</p> : (
        <form
          className="space-y-3"
          onSubmit={(event) => {
            event.preventDefault();
            answering.mutate(text.trim());
          }}
        >
          <Field label="Answer" error={answering.error?.message}>
            <textarea className="field resize-y" rows={4} required maxLength={20_000} value={text} onChange={(event) => setText(event.target.value)} />
          </Field>
          <Button type="submit" look="primary" busy={answering.isPending} disabled={!text.trim()}>Send the answer</Button>
        </form>
      )}
      <Confirm open={asking} title="Close this ticket?" detail="It stays readable, and takes no more messages." yes="Close the ticket" busy={closing.isPending} error={closing.error?.message} onYes={() => closing.mutate()} onClose={() => ask(false)} />
    </div>
  );
}
