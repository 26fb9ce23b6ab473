/** Everything that is kept about a person as one ZIP archive, laid out as `rclaude account export` does. */

import { strToU8, zipSync } from "fflate";
import { api, data, problemOf, Problem } from "./client";

type Files = Record<string, Uint8Array>;

const json = (content: unknown): Uint8Array => strToU8(JSON.stringify(content, null, 1));
const lines = (documents: readonly unknown[]): Uint8Array => strToU8(documents.map((one) => `${JSON.stringify(one)}\n`).join(""));

/** The archive. What the person's role may not read is left out, and named in `left-out.json`. Throws `Problem`. */
export async function collectExport(): Promise<Blob> {
  const me = await data(api.GET("/v1/me"));
  const { orgs } = await data(api.GET("/v1/orgs"));
  const files: Files = {
    "profile.json": json(me),
    "organisations.json": json(orgs),
    "identities.json": json((await data(api.GET("/v1/identities"))).identities),
    "sessions.json": json((await data(api.GET("/v1/sessions"))).sessions),
  };
  const leftOut: Record<string, string> = {};
  for (const { id } of orgs) {
    try {
      Object.assign(files, await filesOf(id, me.user));
    } catch (error) {
      if (!(error instanceof Problem) || error.status !== 403) throw error;
      leftOut[id] = error.message;
    }
  }
  if (Object.keys(leftOut).length > 0) files["left-out.json"] = json(leftOut);
  return new Blob([zipSync(files, { level: 6 }) as BlobPart], { type: "application/zip" });
}

/** What a person has in an organisation. */
async function filesOf(org: string, user: string): Promise<Files> {
  const headers = { "Rclaude-Org": org };
  const teams = await data(api.GET("/v1/org/teams", { headers }));
  const keys = await data(api.GET("/v1/keys", { headers }));
  const secrets = await data(api.GET("/v1/org/secrets", { headers }));
  const schedules = await data(api.GET("/v1/schedules", { headers }));
  const triggers = await data(api.GET("/v1/triggers", { headers }));
  const batches = await pages((cursor) => data(api.GET("/v1/batches", { headers, params: { query: { limit: 200, cursor } } })), ({ batches }) => batches);
  const tasks = await pages((cursor) => data(api.GET("/v1/tasks", { headers, params: { query: { limit: 200, cursor, submitted_by: user } } })), ({ tasks }) => tasks);
  const files: Files = {
    [`${org}/teams.json`]: json(teams.teams.filter(({ members }) => members.some((member) => member.user === user))),
    [`${org}/keys.json`]: json(keys.keys.filter((key) => key.user === user)),
    [`${org}/secrets.json`]: json(secrets.secrets.filter(({ of }) => of === "person")),
    [`${org}/schedules.json`]: json(schedules.schedules.filter(({ created_by }) => created_by === user)),
    [`${org}/triggers.json`]: json(triggers.triggers.filter(({ created_by }) => created_by === user)),
    [`${org}/batches.json`]: json(batches.filter(({ created_by }) => created_by === user)),
  };
  const whole = [];
  for (const { id } of tasks) {
    const path = { task: id };
    const task = await data(api.GET("/v1/tasks/{task}", { headers, params: { path } }));
    whole.push(task);
    Object.assign(files, await filesOfTask(org, id));
    if (task.result?.bundle) files[`${org}/tasks/${id}/result.bundle`] = await download(`/v1/tasks/${id}/bundle`, headers);
  }
  files[`${org}/tasks.jsonl`] = lines(whole);
  return files;
}

/** What a task has left: its output, frame by frame, and its events. */
async function filesOfTask(org: string, task: string): Promise<Files> {
  const headers = { "Rclaude-Org": org };
  const path = { task };
  const frames: unknown[] = [];
  for (let after = "0.0", more = true; more; ) {
    const page: { frames: unknown[]; next: string; more: boolean } = await data(api.GET("/v1/tasks/{task}/output", { headers, params: { path, query: { after, limit: 1000 } } }));
    frames.push(...page.frames);
    ({ next: after, more } = page);
  }
  const events: unknown[] = [];
  for (let after: number | null = 0; after !== null; ) {
    const page: { events: unknown[]; next: number | null } = await data(api.GET("/v1/tasks/{task}/events", { headers, params: { path, query: { after, limit: 200 } } }));
    events.push(...page.events);
    after = page.next;
  }
  return { [`${org}/tasks/${task}/output.jsonl`]: lines(frames), [`${org}/tasks/${task}/events.jsonl`]: lines(events) };
}

/** Every entry of a list that comes in pages. */
async function pages<Page extends { next: string | null }, Entry>(read: (cursor: string | undefined) => Promise<Page>, entries: (page: Page) => Entry[]): Promise<Entry[]> {
  const found: Entry[] = [];
  let cursor: string | undefined;
  do {
    const page = await read(cursor);
    found.push(...entries(page));
    cursor = page.next ?? undefined;
  } while (cursor !== undefined);
  return found;
}

async function download(path: string, headers: Record<string, string>): Promise<Uint8Array> {
  const answer = await fetch(path, { headers });
  if (!answer.ok) throw problemOf(answer.status, await answer.json().catch(() => null));
  return new Uint8Array(await answer.arrayBuffer());
}
