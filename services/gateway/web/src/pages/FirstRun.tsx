import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { ArrowRight } from "lucide-react";
import { agents, models } from "@/api/queries";
import { Command } from "@/ui/controls";

const TRIES = [
  { title: "Say hello", text: "A command in a sandbox, its output live. No model, no repository.", search: { agent: "shell", prompt: "echo Hello from a sandbox; uname -a; for n in 1 2 3; do echo step $n; sleep 1; done" } },
  { title: "Look around a repository", text: "Clone one and see what is in it.", search: { agent: "shell", prompt: "ls -la; git log --oneline | head", repo: "https://github.com/octocat/Hello-World" } },
  { title: "Have Claude change something", text: "A prompt and a repository; back come a commit, a diff and an exact bill.", search: { agent: "claude", prompt: "Find a flaky test in this repository and fix it." } },
];

/** What stands where the tasks will be: three ways to the first one. */
export function FirstRun() {
  const offered = useQuery(agents);
  const keys = useQuery(models);
  const claude = offered.data?.agents.find(({ name }) => name === "claude");
  const lacksKey = claude?.needs_model_key && keys.data?.models.length === 0;
  return (
    <div className="h-full overflow-y-auto">
      <div className="mx-auto max-w-2xl px-5 py-12 md:py-20">
        <h1 className="text-2xl font-semibold tracking-tight">Run your first task</h1>
        <p className="mt-2 text-muted">A task is a prompt, an agent and, if you like, a repository. It runs in a sandbox; you watch it here.</p>
        <ul className="mt-8 space-y-3">
          {TRIES.map(({ title, text, search }) => (
            <li key={title}>
              <Link to="/new" search={search} className="group flex items-center gap-4 rounded-xl border border-line bg-surface px-4 py-3.5 hover:border-accent">
                <span className="min-w-0 flex-1">
                  <span className="block font-medium">{title}</span>
                  <span className="block text-sm text-muted">{text}</span>
                  {search.agent === "claude" && lacksKey && (
                    <span className="mt-1 block text-sm text-warn">Needs a key for its model: `rclaude model add anthropic`, or Settings, Models.</span>
                  )}
                </span>
                <ArrowRight className="size-4 shrink-0 text-muted group-hover:text-accent" aria-hidden />
              </Link>
            </li>
          ))}
        </ul>
        <h2 className="mb-2 mt-10 text-sm font-medium">Or from a terminal, in any Git repository</h2>
        <Command>rclaude run "fix the flaky test"</Command>
      </div>
    </div>
  );
}
