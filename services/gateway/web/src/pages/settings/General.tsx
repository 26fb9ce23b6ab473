import { useMutation, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { api, data } from "@/api/client";
import { me } from "@/api/queries";
import { useSession } from "@/api/session";
import { notifies, setNotifies } from "@/live/notify";
import { setTheme, type Theme, theme } from "@/shell/theme";
import { visible } from "@/text/ansi";
import { Button, Copy, Field } from "@/ui/controls";
import { Confirm } from "@/ui/dialog";
import { Rows, Section } from "@/ui/page";

const THEMES: [Theme, string][] = [["system", "As the system"], ["light", "Light"], ["dark", "Dark"]];

export function General() {
  const session = useSession();
  const person = useQuery(me);
  const [chosen, choose] = useState(theme);
  const facts: [string, string | null | undefined][] = [
    ["Name", person.data?.name],
    ["E-mail", person.data?.email],
    ["Your id", session.data?.user],
    ["Organisation", session.data?.org],
    ["Role in it", session.data?.role],
  ];
  return (
    <div className="space-y-8">
      <Rows label="You">
        {facts.map(([name, value]) => value && (
          <li key={name} className="flex items-center gap-4 px-4 py-2">
            <span className="w-28 shrink-0 text-sm text-muted">{name}</span>
            <span className="hostile min-w-0 flex-1 truncate text-sm">{visible(value)}</span>
            <Copy text={value} label={`Copy: ${name}`} />
          </li>
        ))}
      </Rows>
      <fieldset>
        <legend className="mb-2 font-semibold">Theme</legend>
        <div className="flex flex-wrap gap-2">
          {THEMES.map(([value, name]) => (
            <label key={value} className="flex min-h-9 cursor-pointer items-center gap-2 rounded-lg border border-line bg-surface px-3 text-sm has-checked:border-accent">
              <input
                type="radio"
                name="theme"
                className="accent-(--accent)"
                checked={chosen === value}
                onChange={() => {
                  setTheme(value);
                  choose(value);
                }}
              />
              {name}
            </label>
          ))}
        </div>
      </fieldset>
      <Notifications />
      <Account name={visible(person.data?.name ?? "your account")} />
    </div>
  );
}

function Notifications() {
  const [on, turn] = useState(notifies);
  const [refused, refuse] = useState(false);
  return (
    <Section title="Notifications">
      <label className="flex min-h-9 items-center gap-2 text-sm">
        <input
          type="checkbox"
          className="size-4 accent-(--accent)"
          checked={on}
          onChange={async (event) => {
            const now = await setNotifies(event.target.checked);
            refuse(event.target.checked && !now);
            turn(now);
          }}
        />
        Notify me on the desktop when a task of mine ends or waits for an answer
      </label>
      {refused && <p role="alert" className="text-sm text-bad">The browser does not allow it. Allow notifications for this page in its settings, then try again.</p>}
      <p className="text-sm text-muted">While this page is open in a tab that is not in front.</p>
    </Section>
  );
}

/** Everything that is known of the person as a file; and its end. */
function Account({ name }: { name: string }) {
  const [asking, ask] = useState(false);
  const [typed, type] = useState("");
  const save = useMutation({
    // Loaded when somebody wants it.
    mutationFn: async () => (await import("@/api/export")).collectExport(),
    onSuccess: (archive) => {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(archive);
      link.download = "account.zip";
      link.click();
      URL.revokeObjectURL(link.href);
    },
  });
  const erase = useMutation({
    mutationFn: () => data(api.DELETE("/v1/me")),
    onSuccess: () => window.location.assign("/"),
  });
  return (
    <>
      <Section title="Export">
        <div className="flex flex-wrap items-center gap-3">
          <Button busy={save.isPending} onClick={() => save.mutate()}>Download your data</Button>
          <p className="min-w-56 flex-1 text-sm text-muted">One ZIP archive: you, your organisations, sessions, and of each organisation your teams, keys without their secrets, schedules, batches and tasks with their output, events and results. `rclaude account export` writes the same.</p>
        </div>
        {save.error && <p role="alert" className="mt-2 text-sm text-bad">{save.error.message}</p>}
      </Section>
      <Section title="Delete your account">
        <div className="flex flex-wrap items-center gap-3 rounded-xl border border-bad/35 p-4">
          <p className="min-w-56 flex-1 text-sm text-muted">Your name, your e-mail and your personal organisation are erased, its tasks too. Nobody can bring them back.</p>
          <Button look="danger" onClick={() => ask(true)}>Delete the account</Button>
        </div>
      </Section>
      <Confirm
        open={asking}
        title="Delete your account?"
        detail={
          <>
            <p>You are signed out everywhere, your API keys are refused, and what is sealed with your key can never be read again.</p>
            <Field label={`Write ${name} to confirm`} className="mt-3 text-text">
              <input className="field" autoComplete="off" value={typed} onChange={(event) => type(event.target.value)} />
            </Field>
          </>
        }
        yes="Delete the account"
        ready={typed.trim() === name}
        busy={erase.isPending}
        error={erase.error?.message}
        onYes={() => erase.mutate()}
        onClose={() => ask(false)}
      />
    </>
  );
}
