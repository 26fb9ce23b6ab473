import { api, data, Problem, type TaskSummary } from "./client";

/** What the API knows of the person and of the organisation that the page acts for, as one JSON text. What they may not read is left out. */
export async function collectExport(): Promise<string> {
  const parts: Record<string, () => Promise<unknown>> = {
    person: () => data(api.GET("/v1/me")),
    identities: () => data(api.GET("/v1/identities")),
    sessions: () => data(api.GET("/v1/sessions")),
    organisations: () => data(api.GET("/v1/orgs")),
    members: () => data(api.GET("/v1/org/members")),
    keys: () => data(api.GET("/v1/keys")),
    secrets: () => data(api.GET("/v1/org/secrets")),
    schedules: () => data(api.GET("/v1/schedules")),
    tasks: everyTask,
    usage: () => data(api.GET("/v1/usage")),
    bill: () => data(api.GET("/v1/bill")),
    invoices: () => data(api.GET("/v1/invoices")),
  };
  const found: Record<string, unknown> = { exported_at: new Date().toISOString() };
  for (const [name, read] of Object.entries(parts)) {
    try {
      found[name] = await read();
    } catch (error) {
      if (!(error instanceof Problem) || error.passing) throw error;
    }
  }
  return JSON.stringify(found, null, 2);
}

async function everyTask(): Promise<TaskSummary[]> {
  const found: TaskSummary[] = [];
  let cursor: string | undefined;
  do {
    const page: Awaited<ReturnType<typeof onePage>> = await onePage(cursor);
    found.push(...page.tasks);
    cursor = page.next ?? undefined;
  } while (cursor !== undefined);
  return found;
}

const onePage = (cursor: string | undefined) => data(api.GET("/v1/tasks", { params: { query: { limit: 200, cursor } } }));
