import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api, data } from "@/api/client";
import { shares } from "@/api/queries";
import { Button } from "@/ui/controls";
import { Dialog } from "@/ui/dialog";
import { toast } from "@/ui/toast";

const day = (time: string): string => new Date(time).toLocaleDateString();

/** The links with which anyone may read this task: make one, end one. */
export function Sharing({ task, open, onClose }: { task: string; open: boolean; onClose: () => void }) {
  return <Dialog open={open} onClose={onClose} label="Share for reading"><Links task={task} onClose={onClose} /></Dialog>;
}

function Links({ task, onClose }: { task: string; onClose: () => void }) {
  const cache = useQueryClient();
  const found = useQuery(shares(task));
  const [link, show] = useState<string | null>(null);
  const onSuccess = () => cache.invalidateQueries({ queryKey: shares(task).queryKey });
  const make = useMutation({
    mutationFn: () => data(api.POST("/v1/tasks/{task}/shares", { params: { path: { task } }, body: { days: 7 } })),
    onSuccess: ({ path }) => {
      show(new URL(path, window.location.origin).href);
      return onSuccess();
    },
  });
  const revoke = useMutation({
    mutationFn: (share: string) => data(api.DELETE("/v1/tasks/{task}/shares/{share}", { params: { path: { task, share } } })),
    onSuccess,
  });
  const error = make.error ?? revoke.error ?? found.error;
  return (
    <div className="p-5">
      <h2 className="text-base font-semibold">Share for reading</h2>
      <p className="mt-1 text-sm text-muted">Anyone with a link reads this task: its prompt, conversation, output and changes, until the link expires. Nobody can change anything with it.</p>
      {link && (
        <div className="mt-3 flex items-end gap-2">
          <label className="min-w-0 flex-1 text-sm font-medium">
            The link, shown this once
            <input readOnly className="field mt-1 font-mono text-xs" value={link} onFocus={(event) => event.target.select()} />
          </label>
          <Button onClick={() => void navigator.clipboard.writeText(link).then(() => toast("The link is copied."), () => toast(link))}>Copy</Button>
        </div>
      )}
      <ul className="mt-3 divide-y divide-line" aria-label="Links">
        {found.data?.shares.map((share) => (
          <li key={share.id} className="flex items-center justify-between gap-3 py-2 text-sm">
            <span>Made {day(share.created_at)}, good until {day(share.expires_at)}</span>
            <Button look="danger" busy={revoke.isPending && revoke.variables === share.id} onClick={() => revoke.mutate(share.id)}>Revoke</Button>
          </li>
        ))}
      </ul>
      {error && <p role="alert" className="mt-2 text-sm text-bad">{error.message}</p>}
      <div className="mt-5 flex justify-end gap-2">
        <Button look="bare" onClick={onClose}>Close</Button>
        <Button look="primary" busy={make.isPending} onClick={() => make.mutate()}>Make a link for 7 days</Button>
      </div>
    </div>
  );
}
