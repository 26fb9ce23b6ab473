import * as Menu from "@radix-ui/react-dropdown-menu";
import { Ellipsis } from "lucide-react";
import { useState } from "react";
import type { Task } from "@/api/client";
import { withOrg } from "@/api/org";
import { Button } from "@/ui/controls";
import { toast } from "@/ui/toast";
import { Sharing } from "./Sharing";

const item = "flex min-h-9 cursor-pointer select-none items-center rounded-lg px-3 text-sm outline-none data-[highlighted]:bg-sunken";

function copy(text: string, said: string): () => void {
  return () => void navigator.clipboard.writeText(text).then(() => toast(said), () => toast(text));
}

/** What else can be done with a task. Open from the start: it is loaded at the click that asks for it. */
export default function MoreMenu({ task }: { task: Task }) {
  const [sharing, share] = useState(false);
  return (
    <>
      <Sharing task={task.id} open={sharing} onClose={() => share(false)} />
      <Menu.Root modal={false} defaultOpen>
        <Menu.Trigger asChild>
          <Button look="bare" aria-label="More" className="!px-2"><Ellipsis className="size-4" aria-hidden /></Button>
        </Menu.Trigger>
        <Menu.Portal>
          <Menu.Content align="end" sideOffset={4} className="rise z-40 min-w-52 rounded-xl border border-line bg-surface p-1 shadow-xl">
            <Menu.Item className={item} onSelect={copy(task.id, "The task's id is copied.")}>Copy the id</Menu.Item>
            <Menu.Item className={item} onSelect={copy(new URL(withOrg(window.location.pathname), window.location.origin).href, "The link is copied.")}>Copy the link</Menu.Item>
            <Menu.Item className={item} onSelect={copy(`rclaude logs ${task.id}`, "The command is copied.")}>Copy `rclaude logs …`</Menu.Item>
            <Menu.Item className={item} onSelect={copy(`rclaude open ${task.id}`, "The command is copied.")}>Copy `rclaude open …`</Menu.Item>
            <Menu.Item className={item} onSelect={() => share(true)}>Share for reading…</Menu.Item>
            {task.result?.bundle && (
              <>
                <Menu.Separator className="my-1 h-px bg-line" />
                <Menu.Item className={item} onSelect={copy(`rclaude apply ${task.id}`, "The command is copied.")}>Copy `rclaude apply …`</Menu.Item>
                <Menu.Item asChild className={item}><a href={withOrg(`/v1/tasks/${task.id}/diff`)} download>Download the patch</a></Menu.Item>
                <Menu.Item asChild className={item}><a href={withOrg(`/v1/tasks/${task.id}/bundle`)} download>Download the Git bundle</a></Menu.Item>
              </>
            )}
          </Menu.Content>
        </Menu.Portal>
      </Menu.Root>
    </>
  );
}
