import { Link, type LinkProps, useRouterState } from "@tanstack/react-router";
import type { ReactNode } from "react";

export interface Part {
  to: NonNullable<LinkProps["to"]>;
  name: string;
}

/** Which part is open: the one at the path, or above it. */
function useIsHere(parts: readonly Part[]): (to: string) => boolean {
  const path = useRouterState({ select: (state) => state.location.pathname });
  const exact = parts.some(({ to }) => to === path);
  return (to) => path === to || (!exact && to.split("/").length > 2 && path.startsWith(`${to}/`));
}

/** Links between the parts of a page. The one that is open scrolls into sight where there is no room for all. */
export function Tabs({ label, parts }: { label: string; parts: readonly Part[] }) {
  const isHere = useIsHere(parts);
  return (
    <nav aria-label={label} className="mt-3 flex overflow-x-auto border-b border-line sm:gap-1">
      {parts.map(({ to, name }) => {
        const here = isHere(to);
        return (
          <Link
            key={to}
            to={to}
            aria-current={here ? "page" : undefined}
            ref={(element) => {
              if (here) element?.scrollIntoView({ block: "nearest", inline: "center" });
            }}
            className={`min-h-9 whitespace-nowrap border-b-2 px-2 py-1.5 text-sm sm:px-3 ${here ? "border-accent font-medium" : "border-transparent text-muted hover:text-text"}`}
          >
            {name}
          </Link>
        );
      })}
    </nav>
  );
}

export interface PartGroup {
  name: string;
  parts: readonly Part[];
}

/** A page of many parts: a column of links beside what is open, or a row of them where there is no room for a column. */
export function Sided({ title, groups, children }: { title: string; groups: readonly PartGroup[]; children: ReactNode }) {
  const isHere = useIsHere(groups.flatMap(({ parts }) => parts));
  return (
    <div className="flex h-full">
      <nav aria-label={title} className="hidden w-52 shrink-0 overflow-y-auto border-r border-line px-3 py-5 lg:block">
        {groups.map(({ name, parts }) => (
          <div key={name} className="mb-5">
            <h2 className="mb-1 px-2.5 text-xs text-muted">{name}</h2>
            {parts.map(({ to, name }) => {
              const here = isHere(to);
              return (
                <Link key={to} to={to} aria-current={here ? "page" : undefined} className={`flex min-h-8 items-center rounded-lg px-2.5 text-sm ${here ? "bg-sunken font-medium" : "text-muted hover:bg-sunken hover:text-text"}`}>
                  {name}
                </Link>
              );
            })}
          </div>
        ))}
      </nav>
      <div className="min-w-0 flex-1 overflow-y-auto">
        <div className="mx-auto max-w-4xl px-4 py-5 md:px-6 lg:py-6">
          <h1 className="text-lg font-semibold tracking-tight lg:sr-only">{title}</h1>
          <div className="lg:hidden"><Tabs label={`Parts of ${title}`} parts={groups.flatMap(({ parts }) => parts)} /></div>
          <div className="pt-5 lg:pt-0">{children}</div>
        </div>
      </div>
    </div>
  );
}

export function Section({ title, aside, children }: { title: string; aside?: ReactNode; children: ReactNode }) {
  const id = title.toLowerCase().replace(/\W+/g, "-");
  return (
    <section aria-labelledby={id}>
      <div className="mb-3 flex flex-wrap items-baseline justify-between gap-x-4 gap-y-1">
        <h2 id={id} className="font-semibold">{title}</h2>
        {aside}
      </div>
      {children}
    </section>
  );
}

/** Rows in a box. */
export function Rows({ label, children }: { label?: string; children: ReactNode }) {
  return <ul aria-label={label} className="divide-y divide-line overflow-hidden rounded-xl border border-line bg-surface">{children}</ul>;
}

export function Fact({ name, value, bad = false, children }: { name: string; value: ReactNode; bad?: boolean; children?: ReactNode }) {
  return (
    <div className="bg-surface px-4 py-3">
      <dt className="text-sm text-muted">{name}</dt>
      <dd className={`tabular break-words font-medium ${bad ? "text-bad" : ""}`}>{value}{children}</dd>
    </div>
  );
}

export function Facts({ children, label }: { children: ReactNode; label?: string }) {
  return <dl aria-label={label} className="grid grid-cols-2 gap-px overflow-hidden rounded-xl border border-line bg-line lg:grid-cols-4">{children}</dl>;
}

/** A table that scrolls sideways where it is too wide. */
export function Table({ label, head, children }: { label: string; head: readonly { name: string; right?: boolean }[]; children: ReactNode }) {
  return (
    <div className="overflow-x-auto rounded-xl border border-line bg-surface" tabIndex={0} role="region" aria-label={label}>
      <table className="tabular w-full text-sm">
        <thead className="text-muted">
          <tr>{head.map(({ name, right }) => <th key={name} scope="col" className={`whitespace-nowrap px-4 py-2 font-medium ${right ? "text-right" : "text-left"}`}>{name}</th>)}</tr>
        </thead>
        <tbody className="[&>tr]:border-t [&>tr]:border-line [&_td]:px-4 [&_td]:py-2">{children}</tbody>
      </table>
    </div>
  );
}
