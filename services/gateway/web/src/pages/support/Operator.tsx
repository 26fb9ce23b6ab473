import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useParams } from "@tanstack/react-router";
import { useState } from "react";
import { api, data } from "@/api/client";
import { anyTicket, everyOrg, everyTicket } from "@/api/queries";
import { visible } from "@/text/ansi";
import { buttonClass } from "@/ui/controls";
import { Rows, Section } from "@/ui/page";
import { Ago, Empty, Failed, Skeleton } from "@/ui/states";
import { Conversation, TicketState } from "./Conversation";

function useOrgName(): (org: string) => string {
  const found = useQuery({ ...everyOrg, staleTime: 60_000 });
  return (org) => visible(found.data?.find(({ id }) => id === org)?.name ?? org);
}

/** Tickets of every organisation, for the operator: open ones in the order in which to answer them. */
export function EveryTicket() {
  const [closed, setClosed] = useState(false);
  const found = useQuery({ ...everyTicket(closed), refetchInterval: 15_000 });
  const nameOf = useOrgName();
  const shown = [[false, "Open"], [true, "Closed"]] as const;
  return (
    <Section
      title="Tickets"
      aside={
        <div role="group" aria-label="Show" className="flex gap-1">
          {shown.map(([value, name]) => (
            <button key={name} type="button" aria-pressed={value === closed} onClick={() => setClosed(value)} className={`min-h-8 rounded-full border px-3 text-sm ${value === closed ? "border-line bg-surface font-medium" : "border-transparent text-muted hover:text-text"}`}>{name}</button>
          ))}
        </div>
      }
    >
      {found.isPending ? <Skeleton rows={3} /> : !found.data ? <Failed error={found.error} retry={() => void found.refetch()} /> : found.data.tickets.length === 0 ? (
        <Empty title={closed ? "No closed tickets" : "No open tickets"}>Which plans have tickets is in the file of plans.</Empty>
      ) : (
        <Rows label="Tickets">
          {found.data.tickets.map((one) => (
            <li key={one.id} className="relative flex flex-wrap items-center gap-x-3 px-4 py-3 hover:bg-sunken/60 sm:flex-nowrap">
              <Link to="/installation/support/$ticket" params={{ ticket: one.id }} className="hostile min-w-0 basis-full truncate font-medium after:absolute after:inset-0 sm:flex-1 sm:basis-auto">{visible(one.title ?? "Erased ticket")}</Link>
              <span className="hostile max-w-48 truncate text-xs text-muted">{nameOf(one.org)}</span>
              {one.support === "priority" && <span className="text-xs font-medium text-accent">priority</span>}
              <TicketState ticket={one} />
              <span className="tabular ml-auto w-20 shrink-0 text-right text-xs text-muted"><Ago time={one.opened_at} /></span>
            </li>
          ))}
        </Rows>
      )}
    </Section>
  );
}

export function AnyTicketPage() {
  const { ticket: id } = useParams({ strict: false }) as { ticket: string };
  const cache = useQueryClient();
  const found = useQuery({ ...anyTicket(id), refetchInterval: 15_000 });
  const orgName = useOrgName();
  if (found.isPending) return <Skeleton rows={3} />;
  if (!found.data) {
    return <Empty title="There is no such ticket" action={<Link to="/installation/support" className={buttonClass()}>All tickets</Link>}>{found.error?.message}</Empty>;
  }
  const renew = async (position: number) => {
    await cache.fetchQuery({ ...anyTicket(id, position), staleTime: 0 });
    await cache.invalidateQueries({ queryKey: ["installation", "tickets"], predicate: ({ queryKey }) => queryKey[2] !== "one" });
  };
  const { org, bundle } = found.data;
  const path = { ticket: id };
  return (
    <Conversation
      // A task of another organisation does not open from here.
      ticket={{ ...found.data, task: null }}
      back="/installation/support"
      facts={
        <>
          <span className="hostile">{orgName(org)}</span>
          {found.data.task && <code className="hostile text-xs">{visible(found.data.task)}</code>}
          {bundle && <a href={`/v1/support/tickets/${encodeURIComponent(id)}/bundle`} download={`${id}.tar.gz`} className="underline underline-offset-4">Diagnostics</a>}
        </>
      }
      nameOf={(user) => user ?? "You, the operator"}
      answer={async (text) => renew((await data(api.POST("/v1/support/tickets/{ticket}/messages", { params: { path }, body: { text } }))).position)}
      close={async () => renew((await data(api.POST("/v1/support/tickets/{ticket}/close", { params: { path } }))).position)}
    />
  );
}
