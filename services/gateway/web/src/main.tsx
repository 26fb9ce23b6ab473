import { QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { readOrg } from "./api/org";
import { client } from "./api/queries";
import { isOpen, session } from "./api/session";
import { router } from "./router";
import { applyTheme } from "./shell/theme";
import "./styles.css";

applyTheme();
readOrg();
if (!isOpen(window.location.pathname)) void client.prefetchQuery(session);
const root = document.getElementById("root");
if (root) {
  createRoot(root).render(
    <StrictMode>
      <QueryClientProvider client={client}>
        <RouterProvider router={router} />
      </QueryClientProvider>
    </StrictMode>,
  );
}
