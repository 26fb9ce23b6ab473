import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { Link, useParams } from "@tanstack/react-router";
import { ChevronLeft, ChevronRight, Download } from "lucide-react";
import { useState } from "react";
import { api, data, Problem } from "@/api/client";
import { withOrg } from "@/api/org";
import { invoice as invoiceQuery } from "@/api/queries";
import { count, minor, quantity } from "@/text/format";
import { visible } from "@/text/ansi";
import { Button, buttonClass, Command, Copy } from "@/ui/controls";
import { Empty, Failed, Skeleton } from "@/ui/states";
import { EventTable } from "./BillLines";
import { day, InvoiceState, pdfOf } from "./Invoices";

interface Line {
  line: number;
  kind: string;
  description: string;
  amount: number;
  meter?: string;
  unit?: string;
  quantity?: string;
  included?: string;
  unit_price?: string | null;
  price_book?: string;
}
interface Document {
  minor_digits: number;
  seller: { legal_name: string; address: string[]; tax_id: string | null };
  period: { starts_at: string; ends_at: string };
  lines: Line[];
  subtotal: number;
  tax: number;
}

export function InvoicePage() {
  const { invoice: id } = useParams({ strict: false }) as { invoice: string };
  const found = useQuery(invoiceQuery(id));
  if (found.isPending) return <Skeleton />;
  if (!found.data) {
    if (found.error instanceof Problem && found.error.status === 404) return <Empty title="There is no such invoice" action={<Link to="/usage/invoices" className={buttonClass()}>All invoices</Link>} />;
    return <Failed error={found.error} retry={() => void found.refetch()} />;
  }
  const invoice = found.data;
  const document = invoice.document as unknown as Document;
  const shown = (amount: number) => minor(amount, invoice.currency, document.minor_digits);
  return (
    <div className="space-y-6">
      <header className="flex flex-wrap items-center gap-x-3 gap-y-2">
        <Link to="/usage/invoices" aria-label="All invoices" className="-ml-2 grid size-8 place-items-center rounded-lg text-muted hover:bg-sunken hover:text-text"><ChevronLeft className="size-5" aria-hidden /></Link>
        <h2 className="text-base font-semibold">{invoice.number}</h2>
        <InvoiceState state={invoice.state} />
        <span className="ml-auto flex gap-2">
          <a href={withOrg(`/v1/invoices/${encodeURIComponent(invoice.id)}/export`)} download={`${invoice.number}.json`} className={buttonClass("bare")}>Signed export</a>
          <a href={pdfOf(invoice)} target="_blank" rel="noreferrer" className={buttonClass()}><Download className="size-3.5" aria-hidden /> PDF</a>
        </span>
      </header>
      <p className="text-sm text-muted">
        {document.seller.legal_name}, for {day(document.period.starts_at)} to {day(document.period.ends_at)}. Issued {day(invoice.issued_at)}, {invoice.paid_at ? `paid ${day(invoice.paid_at)}` : `due ${day(invoice.due_at)}`}.
      </p>
      <div className="overflow-hidden rounded-xl border border-line bg-surface">
        {document.lines.map((line) => <InvoiceLine key={line.line} line={line} invoice={invoice.id} shown={shown} />)}
        <dl className="tabular bg-sunken px-4 py-3 text-sm">
          {document.tax !== 0 && <Sum name="Net" value={shown(document.subtotal)} />}
          {document.tax !== 0 && <Sum name="Tax" value={shown(document.tax)} />}
          <Sum name="Total" value={shown(invoice.total)} strong />
        </dl>
      </div>
      <details className="text-sm text-muted">
        <summary>Check it without this server</summary>
        <div className="mt-3 space-y-2">
          <p>The export holds the prices and every event of the invoice, signed. The command adds it up again.</p>
          <Command>{`rclaude billing verify ${invoice.number}.json`}</Command>
          <p className="flex flex-wrap items-center gap-2">SHA-256 of the PDF <code className="hostile">{invoice.pdf_sha256}</code><Copy text={invoice.pdf_sha256} label="Copy the SHA-256 of the PDF" /></p>
        </div>
      </details>
    </div>
  );
}

function Sum({ name, value, strong = false }: { name: string; value: string; strong?: boolean }) {
  return <div className={`flex justify-between gap-4 ${strong ? "text-base font-semibold" : ""}`}><dt>{name}</dt><dd>{value}</dd></div>;
}

function InvoiceLine({ line, invoice, shown }: { line: Line; invoice: string; shown: (amount: number) => string }) {
  const [isOpen, open] = useState(false);
  return (
    <div className="border-b border-line">
      <button type="button" aria-expanded={isOpen} onClick={() => open(!isOpen)} className="flex w-full items-center gap-3 px-4 py-3 text-left hover:bg-sunken">
        <ChevronRight className={`size-4 shrink-0 text-muted transition-transform ${isOpen ? "rotate-90" : ""}`} aria-hidden />
        <span className="min-w-0 flex-1">
          <span className="hostile block font-medium">{visible(line.description)}</span>
          {line.meter && line.quantity && <span className="tabular block text-sm text-muted">{quantity(line.meter, line.quantity)}{Number(line.included) > 0 && `, ${count(line.included ?? 0)} included`}</span>}
        </span>
        <span className="tabular shrink-0 font-medium">{shown(line.amount)}</span>
      </button>
      {isOpen && <div className="border-t border-line bg-sunken px-4 py-3"><Explained line={line} invoice={invoice} /></div>}
    </div>
  );
}

/** From a line to the events that it is the sum of, each with its place in the chain of the log. */
function Explained({ line, invoice }: { line: Line; invoice: string }) {
  const found = useInfiniteQuery({
    queryKey: ["invoices", invoice, "lines", line.line],
    initialPageParam: 0,
    queryFn: ({ pageParam, signal }) =>
      data(api.GET("/v1/invoices/{invoice}/lines/{line}", { params: { path: { invoice, line: line.line }, query: { after: pageParam, limit: 50 } }, signal })),
    getNextPageParam: (page) => page.next ?? undefined,
  });
  if (found.isPending) return <Skeleton rows={2} height={18} />;
  if (!found.data) return <Failed error={found.error} retry={() => void found.refetch()} />;
  const events = found.data.pages.flatMap((page) => page.events);
  const chained = found.data.pages.reduce((sum, page) => sum + page.chain.length, 0);
  return (
    <div className="space-y-3 text-sm">
      {line.unit_price != null && (
        <p className="tabular">{count(Number(line.quantity) - Number(line.included))} {line.unit} × {line.unit_price} nano-dollars<span className="text-muted">, price book {line.price_book}</span></p>
      )}
      {events.length === 0 ? <p className="text-muted">{line.kind === "usage" ? "The plan's price: no event of use stands behind this line." : "This line comes from the account, not from use."}</p> : (
        <>
          <EventTable events={events} tasks />
          <p className="text-xs text-muted">{count(events.length)} {events.length === 1 ? "event" : "events"}{found.hasNextPage ? " so far" : ""}, {count(chained)} of them in the archived hash chain.</p>
        </>
      )}
      {found.hasNextPage && <Button busy={found.isFetchingNextPage} onClick={() => void found.fetchNextPage()}>More events</Button>}
    </div>
  );
}
