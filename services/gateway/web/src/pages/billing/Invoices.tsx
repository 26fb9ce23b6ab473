import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { Download } from "lucide-react";
import type { Invoice } from "@/api/client";
import { withOrg } from "@/api/org";
import { invoices } from "@/api/queries";
import { minor } from "@/text/format";
import { buttonClass } from "@/ui/controls";
import { Rows } from "@/ui/page";
import { Empty, Failed, Skeleton } from "@/ui/states";

const STATES: Record<string, [name: string, tone: string]> = {
  open: ["Open", "border-busy/40 text-busy"], paid: ["Paid", "border-ok/40 text-ok"],
  past_due: ["Past due", "border-bad/40 text-bad"], corrected: ["Corrected", "border-line text-muted"],
};

export function InvoiceState({ state }: { state: string }) {
  const [name, tone] = STATES[state] ?? [state.replaceAll("_", " "), "border-line text-muted"];
  return <span className={`rounded-full border px-2 text-xs leading-5 ${tone}`}>{name}</span>;
}

export const day = (time: string): string => new Date(time).toLocaleDateString("en-US", { dateStyle: "medium", timeZone: "UTC" });

export const pdfOf = ({ id }: Pick<Invoice, "id">): string => withOrg(`/v1/invoices/${encodeURIComponent(id)}/pdf`);

export function Invoices() {
  const found = useQuery(invoices);
  if (found.isPending) return <Skeleton rows={3} />;
  if (!found.data) return <Failed error={found.error} retry={() => void found.refetch()} />;
  if (found.data.invoices.length === 0) return <Empty title="No invoices yet">One is issued after each month.</Empty>;
  return (
    <Rows label="Invoices">
      {[...found.data.invoices].reverse().map((invoice) => (
        <li key={invoice.id} className="relative flex items-center gap-4 px-4 py-3 hover:bg-sunken/60">
          <div className="min-w-0 flex-1">
            <p className="flex flex-wrap items-center gap-x-3 gap-y-1">
              <Link to="/usage/invoices/$invoice" params={{ invoice: invoice.number }} className="font-medium after:absolute after:inset-0">{invoice.number}</Link>
              <InvoiceState state={invoice.state} />
            </p>
            <p className="truncate text-xs text-muted">
              {invoice.period}, issued {day(invoice.issued_at)}, {invoice.paid_at ? `paid ${day(invoice.paid_at)}` : `due ${day(invoice.due_at)}`}
            </p>
          </div>
          <span className="tabular font-medium">{minor(invoice.total, invoice.currency)}</span>
          <a href={pdfOf(invoice)} target="_blank" rel="noreferrer" aria-label={`PDF of ${invoice.number}`} className={`${buttonClass()} relative z-10`}>
            <Download className="size-3.5" aria-hidden /> PDF
          </a>
        </li>
      ))}
    </Rows>
  );
}
