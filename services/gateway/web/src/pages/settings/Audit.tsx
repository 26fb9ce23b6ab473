import { useInfiniteQuery } from "@tanstack/react-query";
import { api, type AuditEntry, data } from "@/api/client";
import { visible } from "@/text/ansi";
import { count, moment, words } from "@/text/format";
import { Button } from "@/ui/controls";
import { Rows } from "@/ui/page";
import { Ago, Empty, Failed, Skeleton } from "@/ui/states";

/** Who did what in the organisation, the latest first, each with its event of the log. */
export function Audit() {
  const found = useInfiniteQuery({
    queryKey: ["audit"],
    initialPageParam: undefined as number | undefined,
    queryFn: ({ pageParam, signal }) => data(api.GET("/v1/org/audit", { params: { query: { limit: 50, before: pageParam } }, signal })),
    getNextPageParam: (page) => page.next ?? undefined,
  });
  if (found.isPending) return <Skeleton />;
  if (!found.data) return <Failed error={found.error} retry={() => void found.refetch()} />;
  const entries = found.data.pages.flatMap((page) => page.entries);
  if (entries.length === 0) return <Empty title="Nothing has been done yet" />;
  return (
    <div className="space-y-4">
      <p className="text-sm text-muted">Every entry is an event of the log, with its position there.</p>
      <Rows label="Audit">{entries.map((entry) => <Entry key={entry.position} entry={entry} />)}</Rows>
      {found.hasNextPage && <Button busy={found.isFetchingNextPage} onClick={() => void found.fetchNextPage()}>Earlier entries</Button>}
    </div>
  );
}

function Entry({ entry }: { entry: AuditEntry }) {
  const details = Object.entries(entry.details).filter(([, value]) => value !== null);
  return (
    <li className="px-4 py-2.5">
      <div className="flex flex-wrap items-baseline gap-x-3">
        <span className="font-medium">{words(entry.action)}</span>
        <span className="hostile min-w-0 truncate text-sm text-muted">{entry.name ? visible(entry.name) : (entry.user ?? entry.actor ?? "the server")}</span>
        <span className="ml-auto text-xs text-muted" title={moment(entry.at)}><Ago time={entry.at} /></span>
      </div>
      <details className="text-xs text-muted">
        <summary className="hostile truncate">{[entry.address, entry.actor].filter(Boolean).map((text) => visible(text ?? "")).join(" · ") || "details"}</summary>
        <dl className="mt-1 grid grid-cols-[auto_1fr] gap-x-4 gap-y-0.5 rounded-lg bg-sunken p-3">
          {[["position", `#${count(entry.position)}`], ["person", entry.user], ["credential", entry.actor], ["address", entry.address], ["program", entry.agent], ...details]
            .filter(([, value]) => value !== null)
            .map(([name, value]) => (
              <div key={String(name)} className="contents">
                <dt>{String(name).replaceAll("_", " ")}</dt>
                <dd className="hostile font-mono">{visible(typeof value === "string" ? value : JSON.stringify(value))}</dd>
              </div>
            ))}
        </dl>
      </details>
    </li>
  );
}
