// How the server runs what the store sends: by the primary key, whatever it knows of the table.

import { type ContextHashes, contextHash, type Fence, type MemberSet, type SegmentKey, shardOf } from "@rollcall/core";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createPostgresStore } from "./index.js";
import { admin, dropSchema, newSchema } from "./place.test-setup.js";
import { type Explained, explainingClient } from "./plan.test-setup.js";

const fence: Fence = { segmentKey: "people" as SegmentKey, generation: 1, holder: "writer", token: 1 };
const ada = contextHash("ada") as ContextHashes;

let schema = "";
const cleanups: (() => Promise<unknown>)[] = [];
beforeEach(() => {
  schema = newSchema();
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  await dropSchema(schema);
});

/** A store whose statements are explained, on a table that nobody analyses behind the test's back. */
async function openExplained(settings: Readonly<Record<string, string>> = {}) {
  const client = await explainingClient(settings);
  cleanups.push(() => client.end());
  const store = createPostgresStore(client, { schema, timeoutMs: 60_000 });
  await store.open();
  await admin.query(`ALTER TABLE "${schema}".rollcall_blocks SET (autovacuum_enabled = off)`);
  return { store, explained: client.explained };
}

type Store = Awaited<ReturnType<typeof openExplained>>["store"];

/** A set in which every shard has members, and a filter of this bit, 512 times. */
async function fullSet(store: Store, shardBits: number, bit: 0 | 1 = 1): Promise<MemberSet> {
  const set = await store.allocateMemberSet(shardBits, fence);
  await admin.query(
    `INSERT INTO "${schema}".rollcall_blocks (set_id, shard, filter, members)
     SELECT $1, shard, repeat($3, 512)::bit(512), array_fill(md5(shard::text)::uuid, ARRAY[60])
     FROM generate_series(0, $2::int - 1) AS shard`,
    [set.id, 2 ** shardBits, String(bit)],
  );
  return set;
}

const fullSets = async (store: Store, sizes: readonly number[]) => {
  const sets: MemberSet[] = [];
  for (const shardBits of sizes) sets.push(await fullSet(store, shardBits));
  return sets;
};

/** How often the blocks were looked up by their key; a reading of the whole table throws. */
function probesOf({ reads }: Explained): number {
  const blocks = reads.filter(({ table }) => table === "rollcall_blocks");
  const byKey = ["Index Scan", "Index Only Scan", "Bitmap Heap Scan"];
  expect(blocks.filter(({ how }) => !byKey.includes(how))).toEqual([]);
  return blocks.reduce((sum, { loops }) => sum + loops, 0);
}

/** How many blocks were read. */
function rowsOf({ reads }: Explained): number {
  return reads.filter(({ table }) => table === "rollcall_blocks").reduce((sum, { rows }) => sum + rows, 0);
}

describe("the table of blocks", () => {
  /** What the planner knows: nothing; what was true when the table held a few small sets and nothing else; the truth. */
  const knowledge: Readonly<
    Record<string, (small: () => Promise<unknown>, large: () => Promise<unknown>) => Promise<void>>
  > = {
    "was never analysed": async (small, large) => {
      await small();
      await large();
    },
    "was analysed while it was empty": async (small, large) => {
      await admin.query(`VACUUM ANALYZE "${schema}".rollcall_blocks`);
      await small();
      await large();
    },
    "was analysed while it was small": async (small, large) => {
      await small();
      await admin.query(`VACUUM ANALYZE "${schema}".rollcall_blocks`);
      await large();
    },
    "was analysed": async (small, large) => {
      await small();
      await large();
      await admin.query(`VACUUM ANALYZE "${schema}".rollcall_blocks`);
    },
  };
  /**
   * Sizes of sets, and how often the blocks are gone to by their key for a context if all filters have all bits: few for each set, more
   * for each size once for the filters, and then for each set.
   */
  const SIZES: readonly (readonly [readonly number[], number])[] = [
    [[1], 1],
    [[0, 0, 0], 3],
    [[0, 1, 2, 3], 4],
    [Array<number>(20).fill(1), 1 + 20],
    [[0, 1, 1, 2, 3], 4 + 5],
  ];
  const cases = Object.entries(knowledge).flatMap(([name, learn]) =>
    SIZES.map(([sizes, probes]) => [name, sizes.length, probes, learn, sizes] as const),
  );

  it.each(cases)("that %s is gone to by its key, for %i sets %i times", async (_, __, probes, learn, sizes) => {
    const { store, explained } = await openExplained();
    let small: MemberSet[] = [];
    await learn(
      async () => {
        small = await fullSets(store, sizes);
      },
      () => fullSet(store, 13),
    );
    expect(probesOf(await explained(() => store.findMemberSets(ada, small)))).toBe(probes);
    const three = Buffer.concat(["ada", "grace", "linus"].map((key) => contextHash(key) as ContextHashes));
    expect(probesOf(await explained(() => store.findMemberSets(three, small)))).toBe(3 * probes);
  });

  it.each(Object.entries(knowledge))("that %s is not read for shards that nobody asked about", async (_, learn) => {
    const { store, explained } = await openExplained();
    let large: MemberSet[] = [];
    await learn(
      () => fullSets(store, [0, 0, 1]),
      async () => {
        large = await fullSets(store, Array<number>(6).fill(10));
      },
    );
    // A filter and a block of each.
    expect(rowsOf(await explained(() => store.findMemberSets(ada, large)))).toBe(2 * large.length);
    const two = Buffer.concat([ada, contextHash("grace") as ContextHashes]);
    expect(rowsOf(await explained(() => store.findMemberSets(two, large)))).toBe(2 * 2 * large.length);
  });

  it("is not read for sets that nobody asked about", async () => {
    const { store, explained } = await openExplained();
    const sets: MemberSet[] = [];
    for (let number = 0; number < 120; number++) sets.push(await fullSet(store, 0, 0));
    const scattered = sets.filter((_, index) => index % 12 === 0);
    const neighbours = sets.slice(40, 50);
    for (const known of [false, true]) {
      if (known) await admin.query(`VACUUM ANALYZE "${schema}".rollcall_blocks`);
      expect(rowsOf(await explained(() => store.findMemberSets(ada, scattered)))).toBe(scattered.length);
      expect(rowsOf(await explained(() => store.findMemberSets(ada, neighbours)))).toBe(neighbours.length);
      const two = Buffer.concat([ada, contextHash("grace") as ContextHashes]);
      expect(rowsOf(await explained(() => store.findMemberSets(two, scattered)))).toBe(2 * scattered.length);
      expect(rowsOf(await explained(() => store.findMemberSets(two, neighbours)))).toBe(2 * neighbours.length);
    }
  });

  it("is not gone to for sets whose filters lack the context", async () => {
    const { store, explained } = await openExplained();
    const sets: MemberSet[] = [];
    for (let number = 0; number < 40; number++) sets.push(await fullSet(store, 3, number < 5 ? 1 : 0));
    await admin.query(`VACUUM ANALYZE "${schema}".rollcall_blocks`);
    const seen = await explained(() => store.findMemberSets(ada, sets));
    expect(probesOf(seen)).toBe(1 + 5);
    expect(seen.reads.map(({ how, loops }) => [how, loops])).toContainEqual(["Index Only Scan", 1]);
  });

  it.each(Object.entries(knowledge))("that %s is scanned and written by its key", async (_, learn) => {
    const { store, explained } = await openExplained();
    let large: MemberSet | undefined;
    await learn(
      () => fullSets(store, [1, 1]),
      async () => {
        large = await fullSet(store, 13);
      },
    );
    const set = large!;
    let chunks = 0;
    const scan = await explained(async () => {
      for await (const _chunk of store.scanMembers(set)) chunks++;
    });
    expect(chunks).toBe(32);
    expect(probesOf(scan)).toBe(chunks);
    // And each step reads no more than it answers.
    expect(rowsOf(scan)).toBe(2 ** set.shardBits);

    const shard = shardOf(ada, 0, set.shardBits);
    const none = new Uint8Array() as ContextHashes;
    // Locked, then changed.
    for (const [adds, removes] of [
      [ada, none],
      [none, ada],
    ] as const)
      expect(probesOf(await explained(() => store.writeBlocks(set, [{ shard, adds, removes }], fence)))).toBe(2);
  });

  it("that was analysed is swept by its key", async () => {
    const { store, explained } = await openExplained();
    const [small, ...others] = await fullSets(store, [13, 13, 13, 13]);
    await admin.query(`VACUUM ANALYZE "${schema}".rollcall_blocks`);
    const set = small!;
    // A step for each 4,096 shards.
    expect(probesOf(await explained(() => store.dropMemberSets([set])))).toBe(2);
    expect((await store.listMemberSets()).map(({ id }) => id).toSorted()).toEqual(
      others.map(({ id }) => id).toSorted(),
    );
  });
});
