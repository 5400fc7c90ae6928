// Lookups through a pooler that gives each statement to another server process, none of which knows what was prepared on the others.

import { startPgBouncer } from "@rollcall/conformance/containers";
import { type ContextHashes, contextHash, type Fence, type SegmentKey, shardOf } from "@rollcall/core";
import pg from "pg";
import { expect, it } from "vitest";
import { createPostgresStore, type PostgresClient } from "./index.js";
import { dropSchema, newSchema, SERVER, urlOf } from "./place.test-setup.js";

const fence: Fence = { segmentKey: "people" as SegmentKey, generation: 1, holder: "writer", token: 1 };
const ada = contextHash("ada") as ContextHashes;
const LOOKUPS = 200;

it("go on where the server forgets what was prepared, and go unprepared from then on", async () => {
  const schema = newSchema();
  const bouncer = await startPgBouncer(SERVER as Parameters<typeof startPgBouncer>[0], { poolSize: 3 });
  const pool = new pg.Pool({ connectionString: urlOf(schema, { at: bouncer }).replace(/\?.*/, ""), max: 6 });
  pool.on("error", () => {});
  let named = 0;
  const client: PostgresClient = {
    query(query) {
      if (query.name !== undefined) named++;
      return pool.query(query as pg.QueryConfig);
    },
  };
  try {
    const store = createPostgresStore(client, { schema });
    await store.open();
    const set = await store.allocateMemberSet(4, fence);
    await store.writeBlocks(set, [{ shard: shardOf(ada, 0, 4), adds: ada, removes: new Uint8Array() }], fence);
    const ask = () => Promise.all(Array.from({ length: LOOKUPS }, () => store.findMemberSets(ada, [set])));
    expect(await ask()).toEqual(Array(LOOKUPS).fill([[set.id]]));
    expect(named).toBeGreaterThan(0);
    const before = named;
    expect(await ask()).toEqual(Array(LOOKUPS).fill([[set.id]]));
    expect(named).toBe(before);
  } finally {
    await pool.end();
    await bouncer.stop();
    await dropSchema(schema);
  }
});

it("are prepared once for each connection to a server itself", async () => {
  const schema = newSchema();
  const pool = new pg.Pool({ ...SERVER, max: 1 });
  try {
    const store = createPostgresStore(pool, { schema });
    await store.open();
    const set = await store.allocateMemberSet(4, fence);
    for (let lookup = 0; lookup < 3; lookup++) expect(await store.findMemberSets(ada, [set])).toEqual([[]]);
    const { rows } = await pool.query(
      "SELECT count(*)::int AS known FROM pg_prepared_statements WHERE statement LIKE '%rollcall_find_one%'",
    );
    expect(rows).toEqual([{ known: 1 }]);
  } finally {
    await pool.end();
    await dropSchema(schema);
  }
});
