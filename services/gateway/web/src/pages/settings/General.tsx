import { useState } from "react";
import { useSession } from "@/api/session";
import { setTheme, type Theme, theme } from "@/shell/theme";
import { Copy } from "@/ui/controls";

const THEMES: [Theme, string][] = [["system", "As the system"], ["light", "Light"], ["dark", "Dark"]];

export function General() {
  const session = useSession();
  const [chosen, choose] = useState(theme);
  const facts: [string, string | null | undefined][] = [
    ["You", session.data?.user],
    ["Organisation", session.data?.org],
    ["Role", session.data?.role],
  ];
  return (
    <div className="space-y-8">
      <ul className="divide-y divide-line overflow-hidden rounded-xl border border-line bg-surface">
        {facts.map(([name, value]) => value && (
          <li key={name} className="flex items-center gap-4 px-4 py-2">
            <span className="w-32 shrink-0 text-sm text-muted">{name}</span>
            <span className="hostile min-w-0 flex-1 truncate font-mono text-sm">{value}</span>
            <Copy text={value} label={`Copy: ${name}`} />
          </li>
        ))}
      </ul>
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
    </div>
  );
}
