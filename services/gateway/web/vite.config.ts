import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import tailwindcss from "@tailwindcss/vite";
import react from "@vitejs/plugin-react";
import { defineConfig, type ProxyOptions } from "vite";
import { packaged } from "./tools/packaged.ts";

const server = process.env["RCLAUDE_URL"] ?? "http://127.0.0.1:8080";

// Development only: `npm run dev` talks to a running server with the owner's key, so that no sign-in is needed.
function asOwner(): ProxyOptions {
  const file = process.env["RCLAUDE_API_KEY_FILE"];
  const headers = file ? { authorization: `Bearer ${readFileSync(file, "utf8").trim()}` } : {};
  return { target: server, changeOrigin: true, ws: true, headers };
}

export default defineConfig({
  plugins: [react(), tailwindcss(), packaged()],
  resolve: { alias: { "@": fileURLToPath(new URL("src", import.meta.url)) } },
  server: { host: "127.0.0.1", proxy: { "/v1": asOwner() } },
  build: {
    outDir: "../src/remote_claude/gateway/dashboard/static",
    emptyOutDir: true,
    target: "es2022",
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    reportCompressedSize: false,
  },
});
