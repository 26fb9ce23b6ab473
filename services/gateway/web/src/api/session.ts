import { useQuery, queryOptions } from "@tanstack/react-query";
import { api, data, setCsrf } from "./client";

export const session = queryOptions({
  queryKey: ["session"],
  staleTime: Number.POSITIVE_INFINITY,
  queryFn: async ({ signal }) => {
    const found = await data(api.GET("/v1/session", { signal }));
    setCsrf(found.csrf_token ?? "");
    return found;
  },
});

export function useSession() {
  return useQuery(session);
}
