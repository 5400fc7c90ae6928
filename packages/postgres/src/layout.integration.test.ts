// What the contract cannot see: how fences wait for each other, that the schema is made once, and what its settings are for.

import { until } from "@rollcall/conformance/containers";
import {
  type Block,
  type ContextHashes,
  contextHash,
  createRollcall,
  type Fence,
  hashCount,
  isRollcallError,
  type MemberSet,
  type SegmentKey,
  shardOf,
} from "@rollcall/core";
import pg from "pg";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createPostgresStore } from "./index.js";
import { admin, dropSchema, newSchema, SERVER, urlOf } from "./place.test-setup.js";

const fenceOf = (token: number, holder = `writer-${token}`): Fence => {
  return { segmentKey: "people" as SegmentKey, generation: 1, holder, token };
};

let schema = "";
beforeEach(() => {
  schema = newSchema();
});
const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  await dropSchema(schema);
});

async function openStore() {
  const store = createPostgresStore(urlOf(schema));
  cleanups.push(() => store.close());
  await store.open();
  return store;
}

async function openClient() {
  const client = new pg.Client({ ...SERVER });
  await client.connect();
  cleanups.push(() => client.end());
  return client;
}

/** Sorted hashes of so many people. */
function hashes(from: number, to: number): ContextHashes[] {
  const all = Array.from({ length: to - from }, (_, i) => contextHash(`person-${from + i}`) as ContextHashes);
  return all.toSorted(Buffer.compare);
}

function blocksOf(
  adds: readonly ContextHashes[],
  { shardBits }: MemberSet,
  removes: readonly ContextHashes[] = [],
): Block[] {
  const shards = new Map<number, { adds: ContextHashes[]; removes: ContextHashes[] }>();
  const at = (hash: ContextHashes) => {
    const shard = shardOf(hash, 0, shardBits);
    const block = shards.get(shard) ?? { adds: [], removes: [] };
    shards.set(shard, block);
    return block;
  };
  for (const hash of adds) at(hash).adds.push(hash);
  for (const hash of removes) at(hash).removes.push(hash);
  return Array.from(shards, ([shard, block]) => {
    return { shard, adds: Buffer.concat(block.adds), removes: Buffer.concat(block.removes) };
  });
}

async function membersOf(set: MemberSet): Promise<number> {
  const { rows } = await admin.query(
    `SELECT coalesce(sum(cardinality(members)), 0) AS members FROM "${schema}".rollcall_blocks WHERE set_id = $1`,
    [set.id],
  );
  return Number(rows[0]?.members);
}

/** Resolves when so many statements of the schema wait for a lock. */
async function waiting(count: number): Promise<void> {
  await until("statements wait", async () => {
    const { rows } = await admin.query(
      "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND strpos(query, $1) > 0 AND pid <> pg_backend_pid()",
      [schema],
    );
    return rows.length === count;
  });
}

/** What became of a call. */
function outcomeOf(call: Promise<unknown>): Promise<string> {
  return call.then(
    () => "done",
    (error: unknown) => (isRollcallError(error) ? error.code : String(error)),
  );
}

describe("opening", () => {
  it("by many at once makes one schema and one environment", async () => {
    const stores = Array.from({ length: 12 }, () => createPostgresStore(urlOf(schema)));
    cleanups.push(() => Promise.all(stores.map((store) => store.close())));
    await Promise.all(stores.map((store) => store.open()));
    const environments = await Promise.all(stores.map((store) => store.getEnvironment()));
    expect(new Set(environments.map(({ id }) => id)).size).toBe(1);
    const { rows } = await admin.query(`SELECT version FROM "${schema}".rollcall_layout`);
    expect(rows).toEqual([{ version: 1 }]);
  });
});

describe("under a stricter isolation level", () => {
  it.each(["repeatable read", "serializable"])("than usual, %s, many open at once", async (level) => {
    const pools = Array.from({ length: 8 }, () => {
      const options = `-c default_transaction_isolation=${level.replace(" ", "\\ ")}`;
      return new pg.Pool({ ...SERVER, max: 1, options });
    });
    cleanups.push(() => Promise.all(pools.map((pool) => pool.end())));
    expect((await pools[0]!.query("SHOW transaction_isolation")).rows).toEqual([{ transaction_isolation: level }]);
    await Promise.all(pools.map((pool) => createPostgresStore(pool, { schema }).open()));
  });
});

describe("a fence", () => {
  it("that is being raised holds back an older writer, who then changes nothing", async () => {
    const store = await openStore();
    const set = await store.allocateMemberSet(2, fenceOf(1));
    await store.writeBlocks(set, blocksOf(hashes(0, 20), set), fenceOf(1));
    const newer = await openClient();
    await newer.query("BEGIN");
    await newer.query(`UPDATE "${schema}".rollcall_member_sets SET token = 2, holder = 'writer-2' WHERE id = $1`, [
      set.id,
    ]);
    // It starts before the takeover is committed, and so sees the old fence first.
    const late = outcomeOf(store.writeBlocks(set, blocksOf(hashes(20, 40), set, hashes(0, 20)), fenceOf(1)));
    await waiting(1);
    await newer.query("COMMIT");
    expect(await late).toBe("stale_lease");
    expect(await membersOf(set)).toBe(20);
  });

  it("is raised only when writes that were let in have ended", async () => {
    const store = await openStore();
    const set = await store.allocateMemberSet(0, fenceOf(1));
    await store.writeBlocks(set, blocksOf(hashes(0, 5), set), fenceOf(1));
    const other = await openClient();
    await other.query("BEGIN");
    await other.query(`SELECT FROM "${schema}".rollcall_blocks WHERE set_id = $1 FOR UPDATE`, [set.id]);
    const write = outcomeOf(store.writeBlocks(set, blocksOf(hashes(5, 9), set), fenceOf(1)));
    await waiting(1);
    let isRaised = false;
    const raise = store.raiseFence(set, fenceOf(2)).then(() => {
      isRaised = true;
    });
    await waiting(2);
    expect(isRaised).toBe(false);
    await other.query("COMMIT");
    expect(await write).toBe("done");
    await raise;
    expect(await membersOf(set)).toBe(9);
    expect(await outcomeOf(store.writeBlocks(set, blocksOf(hashes(9, 12), set), fenceOf(1)))).toBe("stale_lease");
  });

  it("that is dropped waits for writes that were let in, and leaves none of their blocks", async () => {
    const store = await openStore();
    const set = await store.allocateMemberSet(0, fenceOf(1));
    await store.writeBlocks(set, blocksOf(hashes(0, 5), set), fenceOf(1));
    const other = await openClient();
    await other.query("BEGIN");
    await other.query(`SELECT FROM "${schema}".rollcall_blocks WHERE set_id = $1 FOR UPDATE`, [set.id]);
    const write = outcomeOf(store.writeBlocks(set, blocksOf(hashes(5, 9), set), fenceOf(1)));
    await waiting(1);
    const drop = store.dropMemberSets([set]);
    await waiting(2);
    await other.query("COMMIT");
    expect(await write).toBe("done");
    await drop;
    expect(await membersOf(set)).toBe(0);
    expect(await store.listMemberSets()).toEqual([]);
  });

  it("that is dropped takes all blocks with it, also those far behind the first", async () => {
    const store = await openStore();
    const set = await store.allocateMemberSet(15, fenceOf(1));
    await store.writeBlocks(set, blocksOf(hashes(0, 60), set), fenceOf(1));
    let scanned = 0;
    for await (const chunk of store.scanMembers(set)) scanned += hashCount(chunk);
    expect(scanned).toBe(60);
    await store.dropMemberSets([set]);
    // A scan would not show what is left: there is no set any more.
    expect(await membersOf(set)).toBe(0);
  });

  it("lets two writers of one lease in at once, who write the same blocks in any order, without a deadlock", async () => {
    const store = await openStore();
    const set = await store.allocateMemberSet(6, fenceOf(1));
    for (let round = 0; round < 20; round++) {
      const blocks = blocksOf(hashes(round * 200, round * 200 + 200), set);
      const written = await Promise.all([
        store.writeBlocks(set, blocks, fenceOf(1)),
        store.writeBlocks(set, blocks.toReversed(), fenceOf(1)),
        store.writeBlocks(set, blocks, fenceOf(1)),
      ]);
      // Each member was added by exactly one of them.
      expect(written.reduce((sum, { added }) => sum + added, 0)).toBe(200);
    }
    expect(await membersOf(set)).toBe(4_000);
  });

  it("is not left to a function of the same name that somebody has put beside it", async () => {
    const store = await openStore();
    const set = await store.allocateMemberSet(0, fenceOf(1));
    for (const types of ["text, text, text, text, text, text", "text, numeric, text, numeric, numeric, text"])
      await admin.query(
        `CREATE FUNCTION "${schema}".rollcall_admit(${types}) RETURNS text LANGUAGE sql AS $$ SELECT 'newer' $$`,
      );
    await store.raiseFence(set, fenceOf(2));
    expect(await store.writeBlocks(set, blocksOf(hashes(0, 5), set), fenceOf(2))).toEqual({ added: 5, removed: 0 });
  });

  it("is taken over by many at once without a deadlock", async () => {
    const store = await openStore();
    const set = await store.allocateMemberSet(3, fenceOf(1));
    for (let round = 1; round <= 10; round++) {
      const blocks = blocksOf(hashes(0, 50), set);
      const tokens = Array.from({ length: 6 }, (_, i) => round * 10 + i);
      const outcomes = await Promise.all(
        tokens.map((token) => outcomeOf(store.writeBlocks(set, blocks, fenceOf(token)))),
      );
      expect(outcomes.at(-1)).toBe("done");
      for (const outcome of outcomes) expect(["done", "stale_lease"]).toContain(outcome);
    }
  });
});

describe("the table of blocks", () => {
  it("keeps a block that has become four times too large in its row", async () => {
    const store = await openStore();
    const set = await store.allocateMemberSet(0, fenceOf(1));
    await store.writeBlocks(set, blocksOf(hashes(0, 256), set), fenceOf(1));
    const { rows } = await admin.query(
      `SELECT pg_relation_size(reltoastrelid) AS bytes, pg_column_size(b.members) AS size
       FROM pg_class, "${schema}".rollcall_blocks b WHERE oid = '"${schema}".rollcall_blocks'::regclass`,
    );
    expect(rows).toEqual([{ bytes: "0", size: 256 * 16 + 24 }]);
    // And one that is larger than a page is taken too.
    await store.writeBlocks(set, blocksOf(hashes(256, 2_000), set), fenceOf(1));
    expect(await membersOf(set)).toBe(2_000);
  });

  // By a server that has planned for small ones, as each does after some calls. It would compare each with each, for hours.
  it("takes a block that a huge delta has made of a small set, the repeat, and the removal", async () => {
    const pool = new pg.Pool({ ...SERVER, max: 1, statement_timeout: 9_000 });
    cleanups.push(() => pool.end());
    const store = createPostgresStore(pool, { schema });
    await store.open();
    const set = await store.allocateMemberSet(0, fenceOf(1));
    for (const hash of hashes(0, 10)) await store.writeBlocks(set, blocksOf([hash], set, hashes(0, 1)), fenceOf(1));
    const many = Buffer.concat(hashes(10, 300_010));
    const none = new Uint8Array() as ContextHashes;
    const add = { shard: 0, adds: many, removes: none };
    expect(await store.writeBlocks(set, [add], fenceOf(1))).toEqual({ added: 300_000, removed: 0 });
    expect(await store.writeBlocks(set, [add], fenceOf(1))).toEqual({ added: 0, removed: 0 });
    expect(await membersOf(set)).toBe(300_009);
    const remove = { shard: 0, adds: none, removes: many };
    expect(await store.writeBlocks(set, [remove], fenceOf(1))).toEqual({ added: 0, removed: 300_000 });
    expect(await membersOf(set)).toBe(9);
  });

  it("takes most small changes on the page of what they change", async () => {
    const store = await openStore();
    const set = await store.allocateMemberSet(7, fenceOf(1));
    await store.writeBlocks(set, blocksOf(hashes(0, 8_000), set), fenceOf(1));
    await admin.query(`VACUUM ANALYZE "${schema}".rollcall_blocks`);
    const pages = async () => {
      const { rows } = await admin.query(`SELECT shard, ctid::text AS place FROM "${schema}".rollcall_blocks`);
      return new Map(rows.map(({ shard, place }) => [Number(shard), String(place).split(",")[0]]));
    };
    let stayed = 0;
    let before = await pages();
    for (const hash of hashes(8_000, 8_400)) {
      const [block] = blocksOf([hash], set);
      await store.writeBlocks(set, [block!], fenceOf(1));
      const after = await pages();
      if (after.get(block!.shard) === before.get(block!.shard)) stayed++;
      before = after;
    }
    expect(stayed).toBeGreaterThan(300);
  });

  it("keeps in the filter of a block the bits of all members, few others, and finds by it", async () => {
    const store = await openStore();
    const sets: MemberSet[] = [];
    for (const shardBits of [1, ...Array<number>(20).fill(2)])
      sets.push(await store.allocateMemberSet(shardBits, fenceOf(1)));
    const people = hashes(0, 600);
    const members = sets.map(() => new Set<ContextHashes>());
    let stale = 0;
    for (let round = 0; round < 15; round++) {
      for (const [index, set] of sets.entries()) {
        const mine = members[index]!;
        // Another sixteenth of them each time, as chance has it but always the same: hashes are random.
        const change = people.filter((hash) => (((hash[index % 16] ?? 0) ^ (53 * round)) & 255) < 16);
        const [removes, adds] = [change.filter((hash) => mine.has(hash)), change.filter((hash) => !mine.has(hash))];
        const blocks = blocksOf(adds, set, removes);
        expect(await store.writeBlocks(set, blocks, fenceOf(1))).toEqual({
          added: adds.length,
          removed: removes.length,
        });
        for (const hash of adds) mine.add(hash);
        for (const hash of removes) mine.delete(hash);
      }
      const { rows } = await admin.query(
        `SELECT b.filter & needed = needed AS has_all, 2 * bit_count(b.filter) <= 5 * cardinality(b.members) AS fits, b.filter = needed AS exact
         FROM "${schema}".rollcall_blocks b,
           LATERAL (SELECT bit_or("${schema}".rollcall_filter(m)) AS needed FROM unnest(b.members) m) AS bits`,
      );
      expect(rows.length).toBeGreaterThan(60);
      expect(rows.filter(({ has_all, fits }) => has_all !== true || fits !== true)).toEqual([]);
      stale += rows.filter(({ exact }) => exact !== true).length;
    }
    // A removal leaves its bits to a later one: else the bound above would say nothing.
    expect(stale).toBeGreaterThan(60);
    for (const asked of [sets, sets.slice(1), sets.slice(1, 2)]) {
      const truth = people.map((hash) =>
        asked.filter((set) => members[sets.indexOf(set)]!.has(hash)).map(({ id }) => id),
      );
      const together = await store.findMemberSets(Buffer.concat(people), asked);
      expect(together.map((ids) => ids.toSorted((a, b) => a - b))).toEqual(truth);
      for (const [index, hash] of people.slice(0, 100).entries()) {
        const [alone] = await store.findMemberSets(hash, asked);
        expect(alone?.toSorted((a, b) => a - b)).toEqual(truth[index]);
      }
    }
  });

  it("is never read whole, also by who has known it while it was small", async () => {
    const store = await openStore();
    const small = await store.allocateMemberSet(0, fenceOf(1));
    for (const hash of hashes(0, 20)) await store.writeBlocks(small, blocksOf([hash], small), fenceOf(1));
    await admin.query(`VACUUM ANALYZE "${schema}".rollcall_blocks`);
    const counts = async () => {
      const { rows } = await admin.query(
        "SELECT seq_tup_read AS read, n_tup_ins AS rows FROM pg_stat_user_tables WHERE relname = 'rollcall_blocks' AND schemaname = $1",
        [schema],
      );
      return { read: Number(rows[0]?.read), rows: Number(rows[0]?.rows) };
    };
    for (let again = 0; again < 20; again++)
      await store.writeBlocks(small, blocksOf(hashes(100 + again, 101 + again), small), fenceOf(1));
    const large = await store.allocateMemberSet(8, fenceOf(1));
    await store.writeBlocks(large, blocksOf(hashes(0, 10_000), large), fenceOf(1));
    await store.writeBlocks(large, blocksOf(hashes(10_000, 11_000), large, hashes(0, 1_000)), fenceOf(1));
    const asked = Buffer.concat(hashes(500, 1_500));
    const found = await store.findMemberSets(asked, [small, large]);
    expect(found.filter((sets) => sets.length > 0)).toHaveLength(500);
    await store.close();
    await until("the server has counted", async () => (await counts()).rows > 256);
    expect((await counts()).read).toBe(0);
  });

  it("does not grow when segments are replaced, merged and swept again and again", async () => {
    const rollcall = createRollcall(await openStore(), { graceMs: 0 });
    cleanups.push(() => rollcall.close());
    const people = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => `person-${from + i}`);
    const sizes: number[] = [];
    for (let round = 0; round < 12; round++) {
      const from = round * 5_000;
      await rollcall.replace("people", { included: people(from, from + 10_000) });
      await rollcall.replace(`small-${round % 3}`, { included: people(0, 100) });
      for (let step = 0; step < 5; step++)
        await rollcall.merge("people", {
          add: people(from + 10_000 + step * 50, from + 10_050 + step * 50),
          remove: people(from + step * 50, from + 50 + step * 50),
        });
      expect((await rollcall.sweep()).droppedSets).toBe(round === 0 ? 0 : round < 3 ? 1 : 2);
      // As autovacuum does, which comes once a minute. The history grows until it has its hundred.
      const { rows } = await admin.query(
        "SELECT c.oid::regclass AS name, pg_total_relation_size(c.oid) AS bytes FROM pg_class c WHERE relkind = 'r' AND relnamespace = $1::regnamespace AND relname <> 'rollcall_history'",
        [schema],
      );
      for (const { name } of rows) await admin.query(`VACUUM ${String(name)}`);
      sizes.push(rows.reduce((sum, { bytes }) => sum + Number(bytes), 0));
    }
    expect(Math.max(...sizes.slice(4))).toBeLessThanOrEqual(Math.max(...sizes.slice(0, 4)) * 1.05);
  });
});
