import { infiniteQueryOptions, QueryClient, queryOptions } from "@tanstack/react-query";
import { api, data, Problem, type State } from "./client";

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

export const task = (id: string) =>
  queryOptions({
    queryKey: ["task", id],
    queryFn: ({ signal }) => data(api.GET("/v1/tasks/{task}", { params: { path: { task: id } }, signal })),
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

export const taskBill = (id: string, position?: number) =>
  queryOptions({
    queryKey: ["task", id, "bill"],
    queryFn: ({ signal }) =>
      data(api.GET("/v1/tasks/{task}/bill", { params: { path: { task: id }, query: { min_position: position } }, signal })),
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
