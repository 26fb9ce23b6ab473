/** The one WebSocket of the page. It comes back by itself; every watch resumes after the last frame that it has. */

import type { State } from "@/api/client";
import { withOrg } from "@/api/org";

export interface Frame {
  kind: string;
  at: string;
  [field: string]: unknown;
}

interface StateMessage {
  type: "state";
  task: string;
  state: State;
  reason: string | null;
  attempt: number;
  position: number;
  /** Permission requests of the agent that nobody has answered. */
  permissions: string[];
}
interface OutputMessage {
  type: "output";
  task: string;
  attempt: number;
  first: number;
  cursor: string;
  frames: Frame[];
}
interface EndMessage {
  type: "end";
  task: string;
  state: State;
  cursor: string;
}
type TaskMessage = StateMessage | OutputMessage | EndMessage;
type Message =
  | TaskMessage
  | { type: "changed"; tasks: string[] | null; position: number }
  | { type: "batch"; batch: string; position: number }
  | { type: "ended"; tasks: { task: string; state: State; position: number }[]; position: number }
  | { type: "heartbeat"; position: number }
  | { type: "error"; code: string; status: number; detail: string; task?: string };

export type Connection = "connecting" | "live" | "lost";
export interface Watcher {
  onState(message: StateMessage): void;
  onOutput(message: OutputMessage): void;
  onEnd(message: EndMessage): void;
  onError(code: string, detail: string): void;
}

const SILENCE_MS = 15_000;
const FIRST_PAUSE_MS = 300;
const LONGEST_PAUSE_MS = 8_000;
const UNAUTHENTICATED = 4401;

class Stream {
  private socket: WebSocket | null = null;
  private pause = FIRST_PAUSE_MS;
  private retry: number | undefined;
  private silence: number | undefined;
  private readonly watches = new Map<string, { watcher: Watcher; cursor: string | null }>();
  private readonly followers = new Set<(tasks: string[] | null, position: number) => void>();
  private readonly listeners = new Set<() => void>();
  private wanted = false;
  onSignedOut: () => void = () => {};
  connection: Connection = "connecting";
  /** Of the newest change that the page was told of. */
  position = 0;

  start(): void {
    if (this.wanted) return;
    this.wanted = true;
    this.open();
    window.addEventListener("online", this.soon);
    document.addEventListener("visibilitychange", this.soon);
  }

  stop(): void {
    this.wanted = false;
    window.clearTimeout(this.retry);
    window.removeEventListener("online", this.soon);
    document.removeEventListener("visibilitychange", this.soon);
    this.socket?.close();
    this.socket = null;
  }

  /** Watch a task from its first frame on. Returns what ends the watch. */
  watch(task: string, watcher: Watcher): () => void {
    const watch = { watcher, cursor: null };
    this.watches.set(task, watch);
    this.send({ type: "subscribe", task });
    return () => {
      if (this.watches.get(task) === watch) {
        this.watches.delete(task);
        this.send({ type: "unsubscribe", task });
      }
    };
  }

  /** Be told which tasks of the organisation change; null for many at once, none when a connection begins. */
  follow(follower: (tasks: string[] | null, position: number) => void): () => void {
    if (this.followers.size === 0) this.send({ type: "follow" });
    this.followers.add(follower);
    return () => {
      this.followers.delete(follower);
      if (this.followers.size === 0) this.send({ type: "unfollow" });
    };
  }

  subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  private readonly soon = (): void => {
    if (this.socket === null && document.visibilityState === "visible") {
      this.pause = FIRST_PAUSE_MS;
      window.clearTimeout(this.retry);
      this.open();
    }
  };

  private open(): void {
    if (!this.wanted || this.socket !== null) return;
    const url = new URL(withOrg("/v1/stream"), window.location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(url);
    this.socket = socket;
    socket.onopen = () => {
      this.heard();
      if (this.followers.size > 0) this.send({ type: "follow" });
      for (const [task, { cursor }] of this.watches) this.send({ type: "subscribe", task, after: cursor });
      this.send({ type: "ping" });
    };
    socket.onmessage = (event: MessageEvent<string>) => {
      this.heard();
      this.receive(JSON.parse(event.data) as Message);
    };
    socket.onclose = (event) => this.closed(socket, event.code);
  }

  private heard(): void {
    window.clearTimeout(this.silence);
    this.silence = window.setTimeout(() => this.socket && this.closed(this.socket, 0), SILENCE_MS);
  }

  private closed(socket: WebSocket, code: number): void {
    if (this.socket !== socket) return;
    window.clearTimeout(this.silence);
    socket.onmessage = null;
    socket.onclose = null;
    socket.close();
    this.socket = null;
    if (!this.wanted) return;
    if (code === UNAUTHENTICATED) {
      this.stop();
      this.onSignedOut();
      return;
    }
    this.become("lost");
    this.retry = window.setTimeout(() => this.open(), this.pause * (0.7 + 0.6 * Math.random()));
    this.pause = Math.min(this.pause * 2, LONGEST_PAUSE_MS);
  }

  private receive(message: Message): void {
    if (message.type !== "error") {
      this.pause = FIRST_PAUSE_MS;
      this.become("live");
    }
    switch (message.type) {
      case "changed":
      case "batch":
        this.position = Math.max(this.position, message.position);
        for (const follower of this.followers) follower(message.type === "changed" ? message.tasks : null, message.position);
        return;
      case "ended": // `changed` has said so too
      case "heartbeat":
        return;
      case "error":
        if (message.task) this.watches.get(message.task)?.watcher.onError(message.code, message.detail);
        return;
    }
    const watch = this.watches.get(message.task);
    if (!watch) return;
    if (message.type === "state") watch.watcher.onState(message);
    else if (message.type === "output") {
      watch.cursor = message.cursor;
      watch.watcher.onOutput(message);
    } else {
      watch.watcher.onEnd(message);
      this.watches.delete(message.task);
    }
  }

  private send(message: object): void {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  private become(connection: Connection): void {
    if (this.connection === connection) return;
    this.connection = connection;
    for (const listener of this.listeners) listener();
  }
}

export const stream = new Stream();
