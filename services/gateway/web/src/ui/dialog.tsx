import { type ReactNode, useLayoutEffect, useRef } from "react";

interface DialogProps {
  open: boolean;
  onClose: () => void;
  label: string;
  children: ReactNode;
  className?: string;
}

/** The browser's own modal dialog: it holds the focus, closes on Escape and gives the focus back. */
export function Dialog({ open, ...shown }: DialogProps) {
  return open ? <Opened {...shown} /> : null;
}

function Opened({ onClose, label, children, className = "" }: Omit<DialogProps, "open">) {
  const dialog = useRef<HTMLDialogElement>(null);
  // Closed before it is taken out of the page: a dialog that is only removed does not give the focus back.
  useLayoutEffect(() => {
    const element = dialog.current;
    element?.showModal();
    return () => element?.close();
  }, []);
  return (
    <dialog
      ref={dialog}
      aria-label={label}
      className={`rise m-auto max-h-[85dvh] w-[min(92vw,34rem)] rounded-2xl border border-line bg-surface p-0 shadow-2xl ${className}`}
      onClose={onClose}
      onKeyDown={(event) => {
        // The browser reports its own closing late: a key that comes before would go to a dialog that is closed already.
        if (event.key !== "Escape") return;
        event.preventDefault();
        onClose();
      }}
      onClick={(event) => event.target === dialog.current && onClose()}
    >
      {children}
    </dialog>
  );
}

/** A question with a yes and a no. */
export function Confirm({ open, title, detail, yes, busy, ready = true, error, onYes, onClose }: {
  open: boolean;
  title: string;
  detail: ReactNode;
  yes: string;
  busy?: boolean;
  ready?: boolean;
  error?: string;
  onYes: () => void;
  onClose: () => void;
}) {
  return (
    <Dialog open={open} onClose={onClose} label={title}>
      <form
        className="p-5"
        onSubmit={(event) => {
          event.preventDefault();
          if (ready) onYes();
        }}
      >
        <h2 className="text-base font-semibold">{title}</h2>
        <div className="mt-1 text-sm text-muted">{detail}</div>
        {error && <p role="alert" className="mt-2 text-sm text-bad">{error}</p>}
        <div className="mt-5 flex justify-end gap-2">
          <button type="button" className="min-h-9 rounded-lg px-3 text-sm font-medium text-muted hover:bg-sunken hover:text-text" onClick={onClose}>
            Keep it
          </button>
          <button type="submit" disabled={busy || !ready} className="min-h-9 rounded-lg border border-bad/40 px-3 text-sm font-medium text-bad hover:bg-bad/10 disabled:opacity-55">
            {yes}
          </button>
        </div>
      </form>
    </Dialog>
  );
}
