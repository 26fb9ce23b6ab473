import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api, data } from "@/api/client";
import { plans } from "@/api/queries";
import { visible } from "@/text/ansi";
import { count, METERS, money, planName } from "@/text/format";
import { Button, Field } from "@/ui/controls";
import { Confirm } from "@/ui/dialog";
import { Section, Table } from "@/ui/page";
import { Failed, Skeleton } from "@/ui/states";
import { toast } from "@/ui/toast";

/** The plans on offer, and a price file: tried on what was used, then published. */
export function Prices() {
  const cache = useQueryClient();
  const offered = useQuery(plans);
  const [file, setFile] = useState("");
  const [last, setLast] = useState(3);
  const [asking, ask] = useState(false);
  const simulate = useMutation({ mutationFn: () => data(api.POST("/v1/billing/simulation", { body: { file, last } })) });
  const publish = useMutation({
    mutationFn: () => data(api.PUT("/v1/billing/prices", { body: { file } })),
    onSuccess: ({ catalog }) => {
      ask(false);
      toast(`${catalog} is published. Accounts keep what they have until their plan is changed.`);
      void cache.invalidateQueries({ queryKey: plans.queryKey });
    },
  });
  if (offered.isPending) return <Skeleton />;
  if (!offered.data) return <Failed error={offered.error} retry={() => void offered.refetch()} />;
  const error = publish.error ?? simulate.error;
  return (
    <div className="space-y-8">
      <Section title="Plans on offer">
        <Table label="Plans, versions and prices" head={[{ name: "Plan" }, { name: "Version" }, { name: "Executions", right: true }, { name: "At one time", right: true }, { name: "Chosen by" }, { name: "Prices" }]}>
          {offered.data.plans.map(({ plan, version, entitlements, price_book, self_service }) => (
            <tr key={plan}>
              <td className="font-medium">{planName(plan)}</td>
              <td className="text-muted">{version}</td>
              <td className="text-right">{entitlements.executions_per_month === null ? "any" : count(entitlements.executions_per_month)}</td>
              <td className="text-right">{entitlements.concurrency == null ? "any" : count(entitlements.concurrency)}</td>
              <td className="text-muted">{self_service ? "customers" : "the operator"}</td>
              <td className="text-muted">{[...new Set(price_book.components.map((part) => ("meter" in part && part.meter ? (METERS[part.meter] ?? part.meter) : part.kind)))].join(", ").toLowerCase() || "none"}</td>
            </tr>
          ))}
        </Table>
      </Section>
      <Section title="Other prices">
        <form
          className="space-y-4 rounded-xl border border-line bg-surface p-4"
          onSubmit={(event) => {
            event.preventDefault();
            simulate.mutate();
          }}
        >
          <Field label="Price file" hint="TOML with catalog, seller and plans">
            <textarea className="field resize-y font-mono text-xs" rows={8} required spellCheck={false} placeholder={'catalog = "2027-01"\n\n[plans.pro]\n...'} value={file} onChange={(event) => setFile(event.target.value)} />
          </Field>
          <div className="flex flex-wrap items-center gap-3">
            <label className="text-sm">
              <span className="sr-only">Read it from a file</span>
              <input
                type="file"
                accept=".toml"
                className="max-w-60 text-sm text-muted file:mr-3 file:min-h-9 file:rounded-lg file:border file:border-line file:bg-surface file:px-3 file:text-sm file:font-medium file:text-text"
                onChange={(event) => void event.target.files?.[0]?.text().then(setFile)}
              />
            </label>
            <label className="ml-auto flex items-center gap-2 text-sm text-muted">
              Last periods
              <input className="field !w-20" type="number" min="1" max="24" value={last} onChange={(event) => setLast(Number(event.target.value) || 1)} />
            </label>
            <Button type="submit" look="primary" busy={simulate.isPending} disabled={!file.trim()}>Simulate</Button>
            <Button disabled={!file.trim()} onClick={() => ask(true)}>Publish</Button>
          </div>
          {error && <p role="alert" className="hostile text-sm text-bad">{visible(error.message)}</p>}
        </form>
      </Section>
      {simulate.data && <Result {...simulate.data} />}
      <Confirm
        open={asking}
        title="Publish these prices?"
        detail="Its plans are on offer from now on. Accounts keep the prices that they have until their plan is changed."
        yes="Publish them"
        busy={publish.isPending}
        error={publish.error?.message}
        onYes={() => publish.mutate()}
        onClose={() => ask(false)}
      />
    </div>
  );
}

interface Simulated {
  catalog: string;
  periods: { org: string; period: string; plans: string[]; before: number; after: number }[];
}

function Result({ catalog, periods }: Simulated) {
  const before = periods.reduce((sum, one) => sum + one.before, 0);
  const after = periods.reduce((sum, one) => sum + one.after, 0);
  return (
    <Section title={`With ${visible(catalog)}`} aside={<p className="tabular text-sm">{money(before)} → <b>{money(after)}</b> <Difference by={after - before} /></p>}>
      <Table label="Simulated periods" head={[{ name: "Organisation" }, { name: "Period" }, { name: "Plan" }, { name: "Before", right: true }, { name: "After", right: true }, { name: "Difference", right: true }]}>
        {periods.slice(0, 500).map((one) => (
          <tr key={`${one.org} ${one.period}`}>
            <td className="font-mono text-xs">{one.org}</td>
            <td>{one.period}</td>
            <td>{one.plans.map(planName).join(", ")}</td>
            <td className="text-right">{money(one.before)}</td>
            <td className="text-right">{money(one.after)}</td>
            <td className="text-right"><Difference by={one.after - one.before} /></td>
          </tr>
        ))}
      </Table>
    </Section>
  );
}

function Difference({ by }: { by: number }) {
  return <span className={by === 0 ? "text-muted" : by > 0 ? "text-ok" : "text-bad"}>{by > 0 ? "+" : ""}{money(by)}</span>;
}
