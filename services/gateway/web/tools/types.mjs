// Types of the API, out of its OpenAPI document: `npm run types`, after `make services/gateway/web/openapi.json`.
import { writeFile } from "node:fs/promises";
import openapiTS, { astToString } from "openapi-typescript";

const types = astToString(await openapiTS(new URL("../openapi.json", import.meta.url)));
await writeFile(new URL("../src/api/schema.d.ts", import.meta.url), types);
