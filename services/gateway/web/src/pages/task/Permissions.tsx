import { useMutation, useQueryClient } from "@tanstack/react-query";
import { ShieldQuestionMark } from "lucide-react";
import { useState } from "react";
import { api, data, type PermissionDecision, type PermissionRequest } from "@/api/client";
import { LISTS } from "@/api/queries";
import { visible } from "@/text/ansi";
import { Button, Field } from "@/ui/controls";
import { useOpened } from "./Task";

/** What the agent asks a permission for, until somebody has answered: on each page of the task. */
export function Permissions() {
  const { task, live } = useOpened();
  // The stream reports an answer before the task has been read again.
  const asked = task.permissions.filter(({ request }) => live.permissions?.includes(request) ?? true);
  return (
    <div role="region" aria-label="Permission requests" aria-live="polite" className={asked.length > 0 ? "max-h-[55%] shrink-0 overflow-y-auto border-b border-warn/50 bg-warn/8" : "hidden"} tabIndex={asked.length > 0 ? 0 : undefined}>
      {asked.map((one) => <Request key={one.request} task={task.id} asked={one} />)}
    </div>
  );
}

function Request({ task, asked }: { task: string; asked: PermissionRequest }) {
  const cache = useQueryClient();
  const [denying, deny] = useState(false);
  const [reason, setReason] = useState("");
  const answer = useMutation({
    mutationFn: (decision: PermissionDecision) =>
      data(api.POST("/v1/tasks/{task}/permissions/{request}", {
        params: { path: { task, request: asked.request } },
        body: { decision, ...(decision === "deny" && reason.trim() && { message: reason.trim() }) },
      })),
    onSettled: () => {
      void cache.invalidateQueries({ queryKey: ["task", task] });
      void cache.invalidateQueries({ queryKey: LISTS });
    },
  });
  const sent = answer.isPending || answer.isSuccess;
  return (
    <form
      aria-label={`Permission request ${asked.request}`}
      className="space-y-2.5 border-line px-4 py-3 not-first:border-t md:pl-[3.75rem] md:pr-6"
      onSubmit={(event) => {
        event.preventDefault();
        if (!sent) answer.mutate("deny");
      }}
    >
      <p className="flex items-start gap-2">
        <ShieldQuestionMark className="mt-0.5 size-5 shrink-0 text-warn" aria-hidden />
        <span>The agent waits for your answer: may it use <strong className="hostile font-semibold">{visible(asked.tool)}</strong>?</span>
      </p>
      {asked.input === null ? (
        <p className="text-sm text-muted">What it wants to do with it has been erased.</p>
      ) : (
        <dl className="max-w-5xl space-y-1.5">
          {Object.entries(asked.input).map(([name, value]) => (
            <div key={name}>
              <dt className="text-xs text-muted">{visible(name)}</dt>
              <dd className="terminal max-h-40 overflow-y-auto rounded-lg border border-line bg-surface px-3 py-1.5" tabIndex={0}>{visible(typeof value === "string" ? value : JSON.stringify(value, null, 2))}</dd>
            </div>
          ))}
        </dl>
      )}
      {denying && (
        <Field label="Why not?" hint="optional: the agent is told" className="max-w-2xl">
          <input autoFocus className="field" maxLength={10_000} value={reason} onChange={(event) => setReason(event.target.value)} />
        </Field>
      )}
      <div className="flex flex-wrap gap-2">
        {denying ? (
          <>
            <Button type="submit" look="danger" busy={answer.isPending} disabled={sent}>Deny it</Button>
            <Button look="bare" disabled={sent} onClick={() => deny(false)}>Back</Button>
          </>
        ) : (
          <>
            <Button look="primary" busy={answer.isPending && answer.variables === "allow"} disabled={sent} onClick={() => answer.mutate("allow")}>Allow once</Button>
            <Button busy={answer.isPending && answer.variables === "allow_always"} disabled={sent} onClick={() => answer.mutate("allow_always")} title="Permits the like for the rest of the conversation">Always</Button>
            <Button look="danger" disabled={sent} onClick={() => deny(true)}>Deny</Button>
          </>
        )}
      </div>
      {answer.error && <p role="alert" className="text-sm text-bad">{answer.error.message}</p>}
    </form>
  );
}
