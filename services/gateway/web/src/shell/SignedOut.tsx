import { useQuery } from "@tanstack/react-query";
import { providers } from "@/api/queries";
import { buttonClass, Command } from "@/ui/controls";

/** What stands in place of every page for somebody who is not signed in. */
export function SignedOut() {
  const offered = useQuery(providers);
  const here = window.location.pathname + window.location.search;
  return (
    <main className="grid h-full place-items-center overflow-y-auto px-5">
      <div className="w-full max-w-sm py-10">
        <img src="/favicon.svg" alt="" width="40" height="40" />
        <h1 className="mt-5 text-xl font-semibold tracking-tight">Sign in to Remote Claude</h1>
        {offered.data?.providers.map(({ name, title, url }) => (
          <a key={name} href={`${url}?next=${encodeURIComponent(here)}`} className={`${buttonClass("primary")} mt-4 w-full`}>Sign in with {title}</a>
        ))}
        <p className="mt-4 text-sm text-muted">On the machine that runs it, this opens the page and signs you in:</p>
        <div className="mt-2"><Command>rclaude open</Command></div>
      </div>
    </main>
  );
}
