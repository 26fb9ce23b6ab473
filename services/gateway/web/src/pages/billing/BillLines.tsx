import { Link } from "@tanstack/react-router";
import { ChevronRight } from "lucide-react";
import { type ReactNode, useState } from "react";
import type { BillEvent, BillLine } from "@/api/client";
import { count, exactMoney, METERS, quantity } from "@/text/format";

/** The lines of a bill; each opens to what it is the sum of. */
export function BillLines({ lines, events, more }: { lines: BillLine[]; events?: BillEvent[]; more?: (line: BillLine) => ReactNode }) {
  const [opened, open] = useState<string | null>(null);
  return (
    <div className="overflow-hidden rounded-xl border border-line bg-surface">
      {lines.map((line, at) => {
        const id = String(at);
        const isOpen = opened === id;
        return (
          <div key={id} className="border-b border-line last:border-0">
            <button
              type="button"
              aria-expanded={isOpen}
              onClick={() => open(isOpen ? null : id)}
              className="flex w-full items-center gap-3 px-4 py-3 text-left hover:bg-sunken"
            >
              <ChevronRight className={`size-4 shrink-0 text-muted transition-transform ${isOpen ? "rotate-90" : ""}`} aria-hidden />
              <span className="min-w-0 flex-1">
                <span className="hostile block font-medium">{nameOf(line)}</span>
                <span className="tabular block text-sm text-muted">
                  {quantity(line.meter, line.quantity)}
                  {line.included > 0 && `, ${count(line.included)} included`}
                </span>
              </span>
              <span className="tabular shrink-0 text-right font-medium">{exactMoney(line.amount_nano_usd)}</span>
            </button>
            {isOpen && (
              <div className="space-y-3 border-t border-line bg-sunken px-4 py-3 text-sm">
                <p className="hostile tabular">
                  {count(line.quantity - line.included)} {line.unit}
                  {line.unit_price !== null && ` × ${line.unit_price} nano-dollars`} = <b className="font-semibold">{exactMoney(line.amount_nano_usd)}</b>
                  <span className="text-muted">, price book {line.price_book}</span>
                </p>
                {events && <EventTable events={events.filter((event) => stands(event, line))} />}
                {more?.(line)}
              </div>
            )}
          </div>
        );
      })}
    </div>
  );
}

const nameOf = ({ meter, model, token }: BillLine): string =>
  [METERS[meter] ?? meter.replaceAll("_", " "), model, token?.replaceAll("_", " ")].filter(Boolean).join(" · ");

const stands = (event: BillEvent, line: BillLine): boolean =>
  event.meter === line.meter && (line.model ?? event.model) === event.model && (line.token ?? event.token) === event.token && event.segment === line.segment;

/** Events of the log, each with what it adds. */
export function EventTable({ events, tasks = false }: { events: BillEvent[]; tasks?: boolean }) {
  return (
    <div className="overflow-x-auto" tabIndex={0} role="region" aria-label="Events">
      <table className="tabular w-full text-left text-xs">
        <thead className="text-muted">
          <tr>
            <th className="py-1 pr-4 font-medium">Position</th>
            {tasks && <th className="py-1 pr-4 font-medium">Task</th>}
            <th className="py-1 pr-4 font-medium">Attempt</th>
            <th className="py-1 pr-4 font-medium">Event</th>
            <th className="py-1 text-right font-medium">Quantity</th>
          </tr>
        </thead>
        <tbody>
          {events.map((event) => (
            <tr key={`${event.position}-${event.meter}-${event.model}-${event.token}`} className="border-t border-line">
              <td className="py-1.5 pr-4">#{event.position}</td>
              {tasks && (
                <td className="py-1.5 pr-4">
                  <Link to="/tasks/$task/cost" params={{ task: event.task }} className="font-mono underline decoration-line underline-offset-2 hover:decoration-current">…{event.task.slice(-8)}</Link>
                </td>
              )}
              <td className="py-1.5 pr-4">{event.attempt ?? "–"}</td>
              <td className="py-1.5 pr-4 font-mono">{event.event_id}</td>
              <td className="whitespace-nowrap py-1.5 text-right">{count(event.quantity)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
