// Encodes the image in the second argument (base64) by the service at the first, decodes its bitstream, and asks for a
// model that there is not. It prints what it got as JSON.

import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

declare const process: { argv: string[] };

const [, , baseUrl, image] = process.argv;
const client = createClient<paths, "application/json" | "application/problem+json">({ baseUrl });

// openapi-typescript takes a binary body for a string; openapi-fetch sends what the serializer gives.
function binary(base64: string): { body: string; bodySerializer: () => Uint8Array } {
  return { body: "", bodySerializer: () => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0)) };
}

const encoded = await client.POST("/encode", {
  ...binary(image),
  params: { query: { fit: "strict" } },
  headers: { "Content-Type": "image/png", Accept: "application/json" },
});
if (encoded.error) throw new Error(encoded.error.detail);
const code: components["schemas"]["ImageCode"] = encoded.data;

const decoded = await client.POST("/decode", {
  ...binary(code.bitstream),
  headers: { "Content-Type": "application/octet-stream", Accept: "image/png" },
  parseAs: "arrayBuffer",
});
if (decoded.error) throw new Error(decoded.error.detail);

const unknown = await client.GET("/models/{name}", { params: { path: { name: "nobody" } } });

// Never called: it does not compile unless the types know the values of the parameter.
export function misspell(): unknown {
  // @ts-expect-error
  return client.POST("/encode", { ...binary(image), params: { query: { fit: "strech" } } });
}

console.log(
  JSON.stringify({
    model: encoded.data.model,
    bytes: code.bitstream_bytes,
    header: encoded.response.headers.get("Latentwire-Model"),
    decoded: Array.from(new Uint8Array(decoded.data).slice(0, 4)),
    problem: unknown.error?.code,
  }),
);
