// How many of its buffers PostgreSQL looks at for a lookup, in either layout: what a lookup costs where the machine is not measured.

import { createSegmentReader } from "@rollcall/core";
import { createPostgresStore } from "@rollcall/postgres";
import pg from "pg";
import { keyOf } from "./audience.js";
import { membershipQuery } from "./membership-rows.js";
import type { Load } from "./segment-loading.js";

const LOOKUPS = 200;

/** Buffers of 8 KB for each lookup, the mean. */
export interface TouchedBuffers {
  readonly peer: number;
  readonly membership: number;
}

/** Asks both layouts about the same contexts. */
export async function touchedBuffers({ url, contexts }: Load): Promise<TouchedBuffers> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  let touched = 0;
  const explain = async ({ text, values }: { readonly text: string; readonly values?: unknown[] | undefined }) => {
    const { rows } = await client.query(`EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) ${text}`, values);
    const plan = rows[0]["QUERY PLAN"][0].Plan;
    touched += plan["Shared Hit Blocks"] + plan["Shared Read Blocks"];
  };
  // Each statement about members is explained before it is sent.
  const store = createPostgresStore({
    async query(query) {
      if (/rollcall_(?:blocks|find)/.test(query.text) && query.values !== undefined) await explain(query);
      return client.query(query);
    },
  });
  await store.open();
  const reader = createSegmentReader({ store, cacheSize: 0, onError: "throw" });
  const keys = Array.from({ length: LOOKUPS }, () => keyOf(Math.floor(Math.random() * contexts)));
  await reader.refresh();

  touched = 0;
  for (const key of keys) await reader.membership({ kind: "user", key });
  const membership = touched / LOOKUPS;
  if (membership === 0) throw new Error("no statement about members was seen");
  touched = 0;
  for (const key of keys) await explain(membershipQuery(key));
  const peer = touched / LOOKUPS;

  reader.close();
  await store.close();
  await client.end();
  return { peer, membership };
}
