import createClient, { type Middleware } from "openapi-fetch";
import { currentOrg } from "./org";
import type { components, paths } from "./schema";

type Schemas = components["schemas"];
export type Task = Schemas["TaskAnswer"];
export type TaskSummary = Schemas["TaskSummary"];
export type TaskEvent = Schemas["EventAnswer"];
export type TaskBill = Schemas["TaskBillAnswer"];
export type BillLine = Schemas["BillLine"];
export type BillEvent = Schemas["Evidence"];
export type State = TaskSummary["state"];
export type Invoice = Schemas["InvoiceSummary"];
export type Plan = Schemas["Plan"];
export type AuditEntry = Schemas["AuditEntry"];
export type Secret = Schemas["SecretAnswer"];
export type ModelCredential = Schemas["ModelAnswer"];
export type InstalledOrg = Schemas["InstalledOrg"];
export type Webhook = Schemas["WebhookAnswer"];
export type PermissionRequest = Schemas["PermissionAsked"];
export type PermissionDecision = Schemas["PermissionAnswerRequest"]["decision"];
export type Submission = Schemas["SubmitRequest"];
export type Schedule = Schemas["ScheduleAnswer"];
export type Batch = Schemas["BatchAnswer"];
export type BatchItem = Schemas["BatchItemAnswer"];
export type Ticket = Schemas["TicketAnswer"];
export type TicketMessage = Schemas["TicketMessageAnswer"];
export type Dimension = Schemas["UsageBreakdown"]["by"];

/** A refusal: RFC 9457 as the server answers it, or what the browser could not do. */
export class Problem extends Error {
  readonly status: number;
  readonly code: string;
  readonly more: Record<string, unknown>;

  constructor(status: number, code: string, detail: string, more: Record<string, unknown> = {}) {
    super(detail);
    this.status = status;
    this.code = code;
    this.more = more;
  }

  /** Whether asking again may help by itself. */
  get passing(): boolean {
    return this.status === 0 || this.status === 502 || this.status === 503;
  }
}

let csrf = "";

/** The token that the server wants with every request that changes something. */
export function setCsrf(token: string): void {
  csrf = token;
}

const protect: Middleware = {
  onRequest({ request }) {
    const org = currentOrg();
    if (org && !request.headers.has("Rclaude-Org")) request.headers.set("Rclaude-Org", org);
    if (csrf && request.method !== "GET" && request.method !== "HEAD") request.headers.set("X-CSRF-Token", csrf);
    return request;
  },
};

export const api = createClient<paths>({ baseUrl: window.location.origin, credentials: "same-origin" });
api.use(protect);

interface Answered<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** The data of an answer. Throws `Problem`. */
export async function data<T>(asked: Promise<Answered<T>>): Promise<T> {
  let answer: Answered<T>;
  try {
    answer = await asked;
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Problem(0, "unreachable", "The server does not answer. It may be stopped, or you may be offline.");
  }
  if (answer.response.ok) return answer.data as T;
  throw problemOf(answer.response.status, answer.error);
}

export function problemOf(status: number, body: unknown): Problem {
  if (typeof body === "object" && body !== null && "code" in body) {
    const { code, detail, ...more } = body as Record<string, unknown>;
    return new Problem(status, String(code), String(detail ?? "The request was refused."), more);
  }
  return new Problem(status, "unexpected_answer", `The server answered with ${status} and no reason.`);
}
