import { Dialog } from "@/ui/dialog";
import { Kbd } from "@/ui/controls";
import type { Command } from "./commands";

const HERE: [string, string][] = [
  ["Ctrl K", "Command palette"],
  ["j k", "Next, previous task"],
  ["Enter", "Open the task"],
  ["x", "Select the task"],
  ["/", "Search tasks"],
  ["1 2 3 4 5", "Activity, changes, timeline, cost, terminal of a task"],
  ["Esc", "Close, or leave the field"],
];

export function Help({ open, onClose, commands }: { open: boolean; onClose: () => void; commands: Command[] }) {
  const rows: [string, string][] = [...HERE, ...commands.flatMap(({ keys, name }): [string, string][] => (keys ? [[keys, name]] : []))];
  return (
    <Dialog open={open} onClose={onClose} label="Keyboard shortcuts">
      <div className="p-5">
        <h2 className="mb-3 text-base font-semibold">Keyboard shortcuts</h2>
        <dl className="grid grid-cols-[auto_1fr] gap-x-5 gap-y-1.5 text-sm">
          {rows.map(([keys, what]) => (
            <div key={keys} className="contents">
              <dt className="flex gap-1">{keys.split(" ").map((key) => <Kbd key={key}>{key}</Kbd>)}</dt>
              <dd>{what}</dd>
            </div>
          ))}
        </dl>
        <button type="button" autoFocus className="mt-5 min-h-9 rounded-lg border border-line px-3 text-sm font-medium hover:bg-sunken" onClick={onClose}>
          Close
        </button>
      </div>
    </Dialog>
  );
}
