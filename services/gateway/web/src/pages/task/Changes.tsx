import { useQuery } from "@tanstack/react-query";
import { useVirtualizer } from "@tanstack/react-virtual";
import { ChevronRight, MessageSquarePlus, Trash2 } from "lucide-react";
import { useMemo, useRef, useState } from "react";
import { patch } from "@/api/queries";
import { visible } from "@/text/ansi";
import { type DiffLine, type FileDiff, parseDiff } from "@/text/diff";
import { Button } from "@/ui/controls";
import { Empty, Failed, isActive, Skeleton } from "@/ui/states";
import { useGoOn } from "./FollowUp";
import { Result } from "./PullRequest";
import { useOpened } from "./Task";

export function Changes() {
  const { task } = useOpened();
  const hasPatch = Boolean(task.result?.patch);
  const found = useQuery({ ...patch(task.id), enabled: hasPatch });
  const files = useMemo(() => (found.data ? parseDiff(found.data) : []), [found.data]);
  if (!hasPatch) {
    if (isActive(task.state)) return <Empty title="Not yet">What the agent has changed is here once it has ended.</Empty>;
    return (
      <>
        <Result />
        <Empty title="Nothing was changed">{task.repo ? "The task left its repository as it was." : "The task had no repository."}</Empty>
      </>
    );
  }
  if (found.isPending) return <Skeleton />;
  if (found.error) return <Failed error={found.error} retry={() => void found.refetch()} />;
  if (files.length === 0) return <pre className="terminal h-full overflow-auto p-6" tabIndex={0}>{visible(found.data)}</pre>;
  return (
    <div className="flex h-full flex-col">
      <Result />
      <div className="min-h-0 flex-1"><Files files={files} /></div>
    </div>
  );
}

interface Comment {
  path: string;
  line: DiffLine;
  text: string;
}
type Item = { file: FileDiff; line: DiffLine | null; at: number };

/** A patch by file. Where nobody can go on with the task, lines take no comments. */
export function Files({ files, readOnly = false }: { files: FileDiff[]; readOnly?: boolean }) {
  const box = useRef<HTMLDivElement>(null);
  const [closed, close] = useState<ReadonlySet<number>>(new Set());
  const [comments, setComments] = useState<ReadonlyMap<DiffLine, Comment>>(new Map());
  const items = useMemo(
    () => files.flatMap((file, at): Item[] => [{ file, line: null, at }, ...(closed.has(at) ? [] : file.lines.map((line) => ({ file, line, at })))]),
    [files, closed],
  );
  const list = useVirtualizer({
    count: items.length,
    getScrollElement: () => box.current,
    estimateSize: (index) => (items[index]?.line ? 20 : 52),
    overscan: 25,
    paddingEnd: 32,
  });
  const toggle = (at: number) => close((before) => {
    const to = new Set(before);
    if (!to.delete(at)) to.add(at);
    return to;
  });
  const comment = (line: DiffLine, path: string, text: string | null) => setComments((before) => {
    const to = new Map(before);
    if (text === null) to.delete(line);
    else to.set(line, { path, line, text });
    return to;
  });
  const added = files.reduce((sum, file) => sum + file.added, 0);
  const removed = files.reduce((sum, file) => sum + file.removed, 0);
  return (
    <div className="flex h-full">
      <aside className="hidden w-64 shrink-0 overflow-y-auto border-r border-line p-3 lg:block" aria-label="Files">
        <p className="px-2 pb-2 text-xs text-muted">{files.length} {files.length === 1 ? "file" : "files"}, <span className="text-ok">+{added}</span> <span className="text-bad">−{removed}</span></p>
        <ul>
          {files.map((file, at) => (
            <li key={at}>
              <button type="button" className="hostile w-full truncate rounded-md px-2 py-1 text-left font-mono text-xs hover:bg-sunken" title={visible(file.path)} onClick={() => list.scrollToIndex(items.findIndex((item) => item.at === at), { align: "start" })}>
                {visible(file.path)}
              </button>
            </li>
          ))}
        </ul>
      </aside>
      <div className="flex min-w-0 flex-1 flex-col">
        <div ref={box} tabIndex={0} role="region" aria-label="Changes" className="min-h-0 flex-1 overflow-y-auto focus-visible:outline-offset-[-2px]">
          <div className="relative" style={{ height: list.getTotalSize() }}>
            {list.getVirtualItems().map((item) => {
              const { file, line, at } = items[item.index]!;
              return (
                <div key={item.key} data-index={item.index} ref={list.measureElement} className="absolute inset-x-0 top-0" style={{ transform: `translateY(${item.start}px)` }}>
                  {line ? (
                    <Line line={line} path={file.path} comment={comments.get(line)?.text ?? null} change={readOnly ? undefined : (text) => comment(line, file.path, text)} />
                  ) : (
                    <FileHead file={file} open={!closed.has(at)} toggle={() => toggle(at)} />
                  )}
                </div>
              );
            })}
          </div>
        </div>
        {comments.size > 0 && <Comments comments={[...comments.values()]} drop={() => setComments(new Map())} />}
      </div>
    </div>
  );
}

/** Comments are sent together, as the follow-up that the task goes on with. */
function Comments({ comments, drop }: { comments: readonly Comment[]; drop: () => void }) {
  const { task } = useOpened();
  const goOn = useGoOn(task);
  const written = comments.filter(({ text }) => text.trim());
  const prompt = ["Change this about your result:", ...written.map(({ path, line, text }) => `${path}, line ${line.after ?? line.before ?? "?"}:\n> ${line.text}\n${text.trim()}`)].join("\n\n");
  return (
    <div role="region" aria-label="Comments" className="flex flex-wrap items-center gap-3 border-t border-line bg-surface px-4 py-2.5 text-sm">
      <span className="font-medium">{written.length} {written.length === 1 ? "comment" : "comments"}</span>
      <Button look="primary" busy={goOn.isPending} disabled={written.length === 0} onClick={() => goOn.mutate(prompt)}>Send as a follow-up</Button>
      <Button look="bare" onClick={drop}>Drop them</Button>
      {goOn.error && <p role="alert" className="basis-full text-bad">{goOn.error.message}</p>}
    </div>
  );
}

function FileHead({ file, open, toggle }: { file: FileDiff; open: boolean; toggle: () => void }) {
  return (
    <div className="pt-3">
      <button type="button" aria-expanded={open} onClick={toggle} className="flex min-h-10 w-full items-center gap-2 border-y border-line bg-sunken px-4 text-left text-sm">
        <ChevronRight className={`size-4 shrink-0 text-muted transition-transform ${open ? "rotate-90" : ""}`} aria-hidden />
        <span className="hostile min-w-0 flex-1 truncate font-mono text-[13px]">{file.from && <span className="text-muted">{visible(file.from)} → </span>}{visible(file.path)}</span>
        {file.status !== "changed" && <span className="text-xs text-muted">{file.status}</span>}
        <span className="tabular shrink-0 text-xs"><span className="text-ok">+{file.added}</span> <span className="text-bad">−{file.removed}</span></span>
      </button>
    </div>
  );
}

const TONES: Record<DiffLine["kind"], string> = { add: "bg-ok/12", del: "bg-bad/12", same: "", hunk: "text-muted bg-sunken/60", note: "text-muted italic" };

function Line({ line, path, comment, change }: { line: DiffLine; path: string; comment: string | null; change?: (text: string | null) => void }) {
  const sign = line.kind === "add" ? "+" : line.kind === "del" ? "−" : " ";
  const number = line.after ?? line.before;
  return (
    <>
      <div className={`terminal group flex ${TONES[line.kind]}`}>
        <span aria-hidden className="w-10 shrink-0 select-none pr-2 text-right text-muted md:w-12">{line.before}</span>
        <span aria-hidden className="w-10 shrink-0 select-none pr-2 text-right text-muted md:w-12">{line.after}</span>
        <span className="w-4 shrink-0 select-none text-muted" aria-label={line.kind === "add" ? "added" : line.kind === "del" ? "removed" : undefined} role={line.kind === "add" || line.kind === "del" ? "img" : undefined}>{sign}</span>
        <span className="min-w-0 flex-1 pr-2">{visible(line.text)}</span>
        {change && number !== null && (
          <button type="button" aria-label={`Comment on line ${number} of ${visible(path)}`} onClick={() => change(comment ?? "")} className="grid w-9 shrink-0 place-items-center text-muted opacity-40 hover:opacity-100 focus-visible:opacity-100 pointer:opacity-0 pointer:group-hover:opacity-100 pointer:focus-visible:opacity-100">
            <MessageSquarePlus className="size-3.5" aria-hidden />
          </button>
        )}
      </div>
      {change && comment !== null && (
        <div className="flex items-start gap-2 border-y border-line bg-surface px-4 py-2 md:pl-28">
          <textarea autoFocus aria-label={`Comment on line ${number} of ${visible(path)}`} rows={2} className="field text-sm" placeholder="What should be otherwise here?" value={comment} onChange={(event) => change(event.target.value)} />
          <Button look="bare" aria-label="Remove the comment" onClick={() => change(null)}><Trash2 className="size-4" aria-hidden /></Button>
        </div>
      )}
    </>
  );
}
