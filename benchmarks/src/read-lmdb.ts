// read-lmdb: a reader with a warm cache against a bare lru-cache, and an uncached one against hash plus raw LMDB get.

import { hash } from "node:crypto";
import { join } from "node:path";
import {
  type Context,
  createHashWriter,
  createRollcall,
  createSegmentReader,
  openStore,
  type SegmentReader,
  type SegmentStore,
} from "@rollcall/core";
import { storeFactory } from "@rollcall/lmdb";
import { LRUCache } from "lru-cache";
import { keyBatches, keyOf, streamKeys } from "./audience.js";
import { atLeast, type Benchmark, median, membersText, round } from "./benchmark.js";
import { openRawLmdb, putSorted } from "./raw-lmdb.js";
import { withTemporaryFolder } from "./temporary-folder.js";

const MEMBERS = 1_000_000;
const HOT = 100_000;
/** Calls per measured slice, slices per run, and how many of them warm up. */
const SLICE = 50_000;
const SLICES = 20;
const WARM_UP = 5;
/** Calls that a busy server has in one tick. */
const AT_ONCE = 100;
const ROUNDS = 3;
const DAY_MS = 86_400_000;

interface Size {
  readonly members: number;
}

/** Nanoseconds per call of the two sides, from slices in turn: what disturbs one disturbs the other. */
type Warm = {
  readonly bareNs: number;
  readonly awaitedNs: number;
  readonly readerNs: number;
};

async function warm({ members }: Size): Promise<Warm> {
  return withStore(members, async (store) => {
    const contexts = Array.from({ length: HOT }, (_, i) => userContext(2 * i));
    const bare = new LRUCache<string, object>({ max: HOT });
    for (const { key } of contexts) bare.set(key, { member: true });
    const reader = createSegmentReader({ store, cacheSize: HOT, cacheTtlMs: DAY_MS });
    await Promise.all(contexts.map((context) => reader.isMember("bench", context)));
    const { misses } = reader.stats();

    const times = { bare: [] as number[], awaited: [] as number[], reader: [] as number[] };
    for (let slice = 0; slice < SLICES; slice++) {
      const asked = Array.from({ length: SLICE }, () => contexts[Math.floor(Math.random() * HOT)] as UserContext);
      let found = 0;
      let started = performance.now();
      for (const { key } of asked) if (bare.get(key) !== undefined) found++;
      const bareMs = performance.now() - started;
      started = performance.now();
      for (const { key } of asked) if ((await bare.get(key)) !== undefined) found++;
      const awaitedMs = performance.now() - started;
      started = performance.now();
      for (const context of asked) if ((await reader.isMember("bench", context)).status === "healthy") found++;
      const readerMs = performance.now() - started;
      if (found !== 3 * SLICE) throw new Error(`${found} of ${3 * SLICE} answers`);
      if (slice < WARM_UP) continue;
      times.bare.push(bareMs);
      times.awaited.push(awaitedMs);
      times.reader.push(readerMs);
    }
    if (reader.stats().misses !== misses) throw new Error("the cache was not warm");
    reader.close();
    return { bareNs: perCall(times.bare), awaitedNs: perCall(times.awaited), readerNs: perCall(times.reader) };
  });
}

type Uncached = {
  readonly rawNs: number;
  readonly readerNs: number;
};

/** Nanoseconds per call without a cache, `atOnce` calls in a tick, beside a hash and a raw LMDB get. */
async function uncached({ members, atOnce }: Size & { readonly atOnce: number }): Promise<Uncached> {
  return withStore(members, async (store, folder) => {
    const database = openRawLmdb(join(folder, "raw"));
    await putSorted(database, sortedHashesOf(members));
    const key = Buffer.alloc(16);
    // Of the ways to get 16 bytes of a SHA-256 from Node the fastest, and the one that the reader uses.
    const writeHash = createHashWriter("key", undefined);
    const reader = createSegmentReader({ store, cacheSize: 0 });
    await reader.refresh();

    const times = { raw: [] as number[], reader: [] as number[] };
    for (let slice = 0; slice < SLICES; slice++) {
      const asked = Array.from({ length: SLICE }, () => userContext(Math.floor(Math.random() * 2 * members)));
      let started = performance.now();
      let inRaw = 0;
      for (const context of asked) {
        writeHash(context.key, key, 0);
        if (database.getBinaryFast(key) !== undefined) inRaw++;
      }
      const rawMs = performance.now() - started;
      started = performance.now();
      const inSegment = await countMembers(reader, asked, atOnce);
      const readerMs = performance.now() - started;
      if (inRaw !== inSegment) throw new Error(`${inSegment} of ${inRaw} members found`);
      if (slice < WARM_UP) continue;
      times.raw.push(rawMs);
      times.reader.push(readerMs);
    }
    reader.close();
    await database.close();
    return { rawNs: perCall(times.raw), readerNs: perCall(times.reader) };
  });
}

async function countMembers(reader: SegmentReader, asked: readonly Context[], atOnce: number): Promise<number> {
  let members = 0;
  if (atOnce === 1) {
    for (const context of asked) if ((await reader.isMember("bench", context)).member) members++;
    return members;
  }
  for (let start = 0; start < asked.length; start += atOnce) {
    const answers = asked.slice(start, start + atOnce).map((context) => reader.isMember("bench", context));
    for (const answer of answers) if ((await answer).member) members++;
  }
  return members;
}

type UserContext = Context & { readonly key: string };

function userContext(i: number): UserContext {
  return { kind: "user", key: keyOf(i) };
}

function perCall(times: readonly number[]): number {
  return (median(times) * 1e6) / SLICE;
}

async function withStore<T>(members: number, work: (store: SegmentStore, folder: string) => Promise<T>): Promise<T> {
  return withTemporaryFolder(async (folder) => {
    const store = await openStore(`lmdb:${join(folder, "store")}`, { factories: [storeFactory] });
    const rollcall = createRollcall(store);
    await rollcall.replace("bench", { included: streamKeys(0, members).keys });
    await rollcall.close();
    const result = await work(store, folder);
    await store.close();
    return result;
  });
}

function sortedHashesOf(members: number): Uint8Array {
  const hashes: Buffer[] = [];
  for (const batch of keyBatches(0, members))
    for (const key of batch) hashes.push(hash("sha256", key, "buffer").subarray(0, 16));
  return Buffer.concat(hashes.sort((a, b) => Buffer.compare(a, b)));
}

export const readLmdbBenchmark: Benchmark = {
  name: "read-lmdb",
  measures: "isMember from a warm cache against a bare lru-cache get, and uncached against a hash plus a raw LMDB get.",
  sides: { warm, uncached },
  async run({ quick, runSide, onProgress }) {
    const members = quick ? MEMBERS / 4 : MEMBERS;
    const runs = { warm: [] as Warm[], busy: [] as Uncached[], alone: [] as Uncached[] };
    for (let round = 1; round <= ROUNDS; round++) {
      onProgress(`round ${round} of ${ROUNDS}`);
      runs.warm.push((await runSide(warm, { members })).result);
      runs.busy.push((await runSide(uncached, { members, atOnce: AT_ONCE })).result);
      runs.alone.push((await runSide(uncached, { members, atOnce: 1 })).result);
    }
    const cached = bestOf(runs.warm);
    const busy = bestOf(runs.busy);
    const alone = bestOf(runs.alone);
    const row = (what: string, ns: number, base: number) => [what, round(ns), Math.round(1e9 / ns), round(base / ns)];
    return {
      columns: ["call", "ns per call", "calls per second", "share of the rate"],
      rows: [
        row("bare lru-cache get", cached.bareNs, cached.bareNs),
        row("bare lru-cache get, awaited", cached.awaitedNs, cached.bareNs),
        row("isMember, warm", cached.readerNs, cached.bareNs),
        row("hash + raw LMDB get", busy.rawNs, busy.rawNs),
        row(`isMember, uncached, ${AT_ONCE} in a tick`, busy.readerNs, busy.rawNs),
        row("hash + raw LMDB get", alone.rawNs, alone.rawNs),
        row("isMember, uncached, one by one", alone.readerNs, alone.rawNs),
      ],
      bounds: [
        atLeast("warm / bare lru-cache get", 0.25, cached.bareNs / cached.readerNs),
        atLeast("uncached / hash + raw LMDB get", 0.5, busy.rawNs / busy.readerNs),
      ],
      notes: [
        `Each pair is measured in one process, slices of ${SLICE.toLocaleString("en")} calls of both sides in turn; the median of ${SLICES - WARM_UP} slices, best of ${ROUNDS} runs for each side. Calls of isMember are awaited; the bare lru-cache get of the bound is not.`,
        `Warm: ${HOT.toLocaleString("en")} contexts in random order. Uncached: cacheSize 0, half of the contexts are members; the bound is for ${AT_ONCE} calls in a tick, as a busy server has them.`,
        `${membersText(members)} members. Everything runs on one thread of JavaScript; the database is in the file cache.`,
      ],
    };
  },
};

/** The best figure of each side. */
function bestOf<Figure extends string>(runs: readonly Readonly<Record<Figure, number>>[]): Record<Figure, number> {
  const best = {} as Record<Figure, number>;
  for (const run of runs)
    for (const side of Object.keys(run) as Figure[]) best[side] = Math.min(best[side] ?? run[side], run[side]);
  return best;
}
