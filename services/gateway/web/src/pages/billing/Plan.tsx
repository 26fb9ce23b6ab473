import { useMutation, useQuery } from "@tanstack/react-query";
import { CreditCard } from "lucide-react";
import { useState } from "react";
import { api, data, type Plan, Problem } from "@/api/client";
import { plans, usage } from "@/api/queries";
import { bytes, count, duration, METERS, money, planName } from "@/text/format";
import { Button } from "@/ui/controls";
import { Confirm } from "@/ui/dialog";
import { Section } from "@/ui/page";
import { Failed, Skeleton } from "@/ui/states";
import { toast } from "@/ui/toast";

/** The plan of the organisation, and the others: a larger one through Checkout, a smaller one at the end of the month. */
export function PlanPage() {
  const used = useQuery(usage());
  const offered = useQuery(plans);
  const [leaving, askToChange] = useState<Plan | null>(null);
  const goTo = (url: string) => window.location.assign(url);
  const checkout = useMutation({
    mutationFn: (plan: string) => data(api.POST("/v1/billing/checkout", { body: { plan } })),
    onSuccess: ({ url }) => goTo(url),
  });
  const portal = useMutation({
    mutationFn: () => data(api.POST("/v1/billing/portal")),
    onSuccess: ({ url }) => goTo(url),
    onError: (error) => toast(error.message, true),
  });
  const change = useMutation({
    mutationFn: (plan: string) => data(api.POST("/v1/billing/plan", { body: { plan } })),
    onSuccess: ({ plan, effective_at }) => {
      askToChange(null);
      toast(plan === present?.plan ? "The change of plan is withdrawn." : `Plan ${plan} from ${new Date(effective_at).toLocaleDateString("en-US", { dateStyle: "medium" })} on.`);
    },
  });
  if (used.isPending || offered.isPending) return <Skeleton />;
  if (!used.data || !offered.data) return <Failed error={used.error ?? offered.error} retry={() => void Promise.all([used.refetch(), offered.refetch()])} />;
  const all = offered.data.plans;
  const present = all.find(({ plan }) => plan === used.data.plan);
  const larger = ranked(all);
  const rank = (plan?: Plan) => larger.indexOf(plan?.plan ?? "");
  const isLarger = (plan: Plan) => rank(plan) > Math.max(rank(present), 0);
  const refused = checkout.error instanceof Problem ? checkout.error : null;
  return (
    <div className="space-y-8">
      {refused && <p role="alert" className="rounded-xl border border-bad/40 bg-bad/5 px-4 py-3 text-sm">{refused.message}</p>}
      <ul aria-label="Plans" className="grid gap-4 sm:grid-cols-2">
        {all.map((plan) => {
          const here = plan.plan === used.data.plan;
          return (
            <li key={plan.plan} aria-current={here ? "true" : undefined} className={`flex flex-col rounded-xl border bg-surface p-4 ${here ? "border-accent" : "border-line"}`}>
              <div className="flex items-baseline justify-between gap-3">
                <h2 className="font-semibold">{planName(plan.plan)}</h2>
                {here ? <span className="text-sm text-accent">Your plan</span> : <span className="tabular text-sm">{plan.self_service && monthly(plan)}</span>}
              </div>
              <ul className="mt-2 flex-1 space-y-0.5 text-sm text-muted">{allowances(plan).map((text) => <li key={text}>{text}</li>)}</ul>
              {!here && (
                <div className="mt-4">
                  {!plan.self_service ? <p className="text-sm text-muted">By contract: ask your operator.</p> : isLarger(plan) ? (
                    <Button look="primary" busy={checkout.isPending && checkout.variables === plan.plan} onClick={() => checkout.mutate(plan.plan)}>{rank(present) < 0 ? "Choose" : "Upgrade to"} {planName(plan.plan)}</Button>
                  ) : (
                    <Button onClick={() => askToChange(plan)}>Change to {planName(plan.plan)}</Button>
                  )}
                </div>
              )}
            </li>
          );
        })}
      </ul>
      <Section title="Card and address">
        <p className="mb-3 text-sm text-muted">Kept by Stripe; this server never sees a card.</p>
        <Button busy={portal.isPending} onClick={() => portal.mutate()}><CreditCard className="size-4" aria-hidden /> Open the customer portal</Button>
      </Section>
      <Confirm
        open={leaving !== null}
        title={`Change to ${leaving?.plan ?? ""}?`}
        detail="At the end of the month. Until then everything stays as it is."
        yes="Change the plan"
        busy={change.isPending}
        error={change.error?.message}
        onYes={() => leaving && change.mutate(leaving.plan)}
        onClose={() => askToChange(null)}
      />
    </div>
  );
}

/** From the smallest plan to the largest: each names the one above it. */
function ranked(all: readonly Plan[]): string[] {
  const order: string[] = [];
  let at = all.find(({ plan }) => !all.some(({ upgrade_to }) => upgrade_to === plan) && plan !== "self-hosted")?.plan;
  while (at && !order.includes(at)) {
    order.push(at);
    at = all.find(({ plan }) => plan === at)?.upgrade_to ?? undefined;
  }
  return order;
}

function monthly({ price_book }: Plan): string {
  const flat = price_book.components?.find((component) => component.kind === "flat");
  return flat && "amount" in flat ? `${money(flat.amount, 2)} a month` : "no monthly price";
}

function allowances({ entitlements: e, price_book }: Plan): string[] {
  const perUnit = price_book.components?.flatMap((c) => (c.kind === "per_unit" && "price" in c && c.meter !== "model_nano_usd" && Number(c.price) > 0 ? [METERS[c.meter] ?? c.meter] : [])) ?? [];
  return [
    e.executions_per_month === null ? "Any number of executions" : `${count(e.executions_per_month)} executions a month${e.overage ? ", more at their price" : ""}`,
    `${e.vcpu_millis / 1000} vCPU and ${bytes(e.memory_mib * 2 ** 20)} for a task`,
    `${duration(e.duration_s * 1000)} at most for an attempt`,
    ...(e.concurrency ? [`${count(e.concurrency)} at one time`] : []),
    ...(e.members ? [`${count(e.members)} ${e.members === 1 ? "member" : "members"}`] : []),
    ...(perUnit.length ? [`Billed by use: ${perUnit.join(", ").toLowerCase()}`] : []),
  ];
}
