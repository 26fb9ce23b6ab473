import { useQueryClient, type InfiniteData } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useId, useState } from "react";
import type { TaskSummary } from "@/api/client";
import { LISTS } from "@/api/queries";
import { Dialog } from "@/ui/dialog";
import { Kbd } from "@/ui/controls";
import { StateMark } from "@/ui/states";
import type { Command } from "./commands";

interface Choice {
  id: string;
  name: string;
  keys?: string;
  task?: TaskSummary;
  run: () => void;
}

/** Everything that can be done, and the tasks that have been seen, by a few letters. */
export function Palette({ open, onClose, commands }: { open: boolean; onClose: () => void; commands: Command[] }) {
  return (
    <Dialog open={open} onClose={onClose} label="Command palette" className="mt-[12dvh]">
      <Search onClose={onClose} commands={commands} />
    </Dialog>
  );
}

function Search({ onClose, commands }: { onClose: () => void; commands: Command[] }) {
  const [text, setText] = useState("");
  const [at, setAt] = useState(0);
  const list = useId();
  const navigate = useNavigate();
  const cache = useQueryClient();
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const matches = (name: string) => words.every((word) => name.toLowerCase().includes(word));
  const seen = new Map<string, TaskSummary>();
  for (const [, found] of cache.getQueriesData<InfiniteData<{ tasks: TaskSummary[] }>>({ queryKey: LISTS })) {
    for (const page of found?.pages ?? []) for (const task of page.tasks) seen.set(task.id, task);
  }
  const choices: Choice[] = [
    ...commands.filter(({ name }) => matches(name)).map(({ name, keys, run }) => ({ id: name, name, keys, run })),
    ...[...seen.values()]
      .filter((task) => matches(`${task.title ?? ""} ${task.id}`))
      .slice(0, words.length ? 8 : 4)
      .map((task) => ({
        id: task.id,
        name: task.title ?? task.id,
        task,
        run: () => void navigate({ to: "/tasks/$task", params: { task: task.id } }),
      })),
  ];
  if (words.length) {
    choices.push({ id: "search", name: `Search tasks for “${text.trim()}”`, run: () => void navigate({ to: "/", search: { q: text.trim() } }) });
  }
  const chosen = Math.min(at, choices.length - 1);
  const run = (choice: Choice | undefined) => {
    onClose();
    choice?.run();
  };
  return (
    <div>
      <input
        autoFocus
        role="combobox"
        aria-label="Command or task"
        aria-expanded="true"
        aria-controls={list}
        aria-activedescendant={choices[chosen] ? `${list}-${chosen}` : undefined}
        className="w-full rounded-t-2xl border-b border-line bg-transparent px-4 py-3 outline-none"
        placeholder="What do you want to do?"
        value={text}
        onChange={(event) => {
          setText(event.target.value);
          setAt(0);
        }}
        onKeyDown={(event) => {
          const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
          if (step) {
            event.preventDefault();
            setAt((chosen + step + choices.length) % choices.length);
          } else if (event.key === "Enter") {
            event.preventDefault();
            run(choices[chosen]);
          }
        }}
      />
      <ul id={list} role="listbox" aria-label="Commands and tasks" className="max-h-[50dvh] overflow-y-auto p-1.5">
        {choices.map((choice, number) => (
          <li
            key={choice.id}
            id={`${list}-${number}`}
            role="option"
            aria-selected={number === chosen}
            className={`flex cursor-pointer items-center gap-2.5 rounded-lg px-3 py-2 text-sm ${number === chosen ? "bg-sunken" : ""}`}
            ref={(element) => {
              if (number === chosen) element?.scrollIntoView({ block: "nearest" });
            }}
            onPointerMove={() => setAt(number)}
            onClick={() => run(choice)}
          >
            {choice.task && <StateMark state={choice.task.state} />}
            <span className="hostile min-w-0 flex-1 truncate">{choice.name}</span>
            {choice.keys && <span className="flex gap-1">{choice.keys.split(" ").map((key) => <Kbd key={key}>{key}</Kbd>)}</span>}
          </li>
        ))}
      </ul>
    </div>
  );
}
