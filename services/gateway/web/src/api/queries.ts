import { infiniteQueryOptions, QueryClient, queryOptions } from "@tanstack/react-query";
import { stream } from "@/live/stream";
import { api, data, type Dimension, Problem, type State, type Submission, type TaskSummary } from "./client";

export const client = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 5_000,
      retry: (failures, error) => error instanceof Problem && error.passing && failures < 4,
      retryDelay: (failures) => Math.min(400 * 2 ** failures, 5_000),
    },
  },
});

export interface Shown {
  state?: State[];
  agent?: string;
  q?: string;
}

export const LISTS = ["tasks"] as const;

export const tasks = (shown: Shown) =>
  infiniteQueryOptions({
    queryKey: [...LISTS, shown],
    initialPageParam: undefined as string | undefined,
    queryFn: ({ pageParam, signal, meta }) =>
      data(
        api.GET("/v1/tasks", {
          params: { query: { ...shown, limit: 100, cursor: pageParam, min_position: meta?.["position"] as number | undefined } },
          signal,
        }),
      ),
    getNextPageParam: (page) => page.next ?? undefined,
  });

/** A task, as new as `position` at least. */
export const task = (id: string, position?: number) =>
  queryOptions({
    queryKey: ["task", id],
    queryFn: ({ signal }) => data(api.GET("/v1/tasks/{task}", { params: { path: { task: id }, query: { min_position: position } }, signal })),
  });

export const taskEvents = (id: string) =>
  queryOptions({
    queryKey: ["task", id, "events"],
    queryFn: async ({ signal }) => {
      const events = [];
      let after: number | null = 0;
      while (after !== null) {
        const page: Awaited<ReturnType<typeof eventPage>> = await eventPage(id, after, signal);
        events.push(...page.events);
        after = page.next;
      }
      return events;
    },
  });

const eventPage = (task: string, after: number, signal: AbortSignal) =>
  data(api.GET("/v1/tasks/{task}/events", { params: { path: { task }, query: { after, limit: 200 } }, signal }));

type Kept = Partial<Pick<Submission, "image" | "model" | "network" | "patch_only" | "permission_mode" | "provider" | "secrets">>;
const KEPT = ["image", "model", "network", "patch_only", "permission_mode", "provider", "secrets"] as const satisfies (keyof Kept)[];

/** What a task that goes on with this one keeps of its submission, as `rclaude resume` does. */
export const kept = (id: string) =>
  queryOptions({
    queryKey: ["task", id, "kept"],
    staleTime: Number.POSITIVE_INFINITY,
    queryFn: async ({ signal }): Promise<Kept> => {
      const { events } = await data(api.GET("/v1/tasks/{task}/events", { params: { path: { task: id }, query: { limit: 1 } }, signal }));
      const submitted = events[0]?.data ?? {};
      return Object.fromEntries(KEPT.filter((name) => submitted[name]).map((name) => [name, submitted[name]]));
    },
  });

export const taskBill = (id: string, position?: number) =>
  queryOptions({
    queryKey: ["task", id, "bill"],
    queryFn: ({ signal }) =>
      data(api.GET("/v1/tasks/{task}/bill", { params: { path: { task: id }, query: { min_position: position } }, signal })),
  });

/** The links with which anyone may read a task. */
export const shares = (id: string) =>
  queryOptions({
    queryKey: ["task", id, "shares"],
    queryFn: ({ signal }) => data(api.GET("/v1/tasks/{task}/shares", { params: { path: { task: id } }, signal })),
  });

export const patch = (id: string) =>
  queryOptions({
    queryKey: ["task", id, "patch"],
    staleTime: Number.POSITIVE_INFINITY,
    queryFn: ({ signal }) =>
      data(api.GET("/v1/tasks/{task}/diff", { params: { path: { task: id } }, parseAs: "text", signal })),
  });

export const agents = queryOptions({
  queryKey: ["agents"],
  queryFn: ({ signal }) => data(api.GET("/v1/agents", { signal })),
});

export const usage = (period?: string) =>
  queryOptions({
    queryKey: ["usage", period],
    queryFn: ({ signal }) => data(api.GET("/v1/usage", { params: { query: { period } }, signal })),
  });

export const bill = (period?: string) =>
  queryOptions({
    queryKey: ["bill", period],
    queryFn: ({ signal }) => data(api.GET("/v1/bill", { params: { query: { period } }, signal })),
  });

export const keys = queryOptions({
  queryKey: ["keys"],
  queryFn: ({ signal }) => data(api.GET("/v1/keys", { signal })),
});

export const sessions = queryOptions({
  queryKey: ["sessions"],
  queryFn: ({ signal }) => data(api.GET("/v1/sessions", { signal })),
});

export const members = queryOptions({
  queryKey: ["members"],
  queryFn: ({ signal }) => data(api.GET("/v1/org/members", { signal })),
});

export const providers = queryOptions({
  queryKey: ["providers"],
  queryFn: ({ signal }) => data(api.GET("/v1/sign-in/providers", { signal })),
});

export const me = queryOptions({
  queryKey: ["me"],
  queryFn: ({ signal }) => data(api.GET("/v1/me", { signal })),
});

export const orgs = queryOptions({
  queryKey: ["orgs"],
  queryFn: ({ signal }) => data(api.GET("/v1/orgs", { signal })),
});

export const plans = queryOptions({
  queryKey: ["plans"],
  staleTime: 60_000,
  queryFn: ({ signal }) => data(api.GET("/v1/plans", { signal })),
});

export const invoices = queryOptions({
  queryKey: ["invoices"],
  queryFn: ({ signal }) => data(api.GET("/v1/invoices", { signal })),
});

export const invoice = (id: string) =>
  queryOptions({
    queryKey: ["invoices", id],
    queryFn: ({ signal }) => data(api.GET("/v1/invoices/{invoice}", { params: { path: { invoice: id } }, signal })),
  });

export const usageBy = (dimension: Dimension, last: number) =>
  queryOptions({
    queryKey: ["usage", "by", dimension, last],
    queryFn: ({ signal }) =>
      data(api.GET("/v1/usage/by/{dimension}", { params: { path: { dimension }, query: { last, limit: 1000 } }, signal })),
  });

const MOST_PAGES = 10;

/** The tasks that were submitted in the last days, newest first, `complete` unless there are more than are worth a page's while. */
export const tasksOf = (last: number) =>
  queryOptions({
    queryKey: [...LISTS, "of", last],
    staleTime: 30_000,
    queryFn: async ({ signal }) => {
      const since = new Date(Date.now() - last * 86_400_000).toISOString();
      const found: TaskSummary[] = [];
      let cursor: string | undefined;
      for (let at = 0; at < MOST_PAGES; at++) {
        const page: Awaited<ReturnType<typeof taskPage>> = await taskPage(cursor, signal);
        found.push(...page.tasks.filter(({ submitted_at }) => submitted_at >= since));
        cursor = page.next ?? undefined;
        if (cursor === undefined || (page.tasks.at(-1)?.submitted_at ?? "") < since) return { tasks: found, complete: true };
      }
      return { tasks: found, complete: false };
    },
  });

/** Every task with a label (`name` or `name:value`), the newest first, bounded as above. */
export const labelled = (label: string) =>
  queryOptions({
    queryKey: [...LISTS, "labelled", label],
    queryFn: async ({ signal }) => {
      const found: TaskSummary[] = [];
      let cursor: string | undefined;
      for (let at = 0; at < MOST_PAGES; at++) {
        const page: Awaited<ReturnType<typeof taskPage>> = await taskPage(cursor, signal, label);
        found.push(...page.tasks);
        cursor = page.next ?? undefined;
        if (cursor === undefined) break;
      }
      return found;
    },
  });

/** Batches, the newest first, a page at a time. */
export const batches = infiniteQueryOptions({
  queryKey: [...LISTS, "batches"],
  initialPageParam: undefined as string | undefined,
  queryFn: ({ pageParam, signal }) => data(api.GET("/v1/batches", { params: { query: { limit: 50, cursor: pageParam, min_position: stream.position } }, signal })),
  getNextPageParam: (page) => page.next ?? undefined,
});

export const batch = (id: string, position?: number) =>
  queryOptions({
    queryKey: [...LISTS, "batches", id],
    queryFn: ({ signal }) => data(api.GET("/v1/batches/{batch}", { params: { path: { batch: id }, query: { min_position: Math.max(position ?? 0, stream.position) } }, signal })),
  });

export const batchBill = (id: string) =>
  queryOptions({
    queryKey: [...LISTS, "batches", id, "bill"],
    queryFn: ({ signal }) => data(api.GET("/v1/batches/{batch}/bill", { params: { path: { batch: id } }, signal })),
  });

export const tickets = queryOptions({
  queryKey: ["tickets"],
  queryFn: ({ signal }) => data(api.GET("/v1/org/tickets", { params: { query: { limit: 200 } }, signal })),
});

/** A ticket with its messages, as new as `position` at least. */
export const ticket = (id: string, position?: number) =>
  queryOptions({
    queryKey: ["tickets", id],
    queryFn: ({ signal }) => data(api.GET("/v1/org/tickets/{ticket}", { params: { path: { ticket: id }, query: { min_position: position } }, signal })),
  });

/** Tickets of every organisation, for the operator: the open ones, or the closed ones. */
export const everyTicket = (closed: boolean) =>
  queryOptions({
    queryKey: ["installation", "tickets", closed],
    queryFn: ({ signal }) => data(api.GET("/v1/support/tickets", { params: { query: { closed, limit: 200 } }, signal })),
  });

export const anyTicket = (id: string, position?: number) =>
  queryOptions({
    queryKey: ["installation", "tickets", "one", id],
    queryFn: ({ signal }) => data(api.GET("/v1/support/tickets/{ticket}", { params: { path: { ticket: id }, query: { min_position: position } }, signal })),
  });

const taskPage = (cursor: string | undefined, signal: AbortSignal, label?: string) =>
  data(api.GET("/v1/tasks", { params: { query: { limit: 200, cursor, label: label ? [label] : undefined } }, signal }));

export const secrets = queryOptions({
  queryKey: ["secrets"],
  queryFn: ({ signal }) => data(api.GET("/v1/org/secrets", { signal })),
});

export const models = queryOptions({
  queryKey: ["models"],
  queryFn: ({ signal }) => data(api.GET("/v1/org/models", { signal })),
});

export const teams = queryOptions({
  queryKey: ["teams"],
  queryFn: ({ signal }) => data(api.GET("/v1/org/teams", { signal })),
});

export const serviceAccounts = queryOptions({
  queryKey: ["service-accounts"],
  queryFn: ({ signal }) => data(api.GET("/v1/org/service-accounts", { signal })),
});

export const webhooks = queryOptions({
  queryKey: ["webhooks"],
  queryFn: ({ signal }) => data(api.GET("/v1/webhooks", { signal })),
});

export const schedules = queryOptions({
  queryKey: ["schedules"],
  queryFn: ({ signal }) => data(api.GET("/v1/schedules", { signal })),
});

export const parked = queryOptions({
  queryKey: ["installation", "parked"],
  queryFn: ({ signal }) => data(api.GET("/v1/status/parked", { signal })),
});

export const conservation = queryOptions({
  queryKey: ["installation", "conservation"],
  staleTime: 60_000,
  queryFn: ({ signal }) => data(api.GET("/v1/billing/conservation", { signal })),
});

const orgPage = (after: string, signal: AbortSignal) => data(api.GET("/v1/orgs/all", { params: { query: { after, limit: 200 } }, signal }));
const accountPage = (after: string, signal: AbortSignal) => data(api.GET("/v1/billing/accounts", { params: { query: { after, limit: 200 } }, signal }));

export const everyOrg = queryOptions({
  queryKey: ["installation", "orgs"],
  queryFn: async ({ signal }) => {
    const found = [];
    for (let after: string | null = ""; after !== null; ) {
      const page: Awaited<ReturnType<typeof orgPage>> = await orgPage(after, signal);
      found.push(...page.orgs);
      after = page.next;
    }
    return found;
  },
});

export const accounts = queryOptions({
  queryKey: ["installation", "accounts"],
  queryFn: async ({ signal }) => {
    const found = [];
    for (let after: string | null = ""; after !== null; ) {
      const page: Awaited<ReturnType<typeof accountPage>> = await accountPage(after, signal);
      found.push(...page.accounts);
      after = page.next;
    }
    return found;
  },
});
