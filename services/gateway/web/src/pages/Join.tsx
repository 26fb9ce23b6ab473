import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { api, data } from "@/api/client";
import { Button } from "@/ui/controls";
import { Empty } from "@/ui/states";
import { toast } from "@/ui/toast";

export interface JoinSearch {
  token?: string;
}

/** Where the link of an invitation leads. */
export function Join() {
  const { token } = useSearch({ strict: false }) as JoinSearch;
  const navigate = useNavigate();
  const cache = useQueryClient();
  const accept = useMutation({
    mutationFn: () => data(api.POST("/v1/invitations/accept", { body: { token: token ?? "" } })),
    onSuccess: async () => {
      await cache.invalidateQueries();
      toast("You have joined the organisation.");
      void navigate({ to: "/settings/members" });
    },
  });
  return (
    <Empty
      title="Join an organisation"
      action={<Button look="primary" disabled={!token} busy={accept.isPending} onClick={() => accept.mutate()}>Accept the invitation</Button>}
    >
      {accept.error ? <span role="alert" className="text-bad">{accept.error.message}</span> : "You have been invited. Its members see the tasks that you run there."}
    </Empty>
  );
}
