/** What a link for reading opens. The secret is what follows `#` in the address; it is sent as a header and nowhere else. */

import { queryOptions } from "@tanstack/react-query";
import { api, data } from "@/api/client";
import { client } from "@/api/queries";
import type { components } from "@/api/schema";
import { isActive } from "@/ui/states";
import type { Frame, Watcher } from "./stream";
import type { Source } from "./transcript";

export type SharedTask = components["schemas"]["SharedTask"];

const PAUSE_MS = 2_000;
const FRAMES = 1_000;

const headers = () => ({ "Rclaude-Share": window.location.hash.slice(1) });

export const sharedTask = (share: string) =>
  queryOptions({
    queryKey: ["shared", share],
    queryFn: ({ signal }) => data(api.GET("/v1/shared/{share}", { params: { path: { share } }, headers: headers(), signal })),
    refetchInterval: ({ state }) => (state.data && !isActive(state.data.state) ? false : PAUSE_MS),
  });

export const sharedPatch = (share: string) =>
  queryOptions({
    queryKey: ["shared", share, "patch"],
    staleTime: Number.POSITIVE_INFINITY,
    queryFn: ({ signal }) =>
      data(api.GET("/v1/shared/{share}/diff", { params: { path: { share } }, headers: headers(), parseAs: "text", signal })),
  });

/** Reads the output again and again until it is complete: a link has no live stream. */
export class SharedSource implements Source {
  constructor(private readonly share: string) {}

  watch(task: string, watcher: Watcher): () => void {
    const ended = new AbortController();
    void this.read(task, watcher, ended.signal);
    return () => ended.abort();
  }

  private async read(task: string, watcher: Watcher, signal: AbortSignal): Promise<void> {
    let after = "0.0";
    while (!signal.aborted) {
      try {
        const page = await data(
          api.GET("/v1/shared/{share}/output", { params: { path: { share: this.share }, query: { after, limit: FRAMES } }, headers: headers(), signal }),
        );
        if (signal.aborted) return;
        for (const frame of page.frames) {
          const [attempt = 1, first = 1] = frame.cursor.split(".").map(Number);
          watcher.onOutput({ type: "output", task, attempt, first, cursor: frame.cursor, frames: [frame as unknown as Frame] });
        }
        after = page.next;
        if (page.complete) {
          const { state } = await client.fetchQuery({ ...sharedTask(this.share), staleTime: 0 });
          watcher.onEnd({ type: "end", task, state, cursor: after });
          return;
        }
        if (page.more) continue;
      } catch {
        // The page's own query says what is wrong; this one is tried again.
      }
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  }
}
