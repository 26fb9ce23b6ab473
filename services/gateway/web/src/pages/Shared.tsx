import { useQuery } from "@tanstack/react-query";
import { useParams } from "@tanstack/react-router";
import { useMemo, useState, useSyncExternalStore } from "react";
import { Problem } from "@/api/client";
import { type SharedTask, SharedSource, sharedPatch, sharedTask } from "@/live/shared";
import { Transcript } from "@/live/transcript";
import { Output } from "@/pages/task/Activity";
import { Files } from "@/pages/task/Changes";
import { visible } from "@/text/ansi";
import { parseDiff } from "@/text/diff";
import { Ago, Empty, Failed, isActive, Skeleton, StateMark, Took } from "@/ui/states";

/** One task, opened by its link. Nothing can be changed here, and nobody is signed in. */
export function SharedPage() {
  const { share } = useParams({ strict: false }) as { share: string };
  const found = useQuery(sharedTask(share));
  if (found.isPending) return <Skeleton rows={4} />;
  if (!found.data) {
    if (found.error instanceof Problem && found.error.status === 404) {
      return <main><Empty title="This link opens no task">It is not complete, it has expired, or it was revoked. Ask for another one.</Empty></main>;
    }
    return <Failed error={found.error} retry={() => void found.refetch()} />;
  }
  return <Read share={share} task={found.data} />;
}

function Read({ share, task }: { share: string; task: SharedTask }) {
  const transcript = useMemo(() => new Transcript(task.id, new SharedSource(share)), [share, task.id]);
  const live = useSyncExternalStore(transcript.subscribe, transcript.read);
  const [tab, show] = useState<"Activity" | "Changes">("Activity");
  return (
    <div className="flex h-full flex-col">
      <header className="border-b border-line px-4 pt-3 md:px-6">
        <h1 className="hostile line-clamp-2 text-base font-semibold leading-snug tracking-tight md:text-lg">{visible(task.title ?? "Erased task")}</h1>
        <div className="mt-1 flex flex-wrap items-center gap-x-4 gap-y-1 text-sm text-muted">
          <span role="status" aria-label="State"><StateMark state={task.state} named /></span>
          <span>{task.agent}</span>
          <Took from={task.started_at} until={task.finished_at} />
          <Ago time={task.submitted_at} />
          <span>Shared for reading until {new Date(task.expires_at).toLocaleDateString()}</span>
        </div>
        <div role="tablist" aria-label="Task" className="-mb-px mt-2 flex gap-1">
          {(["Activity", "Changes"] as const).map((name) => (
            <button
              key={name}
              type="button"
              role="tab"
              aria-selected={tab === name}
              onClick={() => show(name)}
              className={`min-h-9 border-b-2 px-3 py-1.5 text-sm ${tab === name ? "border-accent font-medium" : "border-transparent text-muted hover:text-text"}`}
            >
              {name}
            </button>
          ))}
        </div>
      </header>
      <main className="min-h-0 flex-1">{tab === "Activity" ? <Output task={{ ...task, waiting: null }} live={live} /> : <Patch share={share} task={task} />}</main>
    </div>
  );
}

function Patch({ share, task }: { share: string; task: SharedTask }) {
  const found = useQuery({ ...sharedPatch(share), enabled: task.has_patch });
  const files = useMemo(() => (found.data ? parseDiff(found.data) : []), [found.data]);
  if (!task.has_patch) return <Empty title={isActive(task.state) ? "Not yet" : "Nothing was changed"}>What the agent has changed is here once it has ended.</Empty>;
  if (found.isPending) return <Skeleton />;
  if (found.error) return <Failed error={found.error} retry={() => void found.refetch()} />;
  return <Files files={files} readOnly />;
}
