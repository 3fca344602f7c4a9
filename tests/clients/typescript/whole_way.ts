// The whole way by openapi-fetch with the types that openapi-typescript makes: whole_way.js URL CATALOG [KEY].
// As tests/clients/python/whole_way.py; ids are beyond what JavaScript's numbers can hold, and must come back as they went.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { setTimeout } from "node:timers/promises";
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

type Schemas = components["schemas"];
interface Catalog {
  collection: Schemas["CreateCollectionRequest"];
  indexes: Schemas["IndexBody"][];
  segments: Schemas["SegmentBody"][];
}

const [url, file, key] = process.argv.slice(2);
assert(url && file);
const catalog: Catalog = JSON.parse(readFileSync(file, "utf8"));
const client = createClient<paths>({ baseUrl: url, headers: key === undefined ? {} : { authorization: `Bearer ${key}` } });
if (key !== undefined) {
  const stranger = await createClient<paths>({ baseUrl: url }).GET("/v1/snapshots");
  assert.equal(stranger.response.status, 401);
}

function ok<T>(answer: { data?: T | undefined; error?: unknown }): T {
  assert(answer.data !== undefined, JSON.stringify(answer.error));
  return answer.data;
}

const collection = ok(await client.POST("/v1/collections", { body: catalog.collection }));
const id = catalog.collection.collection_id;
assert(id && !Number.isSafeInteger(Number(id)), "an id that a number can't hold");
assert.equal(collection.collection_id, id);
const collection_name = collection.name;
for (const index of catalog.indexes) {
  ok(await client.POST("/v1/collections/{collection_name}/indexes", { params: { path: { collection_name } }, body: index }));
}
const registered = ok(
  await client.POST("/v1/collections/{collection_name}/segments:batch", {
    params: { path: { collection_name } },
    body: { segments: catalog.segments },
  }),
);
assert.equal(registered.file_count, 48);
for (const { segment_id } of catalog.segments) {
  const path = { collection_name, segment_id };
  const segment = ok(await client.GET("/v1/collections/{collection_name}/segments/{segment_id}", { params: { path } }));
  assert.equal(segment.segment_id, segment_id);
}

const request = {
  params: { header: { "idempotency-key": "typescript-1" } },
  body: { collection_name, snapshot_name: "by_typescript" },
};
const snapshot = ok(await client.POST("/v1/snapshots", request));
assert.equal(ok(await client.POST("/v1/snapshots", request)).snapshot_id, snapshot.snapshot_id);
const refused = await client.POST("/v1/snapshots", { body: request.body });
assert.equal(refused.error?.code, "snapshot_already_exists");

const path = { snapshot_name: "by_typescript" };
const seen = await client.GET("/v1/snapshots/{snapshot_name}", { params: { path } });
const tag = seen.response.headers.get("etag");
assert(tag);
const unchanged = await client.GET("/v1/snapshots/{snapshot_name}", { params: { path, header: { "if-none-match": tag } } });
assert.equal(unchanged.response.status, 304);
const stale = await client.PATCH("/v1/snapshots/{snapshot_name}", {
  params: { path, header: { "if-match": '"stale"' } },
  body: { labels: { by: "typescript" } },
});
assert.equal(stale.error?.code, "precondition_failed");

let job = ok(
  await client.POST("/v1/snapshots/{snapshot_name}/restore", { params: { path }, body: { collection_name: "from_typescript" } }),
);
for (let n = 0; !["Completed", "Failed", "Cancelled"].includes(job.state); n++) {
  assert(n < 600, JSON.stringify(job));
  await setTimeout(100);
  job = ok(await client.GET("/v1/restore-jobs/{job_id}", { params: { path: { job_id: job.job_id } } }));
}
assert.equal(job.state, "Completed", job.reason);
const restored = ok(
  await client.GET("/v1/collections/{collection_name}", { params: { path: { collection_name: "from_typescript" } } }),
);
assert.equal(restored.num_of_rows, 9000);

const dropped = await client.DELETE("/v1/snapshots/{snapshot_name}", { params: { path } });
assert.equal(dropped.response.status, 204);
for (const name of [collection_name, "from_typescript"]) {
  const gone = await client.DELETE("/v1/collections/{collection_name}", { params: { path: { collection_name: name } } });
  assert.equal(gone.response.status, 204);
}
