import { useQuery, queryOptions } from "@tanstack/react-query";
import { api, data, setCsrf } from "./client";
import { chooseOrg, currentOrg } from "./org";

export const session = queryOptions({
  queryKey: ["session"],
  staleTime: Number.POSITIVE_INFINITY,
  queryFn: async ({ signal }) => {
    const found = await data(api.GET("/v1/session", { signal }));
    setCsrf(found.csrf_token ?? "");
    // An organisation that the person is no longer in is answered like one that never was.
    const chosen = currentOrg();
    if (chosen && !found.memberships.some(({ org }) => org === chosen)) chooseOrg(null);
    return found;
  },
});

/** Whether a page needs nobody to be signed in. */
export const isOpen = (path: string): boolean => path.startsWith("/shared/");

export function useSession() {
  return useQuery(session);
}

/** What the person may do here. Whether it is done is decided by the server; this hides what it would refuse. */
export function useRights() {
  const { data: found } = useSession();
  const role = found?.role ?? null;
  return {
    manages: role === "owner" || role === "admin",
    owns: role === "owner",
    pays: role === "owner" || role === "admin" || role === "billing",
    operates: found?.scopes.includes("operations") ?? false,
  };
}
