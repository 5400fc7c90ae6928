// The blocks cut into partitions with the statements of the PostgreSQL page: everything works as before, and lookups and writes touch the
// partitions of the shards that they name and no others. So they would on nodes that are given the shards to keep.

import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import {
  type ContextHashes,
  contextHash,
  createRollcall,
  createSegmentReader,
  type Fence,
  type MemberSet,
  type SegmentKey,
  shardOf,
} from "@rollcall/core";
import pg from "pg";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createPostgresStore } from "./index.js";
import { admin, dropSchema, grantTo, newSchema, SERVER } from "./place.test-setup.js";
import { type Explained, explainingClient } from "./plan.test-setup.js";

const PAGE = new URL("../../../docs/postgres.md", import.meta.url);

let schema = "";
const cleanups: (() => Promise<unknown>)[] = [];
beforeEach(() => {
  schema = newSchema();
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  await dropSchema(schema);
});

/** Does what the page tells its readers to do, with their names. */
async function cutIntoPartitions(names: { readonly syncer?: string; readonly reader?: string } = {}): Promise<void> {
  const fences = readFileSync(PAGE, "utf8").match(/(?<=^```text\n).*?(?=^```$)/gms) ?? [];
  const [statements, ...others] = fences.filter((fence) => fence.includes("PARTITION BY"));
  if (statements === undefined || others.length > 0) throw new Error("the page says it not once");
  const { syncer = SERVER.user, reader = SERVER.user } = names;
  const ours = statements.replace(/\brollcall\./g, `"${schema}".`).replace(/(?<=TO )\w+;/g, (to) => {
    return to === "syncer;" ? `${syncer};` : to === "reader;" ? `${reader};` : to;
  });
  // A vacuum is a statement by itself, as psql sends each.
  for (const part of ours.split(/^(?=VACUUM)/m)) await admin.query(part);
}

async function partitions(): Promise<string[]> {
  const { rows } = await admin.query(
    `SELECT c.relname AS name
     FROM pg_partition_tree('"${schema}".rollcall_blocks') JOIN pg_class c ON c.oid = relid WHERE isleaf`,
  );
  return rows.map(({ name }) => String(name));
}

async function createRole(): Promise<string> {
  const role = `role_${randomUUID().replaceAll("-", "")}`;
  await admin.query(`CREATE ROLE ${role} LOGIN PASSWORD 'x'`);
  cleanups.push(async () => {
    await admin.query(`DROP OWNED BY ${role}`);
    await admin.query(`DROP ROLE ${role}`);
  });
  return role;
}

function poolOf(user: string): pg.Pool {
  const pool = new pg.Pool({ ...SERVER, user, password: "x" });
  cleanups.push(() => pool.end());
  return pool;
}

const people = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => `person-${from + i}`);

describe("a table that was cut into partitions", () => {
  it.each([
    ["empty", 0],
    ["filled", 5_000],
  ])("while it was %s holds what it held, and does everything, also for handles that were open", async (_, count) => {
    const store = createPostgresStore(admin, { schema, environment: "production" });
    await store.open();
    const rollcall = createRollcall(store, { graceMs: 0 });
    cleanups.push(() => rollcall.close());
    if (count > 0) {
      await rollcall.replace("before", { included: people(0, count), excluded: people(0, 10) });
      await rollcall.merge("before", { add: people(count, count + 10) });
    }
    await cutIntoPartitions();
    expect(await partitions()).toHaveLength(16);

    await rollcall.replace("people", { included: people(0, 5_000) });
    await rollcall.replace("people", { included: people(1_000, 8_000), excluded: people(1_000, 1_010) });
    const { added, removed } = await rollcall.merge("people", {
      add: people(7_990, 8_010),
      remove: people(1_990, 2_000),
    });
    expect([added.value, removed.value]).toEqual([10, 10]);
    const reader = createSegmentReader({ store, onError: "throw" });
    cleanups.push(async () => reader.close());
    const asked = ["person-500", "person-1005", "person-1995", "person-2000", "person-8009", "person-8010"];
    const answers = await Promise.all(asked.map((key) => reader.isMember("people", { kind: "user", key })));
    expect(answers.map(({ member }) => member)).toEqual([false, true, false, true, true, false]);
    if (count > 0) {
      expect(await reader.isMember("before", { kind: "user", key: "person-5009" })).toMatchObject({ member: true });
      expect(await reader.isMember("before", { kind: "user", key: "person-9" })).toMatchObject({ member: true });
    }
    expect((await rollcall.sweep()).droppedSets).toBeGreaterThan(0);
    const verified = await rollcall.verify();
    expect(verified).toMatchObject({ findings: [], members: 7_010 + (count > 0 ? count + 20 : 0) });
    const { rows } = await admin.query(
      `SELECT segment, list, count(*)::int FROM "${schema}".rollcall_memberships GROUP BY 1, 2 ORDER BY 1, 2`,
    );
    const before = [
      { segment: "before", list: "excluded", count: 10 },
      { segment: "before", list: "included", count: count + 10 },
    ];
    expect(rows).toEqual([
      ...(count > 0 ? before : []),
      { segment: "people", list: "excluded", count: 10 },
      { segment: "people", list: "included", count: 7_000 },
    ]);
    await rollcall.deleteSegment("people");
    await rollcall.sweep();
    const left = await admin.query(`SELECT count(DISTINCT set_id)::int AS sets FROM "${schema}".rollcall_blocks`);
    expect(left.rows).toEqual([{ sets: count > 0 ? 2 : 0 }]);
  });

  it("keeps its settings, and is open to the roles that it was open to", async () => {
    const [syncer, reader] = [await createRole(), await createRole()];
    const owner = createPostgresStore(admin, { schema });
    await owner.open();
    await grantTo(syncer, schema);
    await grantTo(reader, schema, { readOnly: true });
    await admin.query(`GRANT SELECT ON "${schema}".rollcall_memberships TO ${reader}`);
    const settings = (table: string) =>
      admin.query(
        `SELECT c.reloptions, a.attstorage FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'members'
         WHERE c.oid = to_regclass($1)`,
        [`"${schema}".${table}`],
      );
    const before = await settings("rollcall_blocks");
    await cutIntoPartitions({ syncer, reader });
    for (const partition of await partitions()) expect((await settings(partition)).rows).toEqual(before.rows);

    const store = createPostgresStore(poolOf(syncer), { schema });
    await store.open();
    const rollcall = createRollcall(store, { graceMs: 0 });
    await rollcall.replace("people", { included: people(0, 500) });
    await rollcall.replace("people", { included: people(0, 500) });
    expect((await rollcall.sweep()).droppedSets).toBe(1);
    await rollcall.close();
    const pool = poolOf(reader);
    const reading = createPostgresStore(pool, { schema, readOnly: true });
    await reading.open();
    const answering = createSegmentReader({ store: reading, onError: "throw" });
    expect(await answering.isMember("people", { kind: "user", key: "person-7" })).toMatchObject({ member: true });
    answering.close();
    const { rows } = await pool.query(`SELECT count(*)::int AS members FROM "${schema}".rollcall_memberships`);
    expect(rows).toEqual([{ members: 500 }]);
  });

  // The server may keep a plan that fits any values: then the partitions are chosen when it is run.
  it.each([
    ["for its values", "force_custom_plan"],
    ["for any values", "force_generic_plan"],
  ])("is read and written only where the shards are that are named, by a plan %s", async (_, plan_cache_mode) => {
    const client = await explainingClient({ plan_cache_mode });
    cleanups.push(() => client.end());
    const store = createPostgresStore(client, { schema, timeoutMs: 60_000 });
    await store.open();
    await cutIntoPartitions();
    const fence: Fence = { segmentKey: "people" as SegmentKey, generation: 1, holder: "writer", token: 1 };
    const sets: MemberSet[] = [];
    for (const shardBits of [0, 3, 3, 3, 3, 3, 5, 5]) {
      const set = await store.allocateMemberSet(shardBits, fence);
      const shards = Array.from({ length: 2 ** shardBits }, (_, shard) => shard);
      const blocks = shards.map((shard) => ({ shard, adds: hashIn(shard, shardBits), removes: none }));
      await store.writeBlocks(set, blocks, fence);
      sets.push(set);
    }
    const { rows } = await admin.query(
      `SELECT DISTINCT shard, c.relname AS name FROM "${schema}".rollcall_blocks b JOIN pg_class c ON c.oid = b.tableoid`,
    );
    const homes = new Map(rows.map(({ shard, name }) => [Number(shard), String(name)]));
    // A shard is in one place, whatever the set.
    expect(homes.size).toBe(rows.length);
    const allHomes = [...new Set(homes.values())].toSorted();
    expect(allHomes.length).toBeGreaterThan(8);
    const homesOf = (hash: ContextHashes, some: readonly MemberSet[]) =>
      [...new Set(some.map(({ shardBits }) => homes.get(shardOf(hash, 0, shardBits))))].toSorted();

    const alike = sets.filter(({ shardBits }) => shardBits === 3);
    const one = await client.explained(() => store.findMemberSets(ada, alike));
    expect(blocksIn(one)).toEqual({ tables: homesOf(ada, alike), probes: 1 });
    const two = await client.explained(() => store.findMemberSets(Buffer.concat([ada, grace]), sets));
    const both = [...new Set([...homesOf(ada, sets), ...homesOf(grace, sets)])].toSorted();
    // For each context and size.
    expect(blocksIn(two)).toEqual({ tables: both, probes: 2 * 3 });

    const [, set] = sets as [MemberSet, MemberSet];
    const shard = shardOf(ada, 0, set.shardBits);
    const writes: readonly (readonly [string, { readonly adds: ContextHashes; readonly removes: ContextHashes }])[] = [
      ["an update", { adds: ada, removes: none }],
      ["a removal", { adds: none, removes: ada }],
      ["the last removal", { adds: none, removes: hashIn(shard, 3) }],
      ["an insertion", { adds: ada, removes: none }],
    ];
    for (const [name, changes] of writes) {
      const seen = await client.explained(() => store.writeBlocks(set, [{ shard, ...changes }], fence));
      expect({ name, tables: blocksIn(seen).tables, removed: seen.removedAtStart > 0 }).toEqual({
        name,
        tables: homesOf(ada, [set]),
        removed: plan_cache_mode === "force_generic_plan",
      });
    }
    // What goes by ranges of shards is everywhere.
    for (const call of [() => drain(store.scanMembers(set)), () => store.dropMemberSets([set])])
      expect(blocksIn(await client.explained(call)).tables).toEqual(
        Array.from({ length: 16 }, (_, number) => `rollcall_blocks_${number}`).toSorted(),
      );
  });
});

const none = new Uint8Array() as ContextHashes;
const ada = contextHash("ada") as ContextHashes;
const grace = contextHash("grace") as ContextHashes;

/** A hash whose leading bits say `shard`. */
function hashIn(shard: number, shardBits: number): ContextHashes {
  const hash = new Uint8Array(16).fill(7);
  hash[0] = (shard << (8 - shardBits)) & 0xff;
  return hash as ContextHashes;
}

async function drain(chunks: AsyncIterable<unknown>): Promise<void> {
  for await (const _chunk of chunks);
}

/** Which tables of blocks were really read, and how often. */
function blocksIn({ reads }: Explained): { readonly tables: string[]; readonly probes: number } {
  const blocks = reads.filter(({ table }) => table.startsWith("rollcall_blocks"));
  return {
    tables: [...new Set(blocks.map(({ table }) => table))].toSorted(),
    probes: blocks.reduce((sum, { loops }) => sum + loops, 0),
  };
}
