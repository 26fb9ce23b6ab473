/** What a link may fill in, by the names of the address. */
export interface Prefill {
  prompt?: string;
  agent?: string;
  repo?: string;
  ref?: string;
  model?: string;
  provider?: string;
  image?: string;
  network?: string;
  budget?: string;
  secrets?: string;
  permissions?: string;
  pr?: string;
  minutes?: string;
  labels?: string;
  continues?: string;
}
export const PREFILLS = ["prompt", "agent", "repo", "ref", "model", "provider", "image", "network", "budget", "secrets", "permissions", "pr", "minutes", "labels", "continues"] as const satisfies (keyof Prefill)[];
