/** What the address of the list of tasks says. */

const FILTERS = ["all", "active", "succeeded", "failed"] as const;
export type Filter = (typeof FILTERS)[number];
export interface TaskSearch {
  q?: string;
  show?: Filter;
}

export const filterOf = (text: unknown): Filter | undefined => FILTERS.find((name) => name === text && name !== "all");
