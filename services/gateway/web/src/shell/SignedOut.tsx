import { Command } from "@/ui/controls";

export function SignedOut() {
  const refused = new URLSearchParams(window.location.search).get("error");
  return (
    <main className="grid h-full place-items-center overflow-y-auto px-5">
      <div className="w-full max-w-sm py-10">
        <img src="/favicon.svg" alt="" width="40" height="40" />
        <h1 className="mt-5 text-xl font-semibold tracking-tight">Sign in to Remote Claude</h1>
        {refused && (
          <p role="alert" className="mt-3 rounded-lg border border-warn/40 bg-warn/10 px-3 py-2 text-sm">
            That link has been used already, or is too old. Open a fresh one.
          </p>
        )}
        <p className="mt-2 text-sm text-muted">On the machine that runs it, this opens the page and signs you in:</p>
        <div className="mt-3"><Command>rclaude open</Command></div>
      </div>
    </main>
  );
}
