import { useMutation, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { SendHorizontal } from "lucide-react";
import { useState } from "react";
import { api, data, type Task } from "@/api/client";
import { kept, LISTS } from "@/api/queries";
import { visible } from "@/text/ansi";
import { Button } from "@/ui/controls";
import { isActive } from "@/ui/states";
import { useOpened } from "./Task";

/** Goes on with a task that has ended, as a new task: the same files, the same conversation. */
export function useGoOn(task: Task) {
  const navigate = useNavigate();
  const cache = useQueryClient();
  return useMutation({
    mutationFn: async (prompt: string) =>
      data(api.POST("/v1/tasks", { body: { ...(await cache.fetchQuery(kept(task.id))), prompt, agent: task.agent, continues: task.id, max_attempts: task.max_attempts, priority: task.priority, labels: task.labels }, params: { header: { "Idempotency-Key": crypto.randomUUID() } } })),
    onSuccess: ({ id }) => {
      void cache.invalidateQueries({ queryKey: LISTS });
      void navigate({ to: "/tasks/$task", params: { task: id } });
    },
  });
}

/** A message to the agent while it works; afterwards, what the task goes on with. */
export function FollowUp() {
  const { task } = useOpened();
  const [text, setText] = useState("");
  const [interrupt, setInterrupt] = useState(false);
  const [sent, setSent] = useState<{ number: number; text: string }[]>([]);
  const goOn = useGoOn(task);
  const message = useMutation({
    mutationFn: (text: string) => data(api.POST("/v1/tasks/{task}/messages", { params: { path: { task: task.id } }, body: { text, interrupt } })),
    onSuccess: ({ number }, text) => {
      setSent((before) => [...before, { number, text }]);
      setText("");
    },
  });
  const active = isActive(task.state);
  if (active ? task.agent !== "claude" : task.state === "rejected" || task.prompt === null) return null;
  const sending = active ? message : goOn;
  const send = () => text.trim() && !sending.isPending && sending.mutate(text.trim());
  return (
    <form
      className="border-t border-line bg-surface px-4 py-2.5 md:px-6"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      {sent.length > 0 && active && (
        <ul aria-label="Messages sent" className="mb-2 max-h-24 space-y-0.5 overflow-y-auto text-xs text-muted">
          {sent.map(({ number, text }) => <li key={number} className="hostile truncate">Sent: {visible(text)}</li>)}
        </ul>
      )}
      <div className="flex items-end gap-2 md:pl-9">
        <textarea
          aria-label={active ? "Message to the agent" : "Follow-up"}
          rows={Math.min(5, text.split("\n").length)}
          className="field resize-none"
          placeholder={active ? "A message to the agent" : task.agent === "shell" ? "Another command in the same files" : "What should it do next?"}
          value={text}
          onChange={(event) => setText(event.target.value)}
          onKeyDown={(event) => {
            if (event.key === "Enter" && (event.metaKey || event.ctrlKey)) {
              event.preventDefault();
              send();
            }
          }}
        />
        <Button type="submit" look="primary" aria-label={active ? "Send the message" : "Go on with the task"} className="min-h-[38px]" busy={sending.isPending} disabled={!text.trim()}>
          <SendHorizontal className="size-4" aria-hidden /> <span className="hidden sm:inline">{active ? "Send" : "Go on"}</span>
        </Button>
        {!active && <Link to="/new" search={{ continues: task.id, agent: task.agent, prompt: text || undefined }} className="hidden min-h-[38px] items-center whitespace-nowrap text-sm text-muted underline underline-offset-2 hover:text-text lg:inline-flex">with options</Link>}
      </div>
      {active && text.trim() !== "" && (
        <label className="mt-1.5 flex items-center gap-2 text-sm text-muted md:pl-9">
          <input type="checkbox" className="size-4 accent-(--accent)" checked={interrupt} onChange={(event) => setInterrupt(event.target.checked)} />
          Interrupt what it does now; otherwise it reads the message after its current turn
        </label>
      )}
      {sending.error && <p role="alert" className="mt-1.5 text-sm text-bad md:pl-9">{sending.error.message}</p>}
    </form>
  );
}
