// After a build: files in Brotli and gzip beside the plain ones, and `sources.json` with the hash of what they were built from.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join, relative, resolve, sep } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import type { Plugin } from "vite";

const COMPRESSED = /\.(js|css|html|svg)$/;
const NOT_SOURCES = new Set(["node_modules", "openapi.json", "src/api/schema.d.ts", "README.md"]);

export function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((name) => statSync(join(folder, name)).isFile())
    .map((name) => name.split(sep).join("/"))
    .sort();
}

/** SHA-256 over every source's path and content, in the order of the paths. */
export function hashOfSources(root: string): string {
  const hash = createHash("sha256");
  const isSource = (path: string) =>
    ![...NOT_SOURCES].some((left) => path === left || path.startsWith(`${left}/`));
  const top = readdirSync(root).filter(isSource);
  const paths = top.flatMap((name) =>
    statSync(join(root, name)).isFile() ? [name] : filesBelow(join(root, name)).map((below) => `${name}/${below}`),
  );
  for (const path of paths.filter(isSource).sort()) {
    const content = createHash("sha256").update(readFileSync(join(root, path))).digest("hex");
    hash.update(`${path}\n${content}\n`);
  }
  return hash.digest("hex");
}

export function packaged(): Plugin {
  let root = "";
  let out = "";
  return {
    name: "packaged",
    apply: "build",
    configResolved(config) {
      root = config.root;
      out = resolve(config.root, config.build.outDir);
    },
    closeBundle() {
      for (const name of filesBelow(out).filter((name) => COMPRESSED.test(name))) {
        const path = join(out, name);
        const content = readFileSync(path);
        const params = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: content.length };
        writeFileSync(`${path}.br`, brotliCompressSync(content, { params }));
        writeFileSync(`${path}.gz`, gzipSync(content, { level: 9 }));
      }
      const sources = { sha256: hashOfSources(root) };
      writeFileSync(join(out, "sources.json"), `${JSON.stringify(sources)}\n`);
      console.log(`built from ${sources.sha256}, in ${relative(process.cwd(), out)}`);
    },
  };
}
