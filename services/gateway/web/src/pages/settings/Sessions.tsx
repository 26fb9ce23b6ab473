import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { api, data } from "@/api/client";
import { sessions } from "@/api/queries";
import { visible } from "@/text/ansi";
import { Button } from "@/ui/controls";
import { Ago, Empty, Failed, Skeleton } from "@/ui/states";
import { toast } from "@/ui/toast";

/** The name of a browser and its system, as far as its word for itself says. */
function programOf(agent: string): string {
  const browser = /(Firefox|Edg|OPR|Chrome|Safari|rclaude)\/?([\d.]*)/.exec(agent.replace(/Chrome.*(Edg|OPR)/, "$1"));
  const system = /(Windows|Mac OS X|Android|iPhone|iPad|Linux)/.exec(agent);
  const name = { Edg: "Edge", OPR: "Opera" }[browser?.[1] ?? ""] ?? browser?.[1];
  return [name, system && `on ${system[1]}`].filter(Boolean).join(" ") || agent.slice(0, 80) || "Unknown program";
}

export function Sessions() {
  const cache = useQueryClient();
  const found = useQuery(sessions);
  const end = useMutation({
    mutationFn: (session: string) => data(api.DELETE("/v1/sessions/{session}", { params: { path: { session } } })),
    onSuccess: (_, ended) => {
      toast("The session is ended.");
      cache.setQueryData(sessions.queryKey, (before) => before && { ...before, sessions: before.sessions.filter(({ id }) => id !== ended) });
    },
    onError: (error) => toast(error.message, true),
  });
  if (found.isPending) return <Skeleton rows={2} />;
  if (!found.data) return <Failed error={found.error} retry={() => void found.refetch()} />;
  if (found.data.sessions.length === 0) return <Empty title="No open sessions" />;
  return (
    <>
      <p className="mb-4 text-sm text-muted">Where you are signed in. A session that is ended is refused at once, everywhere.</p>
      <ul className="divide-y divide-line overflow-hidden rounded-xl border border-line bg-surface">
        {found.data.sessions.map((session) => (
          <li key={session.id} className="flex items-center gap-4 px-4 py-3">
            <div className="min-w-0 flex-1">
              <p className="hostile truncate font-medium">
                {visible(programOf(session.agent ?? ""))}
                {session.current && <span className="ml-2 rounded-full border border-ok/40 px-2 text-xs font-normal text-ok">this one</span>}
              </p>
              <p className="truncate text-xs text-muted">
                {session.address && <>{visible(session.address)} · </>}signed in by {session.method} <Ago time={session.opened_at} />
              </p>
            </div>
            {!session.current && (
              <Button look="danger" busy={end.isPending && end.variables === session.id} aria-label={`End the session of ${visible(programOf(session.agent ?? ""))}`} onClick={() => end.mutate(session.id)}>End</Button>
            )}
          </li>
        ))}
      </ul>
    </>
  );
}
