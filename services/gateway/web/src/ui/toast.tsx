import { X } from "lucide-react";
import { useSyncExternalStore } from "react";

interface Toast {
  id: number;
  text: string;
  bad: boolean;
}

let toasts: readonly Toast[] = [];
let next = 0;
const listeners = new Set<() => void>();

function change(to: readonly Toast[]): void {
  toasts = to;
  for (const listener of listeners) listener();
}

/** A word at the foot of the page, gone by itself after some seconds. */
export function toast(text: string, bad = false): void {
  const id = next++;
  change([...toasts.slice(-2), { id, text, bad }]);
  window.setTimeout(() => change(toasts.filter((shown) => shown.id !== id)), bad ? 9000 : 4500);
}

export function Toasts() {
  const shown = useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => toasts,
  );
  return (
    <div aria-live="polite" className="pointer-events-none fixed inset-x-0 bottom-20 z-50 flex flex-col items-center gap-2 px-4 md:bottom-6">
      {shown.map(({ id, text, bad }) => (
        <div key={id} className={`rise pointer-events-auto flex max-w-md items-center gap-3 rounded-xl border bg-surface px-4 py-2 text-sm shadow-lg ${bad ? "border-bad/50" : "border-line"}`}>
          <span className="hostile">{text}</span>
          <button type="button" aria-label="Close" className="text-muted hover:text-text" onClick={() => change(toasts.filter((one) => one.id !== id))}>
            <X className="size-4" aria-hidden />
          </button>
        </div>
      ))}
    </div>
  );
}
