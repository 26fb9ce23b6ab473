import { useMutation, useQueryClient } from "@tanstack/react-query";
import { GitPullRequest, Package } from "lucide-react";
import { api, data } from "@/api/client";
import { withOrg } from "@/api/org";
import { visible } from "@/text/ansi";
import { Button, buttonClass, Command } from "@/ui/controls";
import { toast } from "@/ui/toast";
import { useOpened } from "./Task";

/** What can be done with the result: applied here, or opened as a pull request there, and what became of that. */
export function Result() {
  const { task } = useOpened();
  const cache = useQueryClient();
  const ask = useMutation({
    mutationFn: () => data(api.POST("/v1/tasks/{task}/pull-request", { params: { path: { task: task.id } } })),
    onSuccess: () => cache.invalidateQueries({ queryKey: ["task", task.id] }),
    onError: (error) => toast(error.message, true),
  });
  const { pull_request: pr } = task;
  const may = task.state === "succeeded" && Boolean(task.repo?.url) && Boolean(task.result?.commit);
  const url = pr?.url && /^https:\/\//.test(pr.url) ? pr.url : null;
  if (!task.result?.bundle && !task.result?.artifacts && !pr && !may) return null;
  return (
    <div className="flex flex-wrap items-center gap-x-4 gap-y-2 border-b border-line px-4 py-2.5 text-sm">
      {task.result?.bundle && <div className="min-w-64 max-w-xl flex-1 text-xs"><Command>{`rclaude apply ${task.id}`}</Command></div>}
      {task.result?.artifacts && (
        <a href={withOrg(`/v1/tasks/${task.id}/artifacts`)} download className={buttonClass()}><Package className="size-4" aria-hidden /> Artifacts</a>
      )}
      {pr?.state === "opened" && (
        <span className="flex items-center gap-1.5 text-ok">
          <GitPullRequest className="size-4" aria-hidden />
          {url ? <a href={url} target="_blank" rel="noreferrer noopener" className="font-medium underline underline-offset-2">Pull request {pr.number && `#${pr.number}`}</a> : "Pull request opened"}
        </span>
      )}
      {pr?.state === "requested" && <span className="flex items-center gap-1.5 text-busy"><GitPullRequest className="size-4" aria-hidden /> The pull request is being opened.</span>}
      {pr?.state === "failed" && <span className="hostile text-bad">No pull request: {visible(pr.detail ?? pr.reason ?? "it was refused")}</span>}
      {may && pr?.state !== "opened" && pr?.state !== "requested" && (
        <Button busy={ask.isPending} onClick={() => ask.mutate()}><GitPullRequest className="size-4" aria-hidden /> {pr ? "Try again" : "Open a pull request"}</Button>
      )}
    </div>
  );
}
