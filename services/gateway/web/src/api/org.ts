/** The organisation that this tab acts for. A link with `?org=` chooses it; otherwise it is the one chosen last in this browser. */

const KEY = "rclaude-org";

function kept(store: Storage): string | null {
  const org = store.getItem(KEY);
  return org && /^org_[0-9A-Za-z]+$/.test(org) ? org : null;
}

let chosen: string | null = null;

/** Read the choice: of the link, of this tab, of this browser. */
export function readOrg(): void {
  const named = new URL(window.location.href).searchParams.get("org");
  if (named && /^org_[0-9A-Za-z]+$/.test(named)) sessionStorage.setItem(KEY, named);
  chosen = kept(sessionStorage) ?? kept(localStorage);
}

export const currentOrg = (): string | null => chosen;

/** Act for an organisation from here on; null for the first of the person's. */
export function chooseOrg(org: string | null): void {
  chosen = org;
  for (const store of [sessionStorage, localStorage]) {
    if (org) store.setItem(KEY, org);
    else store.removeItem(KEY);
  }
}

/** A path with the organisation in it, for links that the browser follows by itself: downloads, the socket, shared links. */
export function withOrg(path: string): string {
  if (!chosen) return path;
  return `${path}${path.includes("?") ? "&" : "?"}org=${encodeURIComponent(chosen)}`;
}
