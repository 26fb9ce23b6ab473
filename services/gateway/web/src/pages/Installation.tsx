import { useQuery } from "@tanstack/react-query";
import { api, data, Problem } from "@/api/client";
import { count } from "@/text/format";
import { Empty, Failed, Skeleton } from "@/ui/states";

interface View {
  position: number;
  lag: number;
  state: string;
}
interface Service {
  state: string;
  reason: string | null;
  views: Record<string, View>;
  [more: string]: unknown;
}
interface Status {
  version: string;
  position: number;
  log: { state: string; reason: string | null };
  archive: { position: number; lag: number; state: string; reason: string | null } | null;
  services: Record<string, Service>;
}

/** What runs this installation, for whoever runs it. */
export function Installation() {
  const found = useQuery({
    queryKey: ["status"],
    queryFn: ({ signal }) => data(api.GET("/v1/status", { signal })) as unknown as Promise<Status>,
    refetchInterval: 3_000,
  });
  if (found.isPending) return <Skeleton />;
  if (!found.data) {
    if (found.error instanceof Problem && found.error.status === 403) return <Empty title="For operators">This page is for whoever runs the installation.</Empty>;
    return <Failed error={found.error} retry={() => void found.refetch()} />;
  }
  const { version, position, log, archive, services } = found.data;
  return (
    <div className="h-full overflow-y-auto">
      <div className="mx-auto max-w-4xl px-4 py-6 md:px-6 md:py-8">
        <h1 className="text-lg font-semibold tracking-tight">Installation</h1>
        <dl className="mt-6 grid gap-px overflow-hidden rounded-xl border border-line bg-line sm:grid-cols-4">
          <Fact name="Version" value={version} />
          <Fact name="Log position" value={count(position)} />
          <Fact name="Log" value={log.reason ?? log.state} bad={log.reason !== null} />
          <Fact name="Archive" value={archive ? (archive.reason ?? `${archive.state}, ${count(archive.lag)} behind`) : "off"} bad={Boolean(archive?.reason)} />
        </dl>
        <h2 className="mb-3 mt-8 font-semibold">Services</h2>
        <div className="overflow-hidden rounded-xl border border-line bg-surface">
          {Object.entries(services).map(([name, service]) => {
            const { state, reason, views, ...more } = service;
            return (
              <div key={name} className="border-b border-line px-4 py-3 last:border-0">
                <div className="flex flex-wrap items-center gap-x-3">
                  <span className={`size-2 rounded-full ${state === "ready" ? "bg-ok" : "bg-bad"}`} aria-hidden />
                  <h3 className="font-medium">{name}</h3>
                  <span className={`text-sm ${reason ? "text-bad" : "text-muted"}`}>{reason ?? state}</span>
                </div>
                {Object.keys(views).length > 0 && (
                  <ul className="mt-1.5 space-y-0.5 pl-5 text-sm text-muted">
                    {Object.entries(views).map(([view, { lag, state }]) => (
                      <li key={view} className="tabular flex justify-between gap-4"><code>{view}</code><span>{state}, {count(lag)} behind</span></li>
                    ))}
                  </ul>
                )}
                {Object.keys(more).length > 0 && (
                  <details className="mt-1 pl-5 text-sm text-muted">
                    <summary>More</summary>
                    <pre className="terminal mt-1 overflow-x-auto rounded-lg bg-sunken p-3" tabIndex={0}>{JSON.stringify(more, null, 2)}</pre>
                  </details>
                )}
              </div>
            );
          })}
        </div>
      </div>
    </div>
  );
}

function Fact({ name, value, bad = false }: { name: string; value: string; bad?: boolean }) {
  return (
    <div className="bg-surface px-4 py-3">
      <dt className="text-sm text-muted">{name}</dt>
      <dd className={`tabular font-medium ${bad ? "text-bad" : ""}`}>{value}</dd>
    </div>
  );
}
