import { useQuery } from "@tanstack/react-query";
import { useVirtualizer } from "@tanstack/react-virtual";
import { ChevronRight } from "lucide-react";
import { useMemo, useRef, useState } from "react";
import { patch } from "@/api/queries";
import { visible } from "@/text/ansi";
import { type DiffLine, type FileDiff, parseDiff } from "@/text/diff";
import { Command } from "@/ui/controls";
import { Empty, Failed, isActive, Skeleton } from "@/ui/states";
import { useOpened } from "./Task";

export function Changes() {
  const { task } = useOpened();
  const hasPatch = Boolean(task.result?.patch);
  const found = useQuery({ ...patch(task.id), enabled: hasPatch });
  const files = useMemo(() => (found.data ? parseDiff(found.data) : []), [found.data]);
  if (!hasPatch) {
    if (isActive(task.state)) return <Empty title="Not yet">What the agent has changed is here once it has ended.</Empty>;
    return <Empty title="Nothing was changed">{task.repo ? "The task left its repository as it was." : "The task had no repository."}</Empty>;
  }
  if (found.isPending) return <Skeleton />;
  if (found.error) return <Failed error={found.error} retry={() => void found.refetch()} />;
  if (files.length === 0) return <pre className="terminal h-full overflow-auto p-6" tabIndex={0}>{visible(found.data)}</pre>;
  return <Files files={files} />;
}

type Item = { file: FileDiff; line: DiffLine | null; at: number };

function Files({ files }: { files: FileDiff[] }) {
  const { task } = useOpened();
  const box = useRef<HTMLDivElement>(null);
  const [closed, close] = useState<ReadonlySet<number>>(new Set());
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
        {task.result?.bundle && <div className="mt-4 text-xs"><Command>{`rclaude apply ${task.id}`}</Command></div>}
      </aside>
      <div ref={box} tabIndex={0} role="region" aria-label="Changes" className="min-w-0 flex-1 overflow-y-auto focus-visible:outline-offset-[-2px]">
        <div className="relative" style={{ height: list.getTotalSize() }}>
          {list.getVirtualItems().map((item) => {
            const { file, line, at } = items[item.index]!;
            return (
              <div key={item.key} data-index={item.index} ref={list.measureElement} className="absolute inset-x-0 top-0" style={{ transform: `translateY(${item.start}px)` }}>
                {line ? <Line line={line} /> : <FileHead file={file} open={!closed.has(at)} toggle={() => toggle(at)} />}
              </div>
            );
          })}
        </div>
      </div>
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

function Line({ line }: { line: DiffLine }) {
  const sign = line.kind === "add" ? "+" : line.kind === "del" ? "−" : " ";
  return (
    <div className={`terminal flex ${TONES[line.kind]}`}>
      <span aria-hidden className="w-10 shrink-0 select-none pr-2 text-right text-muted md:w-12">{line.before}</span>
      <span aria-hidden className="w-10 shrink-0 select-none pr-2 text-right text-muted md:w-12">{line.after}</span>
      <span className="w-4 shrink-0 select-none text-muted" aria-label={line.kind === "add" ? "added" : line.kind === "del" ? "removed" : undefined} role={line.kind === "add" || line.kind === "del" ? "img" : undefined}>{sign}</span>
      <span className="min-w-0 flex-1 pr-4">{visible(line.text)}</span>
    </div>
  );
}
