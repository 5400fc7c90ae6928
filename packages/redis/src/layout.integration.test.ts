// What the contract cannot see: how data lies in Redis, what is left of it, and how often the network is crossed.

import { randomUUID } from "node:crypto";
import { startTcpProxy, type TcpProxy } from "@rollcall/conformance/containers";
import {
  type Block,
  CONTEXT_HASH_BYTES,
  type ContextHashes,
  contextHash,
  createRollcall,
  type EnvironmentName,
  type Fence,
  type MemberSet,
  type Rollcall,
  type SegmentKey,
  type SegmentStore,
  shardOf,
} from "@rollcall/core";
import keySlot from "cluster-key-slot";
import { Redis } from "ioredis";
import { afterAll, afterEach, describe, expect, inject, it } from "vitest";
import { bufferOf } from "./block-group.js";
import type { Argument } from "./connection.js";
import { CLUSTER, NO_RESENDING } from "./deployments.test-setup.js";
import { createRedisStore, type RedisClient, type RedisStoreOptions } from "./index.js";
import { createRecordKeys } from "./record-key.js";

const { host, port } = inject("redisServer");
const { nodes } = inject("redisCluster");
const url = `redis://${host}:${port}`;
const admin = new Redis({ host, port, ...NO_RESENDING });
afterAll(() => admin.disconnect());

const SEGMENT = "people" as SegmentKey;
const fence: Fence = { segmentKey: SEGMENT, generation: 1, holder: "writer", token: 1 };
const NOTHING: ContextHashes = new Uint8Array();
/** How Redis calls the compact form of a HASH, since 7.0 and before. */
const COMPACT = ["listpack", "ziplist"];

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

describe("shards", () => {
  it("stay compact at the sizes that are chosen, in many sets too", async () => {
    const { store, prefix } = await openStore();
    const shardBits = 8;
    // As many contexts as the same number of bits is ever chosen for.
    let contexts = 2 ** shardBits;
    while (store.chooseShardBits({ members: contexts + 1, contexts: contexts + 1 }) <= shardBits) contexts++;
    const rollcall = createRollcall(store, { expectedContexts: contexts });
    const everybody = Array.from({ length: contexts }, (_, number) => `person-${number}`);
    for (let segment = 0; segment < 4; segment++)
      await rollcall.replace(`segment-${segment}`, {
        included: everybody.filter((_, number) => number % (segment + 1) === 0),
      });
    const shards = await shardKeys(prefix);
    expect(shards).toHaveLength(2 ** shardBits);
    for (const key of shards) expect(COMPACT).toContain(await admin.object("ENCODING", key));
    const sizes = await Promise.all(shards.map((key) => admin.hlen(key)));
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(contexts);
  });

  it("give a context in very many sets to the overflow, and take it back when sets are left", async () => {
    const { store, prefix } = await openStore();
    const { shard, overflow } = recordKeys(prefix).shardKeys(1, 0, 0);
    const [busy, calm] = [contextHash("busy"), contextHash("calm")] as [ContextHashes, ContextHashes];
    const sets: MemberSet[] = [];
    const enter = async () => {
      const set = await store.allocateMemberSet(0, fence);
      sets.push(set);
      expect(await store.writeBlocks(set, [{ shard: 0, adds: busy, removes: NOTHING }], fence)).toEqual({
        added: 1,
        removed: 0,
      });
    };
    const expectWhole = async () => {
      const [found] = await store.findMemberSets(busy, sets);
      expect(found?.toSorted(byNumber)).toEqual(sets.map(({ id }) => id).toSorted(byNumber));
      for (const set of sets)
        expect(await membersOf(store, set)).toEqual([hex(busy), ...(set === sets[0] ? [hex(calm)] : [])].toSorted());
      expect(COMPACT).toContain(await admin.object("ENCODING", shard));
    };
    const bytes = async (key: string) => (await admin.hgetBuffer(key, bufferOf(busy)))?.length;

    await enter();
    await store.writeBlocks(sets[0]!, [{ shard: 0, adds: calm, removes: NOTHING }], fence);
    // The ids of the first 127 sets take one byte each.
    while (sets.length < 64) await enter();
    expect([await bytes(shard), await admin.exists(overflow)]).toEqual([64, 0]);
    await expectWhole();
    while (sets.length < 70) await enter();
    expect([await bytes(shard), await bytes(overflow)]).toEqual([1, 70]);
    await expectWhole();
    // What is there already is not added again.
    expect(await store.writeBlocks(sets[69]!, [{ shard: 0, adds: busy, removes: NOTHING }], fence)).toEqual({
      added: 0,
      removed: 0,
    });

    // Out of it by leaving, into it again, and out of it by a sweep.
    for (const set of sets.splice(64)) {
      const left = await store.writeBlocks(set, [{ shard: 0, adds: NOTHING, removes: busy }], fence);
      expect(left).toEqual({ added: 0, removed: 1 });
    }
    expect([await bytes(shard), await admin.exists(overflow)]).toEqual([64, 0]);
    await expectWhole();
    while (sets.length < 66) await enter();
    expect([await bytes(shard), await bytes(overflow)]).toEqual([1, 66]);
    await store.dropMemberSets(sets.splice(65));
    expect([await bytes(shard), await bytes(overflow)]).toEqual([1, 65]);
    await expectWhole();
    await store.dropMemberSets(sets.splice(60));
    expect([await bytes(shard), await admin.exists(overflow)]).toEqual([60, 0]);
    await expectWhole();
    await store.dropMemberSets(sets);
    expect(await admin.exists(shard, overflow)).toBe(0);
  });

  it("do not take one id for the end of another", async () => {
    const { store, prefix } = await openStore();
    // Packed, each of them ends as another one: 01, 80 01, 81 01, 80 81 01, 81 81 01; and the last one there is.
    const sets: MemberSet[] = [];
    for (const id of [1, 128, 129, 16_512, 16_513, 2 ** 32 - 1]) {
      // Ids are handed out by a counter. It is moved on here, instead of allocating so many.
      await admin.hset(recordKeys(prefix).registry, "lastSet", id - 1);
      sets.push(await store.allocateMemberSet(0, fence));
    }
    expect(sets.map(({ id }) => id)).toEqual([1, 128, 129, 16_512, 16_513, 2 ** 32 - 1]);
    // One context for each choice of sets, half of them in the opposite order of entering.
    const contexts = Array.from(
      { length: 2 ** sets.length },
      (_, choice) => contextHash(`choice-${choice}`) as ContextHashes,
    );
    const expected = new Map(sets.map(({ id }) => [id, new Set<string>()]));
    const change = async (set: MemberSet, kind: "adds" | "removes", choices: (choice: number) => boolean) => {
      const chosen = contexts.filter((_, choice) => choices(choice));
      const block = { shard: 0, adds: NOTHING, removes: NOTHING, [kind]: packed(chosen) };
      await store.writeBlocks(set, [block], fence);
      for (const hash of chosen) {
        if (kind === "adds") expected.get(set.id)?.add(hex(hash));
        else expected.get(set.id)?.delete(hex(hash));
      }
    };
    const expectAll = async () => {
      const found = await store.findMemberSets(packed(contexts), sets);
      packedList(packed(contexts)).forEach((hash, index) => {
        const own = sets.filter(({ id }) => expected.get(id)?.has(hex(hash))).map(({ id }) => id);
        expect(found[index]?.toSorted(byNumber)).toEqual(own);
      });
      for (const set of sets) expect(await membersOf(store, set)).toEqual([...expected.get(set.id)!].toSorted());
    };
    const chooses = (bit: number) => (choice: number) => (choice & (1 << bit)) !== 0;
    for (const [bit, set] of sets.entries())
      await change(set, "adds", (choice) => choice % 3 > 0 && chooses(bit)(choice));
    for (const [bit, set] of [...sets.entries()].reverse())
      await change(set, "adds", (choice) => choice % 3 === 0 && chooses(bit)(choice));
    await expectAll();
    for (const bit of [0, 2, 4]) await change(sets[bit]!, "removes", (choice) => choice % 2 === 1 || choice % 5 === 0);
    await expectAll();
    for (const dropped of [0, 1, 1]) {
      await store.dropMemberSets(sets.splice(dropped, 1));
      await expectAll();
    }
  });

  it("vanish when they are empty, and clear their bit when they are swept", async () => {
    const { store, prefix } = await openStore();
    const shardBits = 4;
    const { used } = recordKeys(prefix).runs(1, shardBits)[0]!;
    const sets = [
      await store.allocateMemberSet(shardBits, fence),
      await store.allocateMemberSet(shardBits, fence),
    ] as const;
    const blocks = blocksOf(hashes(200), shardBits);
    for (const set of sets) await store.writeBlocks(set, blocks, fence);
    expect([(await shardKeys(prefix)).length, await admin.bitcount(used)]).toEqual([16, 16]);
    const leaving = blocks.slice(0, 6).map(({ shard, adds }) => ({ shard, adds: NOTHING, removes: adds }));
    for (const set of sets) await store.writeBlocks(set, leaving, fence);
    // The bit says that the shard has had a member: it is only a hint where to look.
    expect([(await shardKeys(prefix)).length, await admin.bitcount(used)]).toEqual([10, 16]);
    await store.dropMemberSets([sets[0]]);
    expect([(await shardKeys(prefix)).length, await admin.bitcount(used)]).toEqual([10, 10]);
    await store.dropMemberSets([sets[1]]);
    expect([(await shardKeys(prefix)).length, await admin.bitcount(used)]).toEqual([0, 0]);
    // And a shard that comes back is found again.
    const again = await store.allocateMemberSet(shardBits, fence);
    await store.writeBlocks(again, blocks.slice(3, 5), fence);
    expect(await membersOf(store, again)).toEqual(blocks.slice(3, 5).flatMap(({ adds }) => packedList(adds).map(hex)));
  });
});

describe("the keyspace", () => {
  it("holds nothing but the registry's records when all segments are deleted and swept", async () => {
    const { store, prefix } = await openStore({ slots: 4 });
    const rollcall = createRollcall(store, { graceMs: 0, expectedContexts: 5_000 });
    await busyLife(rollcall);
    await rollcall.deleteSegment("a");
    await rollcall.deleteSegment("b");
    await rollcall.sweep();
    const { registry, segments, history } = recordKeys(prefix);
    const records = [registry, segments, history("a" as SegmentKey), history("b" as SegmentKey)];
    expect((await keysOf(prefix)).toSorted()).toEqual(records.toSorted());
    expect((await admin.hkeys(registry)).toSorted()).toEqual(["environment", "epoch", "lastSet", "layout"]);
    expect((await admin.hkeys(segments)).toSorted()).toEqual(["a", "b"]);
  });

  it("shows no context key, and no context in the name of a key", async () => {
    for (const pepper of [undefined, "pepper"]) {
      const { store, prefix } = await openStore();
      const people = ["ada@example.com", "grace@example.com"];
      const rollcall = createRollcall(store, { pepper });
      await rollcall.replace("people", { included: [...people, `${"x".repeat(2_000)}@example.com`] });
      await rollcall.merge("people", { add: ["alan@example.com", ""], remove: people.slice(1) }, { syncId: "sync-1" });
      await rollcall.forget({ kind: "user", key: "ada@example.com" });
      const names = await keysOf(prefix);
      const contents = await Promise.all(names.map(readAll));
      const text = Buffer.concat([...names.map((name) => Buffer.from(name)), ...contents.flat()]).toString("latin1");
      // It is really all there: what must be kept is found in the same way.
      expect(text).toContain('"segmentKey":"people"');
      const written = ["example.com", ...people, "alan@example.com"].flatMap((key) => [
        key,
        Buffer.from(key).toString("base64").slice(0, -4),
        Buffer.from(key).toString("hex"),
      ]);
      expect(written.filter((form) => text.includes(form))).toEqual([]);
      const hashed = [...people, "alan@example.com"].map((key) =>
        Buffer.from(contextHash(key, pepper) as ContextHashes),
      );
      const forms = hashed.flatMap((hash) => [hash.toString("hex"), hash.toString("base64"), hash.toString("latin1")]);
      const allNames = names.join("\n");
      expect(forms.filter((form) => allNames.includes(form.slice(0, 10)))).toEqual([]);
      // What is kept is the hash.
      expect(text).toContain(hashed[2]?.toString("latin1"));
    }
  });

  it("is shared by no two environments, whatever they are called", async () => {
    const prefix = randomUUID();
    const places = [
      [prefix, "prod"],
      [prefix, "prod.eu"],
      [prefix, "prod-eu"],
      [`${prefix}.prod`, "prod"],
      [`${prefix}.prod`, "eu"],
    ] as const;
    const seen = new Map<string, string>();
    for (const [ownPrefix, environment] of places) {
      const { store } = await openStore({ prefix: ownPrefix, environment });
      await busyLife(createRollcall(store, { graceMs: 0 }));
      const now = await dumpsOf(prefix);
      expect(now.size).toBeGreaterThan(seen.size);
      // All that was there is there as it was.
      for (const [key, dump] of seen) expect(now.get(key)).toBe(dump);
      for (const [key, dump] of now) seen.set(key, dump);
    }
  });

  it("keeps the last hundred reports of a segment", async () => {
    const { store, prefix } = await openStore();
    const report = await createRollcall(store).merge("people", { add: ["ada"] });
    for (let number = 0; number < 105; number++) await store.appendHistory(SEGMENT, { ...report, received: number });
    expect(await admin.llen(recordKeys(prefix).history(SEGMENT))).toBe(100);
    expect((await store.getHistory(SEGMENT)).map(({ received }) => received)).toEqual(
      Array.from({ length: 100 }, (_, age) => 104 - age),
    );
  });
});

describe("on a Cluster", () => {
  it("every call stays in one slot, and shards lie on all nodes alike", async () => {
    const before = await crossSlotErrors();
    const { store, prefix, commands } = await openRecorded();
    await busyLife(createRollcall(store, { graceMs: 0, expectedContexts: 200_000 }));
    const isScript = ([name]: readonly Argument[]) => name === "evalsha" || name === "eval";
    const slotsOf = ([, , count, ...rest]: readonly Argument[]) =>
      new Set(rest.slice(0, Number(count)).map((key) => keySlot(String(key)))).size;
    expect(new Set(commands.filter(isScript).map(slotsOf))).toEqual(new Set([1]));
    // The other commands have one key each.
    const others = commands.filter((command) => !isScript(command)).map(([name]) => String(name));
    expect(others.filter((name) => !ONE_KEY.includes(name))).toEqual([]);
    expect(await crossSlotErrors()).toBe(before);

    const perNode = await Promise.all(nodes.map((node) => withClient(node, (client) => client.keys(`${prefix}:*`))));
    const total = perNode.flat().length;
    for (const keys of perNode) expect(keys.length / total).toBeGreaterThan(0.25);
    // The server finds a key where we think that it is.
    for (const key of perNode.map(([first]) => first!))
      expect(await withClient(nodes[0]!, (client) => client.cluster("KEYSLOT", key))).toBe(keySlot(key));
  });

  it("a write and a lookup of what is warm cross the network once", async () => {
    const { store, waves } = await openRecorded();
    const set = await store.allocateMemberSet(8, fence);
    const blocks = blocksOf(hashes(600), 8);
    const all = packed(hashes(600));
    await store.writeBlocks(set, blocks, fence);
    const before = waves.count;
    await store.writeBlocks(set, blocks, fence);
    expect(waves.count - before).toBe(1);
    await store.findMemberSets(all, [set]);
    expect(waves.count - before).toBe(2);
  });
});

describe("round trips", () => {
  it("are one for a write, a lookup and a look at the epoch", async () => {
    await using proxy = await startTcpProxy({ host, port });
    const { store } = await openStore({}, `redis://127.0.0.1:${proxy.port}`);
    const sets = [await store.allocateMemberSet(6, fence), await store.allocateMemberSet(8, fence)] as const;
    const blocks = blocksOf(hashes(700), 8);
    const all = packed(hashes(300));
    await store.writeBlocks(sets[0], blocksOf(hashes(700), 6), fence);
    await store.writeBlocks(sets[1], blocks, fence);

    const scripts = await scriptRuns();
    expect(await tripsOf(proxy, () => store.writeBlocks(sets[1], blocks, fence))).toBe(1);
    // It took several scripts, and each of them once.
    const ran = await scriptRuns();
    expect(ran.evalsha - scripts.evalsha).toBeGreaterThanOrEqual(Math.ceil(blocks.length / 64));
    expect(ran.eval - scripts.eval).toBe(0);
    expect(await tripsOf(proxy, () => store.findMemberSets(all, sets))).toBe(1);
    expect(await tripsOf(proxy, () => store.findMemberSets(all.subarray(0, CONTEXT_HASH_BYTES), sets))).toBe(1);
    expect(await tripsOf(proxy, () => store.getEpoch())).toBe(1);
    expect(await tripsOf(proxy, () => store.getSegment(SEGMENT))).toBe(1);
  });

  it("are two for a lookup where one of the contexts is in very many sets", async () => {
    await using proxy = await startTcpProxy({ host, port });
    const { store } = await openStore({}, `redis://127.0.0.1:${proxy.port}`);
    const busy = contextHash("busy") as ContextHashes;
    const sets: MemberSet[] = [];
    while (sets.length < 65) {
      const set = await store.allocateMemberSet(0, fence);
      await store.writeBlocks(set, [{ shard: 0, adds: busy, removes: NOTHING }], fence);
      sets.push(set);
    }
    expect(await tripsOf(proxy, () => store.findMemberSets(busy, sets))).toBe(2);
  });
});

async function openStore(options: RedisStoreOptions = {}, target: string | RedisClient = url) {
  const prefix = options.prefix ?? randomUUID();
  const store = createRedisStore(target, { ...options, prefix });
  cleanups.push(() => store.close());
  await store.open();
  return { store, prefix };
}

/** Commands of the adapter that name one key. */
const ONE_KEY = ["get", "hdel", "hget", "hmget", "hscan", "hset", "hsetnx", "info", "lpush", "lrange", "ltrim"];

/** A store on a real Cluster, with a record of every command that it sends, and of how often it sent some and waited. */
async function openRecorded() {
  const client = CLUSTER.connect();
  cleanups.push(() => client.disconnect());
  const commands: (readonly Argument[])[] = [];
  const waves = { count: 0 };
  let pending = 0;
  const send = client.callBuffer.bind(client);
  client.callBuffer = async (name, ...args) => {
    commands.push([name, ...args]);
    if (pending++ === 0) waves.count++;
    try {
      return await send(name, ...args);
    } finally {
      pending--;
    }
  };
  return { ...(await openStore({}, client)), commands, waves };
}

/** How often `work` sends something and waits for the answer. */
async function tripsOf(proxy: TcpProxy, work: () => Promise<unknown>): Promise<number> {
  let trips = 0;
  let asking = false;
  // All that is sent together is there long before the first answer to it can be.
  proxy.delay(50);
  proxy.dropReplies({
    after: () => {
      if (!asking) trips++;
      asking = true;
      return false;
    },
  });
  proxy.onReply((reply) => {
    asking = false;
    return reply;
  });
  await work();
  await proxy.resume();
  return trips;
}

/** Syncs of every kind, on two segments. */
async function busyLife(rollcall: Rollcall): Promise<void> {
  const everybody = Array.from({ length: 3_000 }, (_, number) => `person-${number}`);
  await rollcall.replace("a", { included: everybody, excluded: everybody.slice(0, 50) });
  await rollcall.merge("b", { add: everybody.slice(0, 500), remove: everybody.slice(1_000) });
  await rollcall.replace("a", { included: everybody.slice(0, 2_000) });
  await rollcall.merge("b", { remove: everybody.slice(0, 100) });
  expect((await rollcall.verify()).findings).toEqual([]);
  await rollcall.sweep();
}

function recordKeys(prefix: string) {
  return createRecordKeys(prefix, "default" as EnvironmentName);
}

function keysOf(prefix: string): Promise<string[]> {
  return admin.keys(`*${prefix}*`);
}

async function shardKeys(prefix: string): Promise<string[]> {
  return (await keysOf(prefix)).filter((key) => /:\d+:\d+$/.test(key));
}

async function dumpsOf(prefix: string): Promise<Map<string, string>> {
  const keys = await keysOf(prefix);
  const dumps = await Promise.all(keys.map((key) => admin.dumpBuffer(key)));
  return new Map(keys.map((key, index) => [key, dumps[index]?.toString("hex") ?? ""]));
}

/** All that a key holds: DUMP would compress it. */
async function readAll(key: string): Promise<Buffer[]> {
  const type = await admin.type(key);
  if (type === "string") return [(await admin.getBuffer(key)) ?? Buffer.alloc(0)];
  if (type === "list") return admin.lrangeBuffer(key, 0, -1);
  return [...(await admin.hkeysBuffer(key)), ...(await admin.hvalsBuffer(key))];
}

async function scriptRuns(): Promise<{ readonly evalsha: number; readonly eval: number }> {
  const stats = await admin.info("commandstats");
  const calls = (name: string) => Number(new RegExp(`^cmdstat_${name}:calls=(\\d+)`, "m").exec(stats)?.[1] ?? 0);
  return { evalsha: calls("evalsha"), eval: calls("eval") };
}

async function crossSlotErrors(): Promise<number> {
  const counts = await Promise.all(
    nodes.map((node) =>
      withClient(node, async (client) =>
        Number(/^errorstat_CROSSSLOT:count=(\d+)/m.exec(await client.info("errorstats"))?.[1] ?? 0),
      ),
    ),
  );
  return counts.reduce((sum, count) => sum + count, 0);
}

async function withClient<T>(node: { host: string; port: number }, work: (client: Redis) => Promise<T>): Promise<T> {
  const client = new Redis({ ...node, ...NO_RESENDING });
  try {
    return await work(client);
  } finally {
    client.disconnect();
  }
}

function hashes(count: number): ContextHashes[] {
  return Array.from({ length: count }, (_, number) => contextHash(`person-${number}`) as ContextHashes);
}

function packed(all: readonly ContextHashes[]): ContextHashes {
  return new Uint8Array(Buffer.concat(all.toSorted(Buffer.compare)));
}

function packedList(all: ContextHashes): ContextHashes[] {
  return Array.from({ length: all.length / CONTEXT_HASH_BYTES }, (_, index) =>
    all.subarray(index * CONTEXT_HASH_BYTES, (index + 1) * CONTEXT_HASH_BYTES),
  );
}

function blocksOf(adds: readonly ContextHashes[], shardBits: number): Block[] {
  const shards = new Map<number, ContextHashes[]>();
  for (const hash of adds) {
    const shard = shardOf(hash, 0, shardBits);
    shards.set(shard, [...(shards.get(shard) ?? []), hash]);
  }
  const blocks = Array.from(shards, ([shard, own]) => ({ shard, adds: packed(own), removes: NOTHING }));
  return blocks.toSorted((a, b) => a.shard - b.shard);
}

async function membersOf(store: SegmentStore, set: MemberSet): Promise<string[]> {
  const members: string[] = [];
  for await (const chunk of store.scanMembers(set)) members.push(...packedList(chunk).map(hex));
  return members.toSorted();
}

function hex(hash: ContextHashes): string {
  return Buffer.from(hash).toString("hex");
}

function byNumber(a: number, b: number): number {
  return a - b;
}
