// The reader against the store in memory: time is a clock that the test moves, and a call of the store waits where the
// test holds it. Here the store does not tell when its epoch moves; epoch-watch.test.ts is about that.

import { randomUUID } from "node:crypto";
import { afterEach, describe, expect, it, vi } from "vitest";
import type { MemberAnswer } from "./answer.js";
import type { Clock } from "./clock.js";
import { contextHash, pepperCheck } from "./context-hash.js";
import { concatHashes } from "./context-hashes.js";
import { isRollcallError, RollcallError } from "./errors.js";
import { createMemoryDatabase, createMemoryStore, type MemoryDatabase } from "./memory-store.js";
import { createSegmentReader, type SegmentReader, type SegmentReaderOptions } from "./reader.js";
import { LAYOUT_VERSION, type ListName, type MemberSet, type Segment, segmentSchema } from "./segment.js";
import type { SegmentStore } from "./store.js";

interface TestClock extends Clock {
  advance(ms: number): void;
  /** A machine that was suspended: only the wall clock has gone on. */
  suspend(ms: number): void;
  /** Somebody set the wall clock back meanwhile: only the monotonic clock has gone on. */
  setBack(ms: number): void;
}

function createTestClock(): TestClock {
  let wall = 1_700_000_000_000;
  let monotonic = 5_000;
  return {
    now: () => wall,
    monotonic: () => monotonic,
    sleep: async () => {},
    advance(ms) {
      wall += ms;
      monotonic += ms;
    },
    suspend(ms) {
      wall += ms;
    },
    setBack(ms) {
      monotonic += ms;
    },
  };
}

type Read = "getEpoch" | "listSegments" | "getEnvironment" | "findMemberSets";

/** The store, with every reading call counted, and held or failed where the test says so. */
function watch(store: SegmentStore) {
  const calls: Read[] = [];
  const gates = new Map<Read, Promise<void>>();
  const faults = new Map<Read, Error>();
  const pass = async <A>(read: Read, call: () => Promise<A>): Promise<A> => {
    calls.push(read);
    const fault = faults.get(read);
    if (fault !== undefined) throw fault;
    const result = await call();
    await gates.get(read);
    return result;
  };
  const { watchEpoch, ...polled } = store;
  const watched: SegmentStore = {
    ...polled,
    getEpoch: () => pass("getEpoch", () => store.getEpoch()),
    listSegments: () => pass("listSegments", () => store.listSegments()),
    getEnvironment: () => pass("getEnvironment", () => store.getEnvironment()),
    findMemberSets: (hashes, among) => pass("findMemberSets", () => store.findMemberSets(hashes, among)),
  };
  return {
    store: watched,
    count: (read: Read) => calls.filter((call) => call === read).length,
    /** Holds back the answers of `read` until the function that is returned is called. */
    hold(read: Read): () => void {
      let open = () => {};
      const gate = new Promise<void>((resolve) => {
        open = resolve;
      });
      gates.set(read, gate);
      return () => {
        if (gates.get(read) === gate) gates.delete(read);
        open();
      };
    },
    fail(read: Read): () => void {
      faults.set(read, new RollcallError("store_unavailable", "it is down"));
      return () => faults.delete(read);
    },
  };
}

type Lists = { readonly [List in ListName]?: readonly string[] };

/** The writer of these tests: whole records and whole sets, by the port. */
function createWriter(store: SegmentStore) {
  const fence = { segmentKey: segmentSchema.shape.key.parse("any"), generation: 1, holder: "test", token: 1 };
  const writeSet = async (keys: readonly string[] | undefined): Promise<{ set?: MemberSet; count: number }> => {
    if (keys === undefined) return { count: 0 };
    const set = await store.allocateMemberSet(0, fence);
    await change(set, keys, []);
    return { set, count: keys.length };
  };
  const change = async (set: MemberSet, adds: readonly string[], removes: readonly string[]) => {
    await store.writeBlocks(set, [{ shard: 0, adds: hashesOf(adds), removes: hashesOf(removes) }], fence);
  };
  const put = async (key: string, patch: Partial<Segment>) => {
    const present = await store.getSegment(segmentSchema.shape.key.parse(key));
    const fresh: Segment = segmentSchema.parse({
      layout: LAYOUT_VERSION,
      key,
      contextKind: "user",
      generation: 1,
      revision: randomUUID(),
      state: "live",
      details: {},
      lease: { token: 1, expiresAt: 0 },
      included: { count: { value: 0, exact: true } },
      excluded: { count: { value: 0, exact: true } },
      staged: [],
      retired: [],
      positions: [],
      recentSyncs: [],
      recentSyncIds: [],
      createdAt: 1,
      updatedAt: 1,
    });
    await store.putSegment({ ...(present ?? fresh), ...patch, revision: randomUUID() }, present?.revision);
  };
  return {
    put,
    /** New sets and one flip. */
    async replace(key: string, lists: Lists, patch: Partial<Segment> = {}) {
      const included = await writeSet(lists.included);
      const excluded = await writeSet(lists.excluded);
      const state = ({ set, count }: typeof included) => ({
        ...(set === undefined ? {} : { set }),
        count: { value: count, exact: true },
      });
      await put(key, { included: state(included), excluded: state(excluded), lastSyncedAt: 1, ...patch });
    },
    async merge(key: string, adds: readonly string[], removes: readonly string[] = []) {
      const set = (await store.getSegment(segmentSchema.shape.key.parse(key)))?.included.set;
      if (set === undefined) throw new Error("no such list");
      await change(set, adds, removes);
    },
    async drop(key: string) {
      const segment = await store.getSegment(segmentSchema.shape.key.parse(key));
      const sets = [segment?.included.set, segment?.excluded.set].filter((set) => set !== undefined);
      await store.dropMemberSets(sets);
    },
  };
}

function hashesOf(keys: readonly string[]) {
  const hashes = keys.map((key) => contextHash(key)!).sort((a, b) => Buffer.compare(a, b));
  return hashes.length === 0 ? new Uint8Array() : concatHashes(hashes);
}

const readers: SegmentReader[] = [];
afterEach(() => {
  for (const reader of readers.splice(0)) reader.close();
  vi.useRealTimers();
});

async function setUp(options: Partial<SegmentReaderOptions> = {}, database: MemoryDatabase = createMemoryDatabase()) {
  const store = createMemoryStore({ database });
  await store.open();
  const clock = createTestClock();
  const watched = watch(store);
  const reader = createSegmentReader({ store: watched.store, clock, ...options });
  readers.push(reader);
  return { store, clock, watched, reader, writer: createWriter(store), database };
}

const user = (key: string) => ({ kind: "user", key });
const healthy = (decision: MemberAnswer["decision"]): MemberAnswer => ({
  member: decision === "included",
  decision,
  status: "healthy",
});

/** Lets everything that can go on do so; what is held stays held. */
const settle = () => new Promise((resolve) => setImmediate(resolve));

describe("an answer", () => {
  it("says included, excluded or none, and included wins", async () => {
    const { reader, writer } = await setUp();
    await writer.replace("s", { included: ["in", "both"], excluded: ["out", "both"] });
    expect(await reader.isMember("s", user("in"))).toEqual(healthy("included"));
    expect(await reader.isMember("s", user("both"))).toEqual(healthy("included"));
    expect(await reader.isMember("s", user("out"))).toEqual(healthy("excluded"));
    expect(await reader.isMember("s", user("nobody"))).toEqual(healthy("none"));
  });

  it("covers all segments of the kind, and only these", async () => {
    const { reader, writer } = await setUp();
    await writer.replace("a", { included: ["x"] });
    await writer.replace("b", { excluded: ["x"] });
    await writer.replace("c", { included: ["x"], excluded: ["x"] });
    await writer.replace("d", { included: ["y"] });
    await writer.replace("e", { included: ["x"] }, { contextKind: segmentSchema.shape.contextKind.parse("device") });
    const segments = new Map([
      ["a", true],
      ["b", false],
      ["c", true],
    ]);
    expect(await reader.membership(user("x"))).toEqual({ segments, status: "healthy" });
    expect(await reader.membership(user("x"))).toEqual({ segments, status: "healthy" });
    expect(await reader.membership({ kind: "device", key: "x" })).toMatchObject({ segments: new Map([["e", true]]) });
    expect(await reader.membership({ kind: "account", key: "x" })).toEqual({ segments: new Map(), status: "healthy" });
  });

  it("never asks for staged or retired sets", async () => {
    const { reader, writer, store } = await setUp();
    await writer.replace("other", { included: ["x"] });
    const { set } = (await store.getSegment(segmentSchema.shape.key.parse("other")))!.included;
    await writer.replace("s", { included: ["y"] }, { staged: [set!], retired: [{ set: set!, at: 1 }] });
    await writer.put("other", { state: "deleted" });
    const find = vi.spyOn(store, "findMemberSets");
    expect(await reader.membership(user("x"))).toEqual({ segments: new Map(), status: "healthy" });
    expect(find.mock.calls[0]![1].map(({ id }) => id)).not.toContain(set!.id);
  });

  it("is none for a context of another kind, with the segment's status", async () => {
    const { reader, writer, watched } = await setUp();
    await writer.replace("s", { included: ["x"] });
    expect(await reader.isMember("s", { kind: "device", key: "x" })).toEqual(healthy("none"));
    expect(await reader.isMember("s", user("x"))).toEqual(healthy("included"));
    expect(await reader.isMember("s", { kind: "device", key: "x" })).toEqual(healthy("none"));
    expect(watched.count("findMemberSets")).toBe(1);
  });

  it("is none for what cannot be a member, and never a throw", async () => {
    const { reader, writer, watched } = await setUp();
    await writer.replace("s", { included: ["x", "42", "__proto__", "[object Object]"] });
    const keys: unknown[] = [
      "",
      "\ud800",
      "x".repeat(1_025),
      "é".repeat(513),
      4.2,
      2 ** 53,
      null,
      undefined,
      {},
      Symbol("x"),
    ];
    for (const key of keys) {
      expect(await reader.isMember("s", { kind: "user", key: key as string })).toEqual(healthy("none"));
      expect(await reader.membership({ kind: "user", key: key as string })).toMatchObject({ segments: new Map() });
    }
    for (const context of [undefined, null, 1, "x", {}, { kind: 1, key: 1 }]) {
      expect(await reader.isMember("s", context as never)).toEqual(healthy("none"));
      expect(await reader.membership(context as never)).toMatchObject({ segments: new Map(), status: "healthy" });
    }
    expect(await reader.isMember(undefined as never, user("x"))).toMatchObject({ status: "unknown_segment" });
    expect(watched.count("findMemberSets")).toBe(0);
    // An integer stands for its decimal digits, as it does for a writer.
    for (const key of ["42", 42, 42n, "__proto__"])
      expect(await reader.isMember("s", { kind: "user", key })).toEqual(healthy("included"));
    for (const key of ["constructor", "toString", "\0", "é", "e\u0301", "x".repeat(1_024)])
      expect(await reader.isMember("s", user(key))).toEqual(healthy("none"));
    expect(await reader.isMember("__proto__", user("x"))).toMatchObject({ status: "unknown_segment" });
  });

  it("does not take a valid key that follows an invalid one for another", async () => {
    const { reader, writer } = await setUp();
    await writer.replace("s", { included: ["x"] });
    const asked = ["", "x", "\ud800", "y", "x"].map((key) => reader.isMember("s", user(key)));
    expect((await Promise.all(asked)).map(({ member }) => member)).toEqual([false, true, false, false, true]);
  });
});

describe("the status", () => {
  it("is stale when the segment was not synced within the freshness", async () => {
    const { reader, writer, clock } = await setUp({ freshnessMs: 60_000, cacheTtlMs: 1e9 });
    await writer.replace("s", { included: ["x"] }, { lastSyncedAt: clock.now() });
    await writer.replace("t", {}, { lastSyncedAt: clock.now() + 10_000 });
    expect(await reader.isMember("s", user("x"))).toEqual(healthy("included"));
    clock.advance(60_000);
    expect(await reader.membership(user("x"))).toMatchObject({ status: "healthy" });
    clock.advance(1);
    expect(await reader.isMember("s", user("x"))).toEqual({ member: true, decision: "included", status: "stale" });
    expect(await reader.isMember("t", user("x"))).toMatchObject({ status: "healthy" });
    expect(await reader.membership(user("x"))).toMatchObject({ status: "stale" });
  });

  it("is never_synced before the first sync has finished, and the worst of all wins", async () => {
    const { reader, writer, clock } = await setUp({ freshnessMs: 1_000 });
    await writer.replace("old", { included: ["x"] }, { lastSyncedAt: clock.now() - 5_000 });
    await writer.put("s", {});
    expect(await reader.isMember("s", user("x"))).toEqual({ member: false, decision: "none", status: "never_synced" });
    expect(await reader.membership(user("x"))).toMatchObject({ status: "never_synced" });
  });

  it("is unknown_segment for one that is missing or deleted", async () => {
    const { reader, writer } = await setUp();
    await writer.replace("s", { included: ["x"] });
    await writer.put("s", { state: "deleted" });
    for (const key of ["s", "t"])
      expect(await reader.isMember(key, user("x"))).toEqual({
        member: false,
        decision: "none",
        status: "unknown_segment",
      });
    expect(await reader.membership(user("x"))).toEqual({ segments: new Map(), status: "healthy" });
  });

  it("is not_configured without a store and after close", async () => {
    const without = createSegmentReader({ store: undefined });
    await without.refresh();
    const { reader, writer } = await setUp();
    await writer.replace("s", { included: ["x"] });
    await reader.isMember("s", user("x"));
    reader.close();
    for (const closed of [without, reader]) {
      expect(await closed.isMember("s", user("x"))).toEqual({
        member: false,
        decision: "none",
        status: "not_configured",
      });
      expect(await closed.membership(user("x"))).toEqual({ segments: new Map(), status: "not_configured" });
    }
    await expect(reader.refresh()).rejects.toSatisfy((error) => isRollcallError(error, "closed"));
  });
});

describe("a flip", () => {
  it("shows at the next poll, and is a miss for its segment only", async () => {
    const { reader, writer, clock, watched } = await setUp({ cacheTtlMs: 1e9 });
    await writer.replace("s", { included: ["old"] });
    await writer.replace("t", { included: ["old"] });
    expect(await reader.isMember("s", user("old"))).toEqual(healthy("included"));
    await writer.replace("s", { included: ["new"] });
    expect(await reader.isMember("s", user("old"))).toEqual(healthy("included"));
    expect(await reader.isMember("s", user("new"))).toEqual(healthy("none"));

    clock.advance(1_000);
    expect(await reader.isMember("s", user("old"))).toEqual(healthy("included"));
    await settle();
    const before = watched.count("findMemberSets");
    expect(await reader.isMember("t", user("old"))).toEqual(healthy("included"));
    expect(watched.count("findMemberSets")).toBe(before);
    expect(await reader.isMember("s", user("old"))).toEqual(healthy("none"));
    expect(await reader.isMember("s", user("new"))).toEqual(healthy("included"));
    expect(watched.count("findMemberSets")).toBe(before + 2);
  });

  it("of the excluded set alone is a miss too", async () => {
    const { reader, writer, clock, store } = await setUp({ cacheTtlMs: 1e9 });
    await writer.replace("s", { included: ["x"], excluded: ["y"] });
    expect(await reader.isMember("s", user("y"))).toEqual(healthy("excluded"));
    const { included } = (await store.getSegment(segmentSchema.shape.key.parse("s")))!;
    expect(await reader.isMember("s", user("z"))).toEqual(healthy("none"));
    await writer.replace("s", { excluded: ["z"] }, { included });
    clock.advance(1_000);
    await reader.isMember("s", user("y"));
    await settle();
    expect(await reader.isMember("s", user("y"))).toEqual(healthy("none"));
    expect(await reader.isMember("s", user("z"))).toEqual(healthy("excluded"));
    expect(await reader.isMember("s", user("x"))).toEqual(healthy("included"));
  });

  it("does not mix: members that were asked for the old sets are answered from the old ones", async () => {
    const { reader, writer, clock, watched } = await setUp({ cacheTtlMs: 1e9 });
    await writer.replace("s", { included: ["old"] });
    await reader.isMember("s", user("someone"));
    const release = watched.hold("findMemberSets");
    const early = reader.isMember("s", user("old"));
    await settle();
    await writer.replace("s", { included: ["new"] });
    clock.advance(1_000);
    // Polls while the first lookup is under way; its answer has come already, but is held back.
    const middle = reader.isMember("s", user("new"));
    await settle();
    const late = reader.isMember("s", user("old"));
    await settle();
    expect(watched.count("findMemberSets")).toBe(4);
    release();
    expect(await early).toEqual(healthy("included"));
    expect(await late).toEqual(healthy("none"));
    expect([healthy("none"), healthy("included")]).toContainEqual(await middle);
    // What the early lookup found must not stand in for the new sets.
    expect(await reader.isMember("s", user("old"))).toEqual(healthy("none"));
    expect(await reader.isMember("s", user("new"))).toEqual(healthy("included"));
  });

  it("between epoch and segments shows at the next poll", async () => {
    const { reader, writer, clock, watched } = await setUp({ cacheTtlMs: 1e9 });
    await writer.replace("s", { included: ["old"] });
    const release = watched.hold("getEpoch");
    const asked = reader.isMember("s", user("old"));
    await settle();
    await writer.replace("s", { included: ["middle"] });
    release();
    expect(await asked).toEqual(healthy("none"));
    const releaseList = watched.hold("listSegments");
    clock.advance(1_000);
    await reader.isMember("s", user("middle"));
    await settle();
    await writer.replace("s", { included: ["new"] });
    releaseList();
    await settle();
    clock.advance(1_000);
    await reader.isMember("s", user("middle"));
    await settle();
    expect(await reader.isMember("s", user("new"))).toEqual(healthy("included"));
  });

  it("of a segment that is deleted and made again, with another kind, is seen", async () => {
    const { reader, writer, clock } = await setUp({ cacheTtlMs: 1e9 });
    await writer.replace("s", { included: ["x"] });
    expect(await reader.isMember("s", user("x"))).toEqual(healthy("included"));
    await writer.replace(
      "s",
      { included: ["x"] },
      { contextKind: segmentSchema.shape.contextKind.parse("device"), generation: 2 },
    );
    clock.advance(1_000);
    await reader.isMember("s", user("x"));
    await settle();
    expect(await reader.isMember("s", user("x"))).toEqual(healthy("none"));
    expect(await reader.isMember("s", { kind: "device", key: "x" })).toEqual(healthy("included"));
  });

  it("never shows the old again once the new was shown, whatever order replies come in", async () => {
    const { reader, writer, clock, watched } = await setUp({ cacheTtlMs: 1e9 });
    await writer.replace("s", { included: ["x"] });
    await reader.isMember("s", user("y"));
    const releaseOld = watched.hold("findMemberSets");
    const old = reader.isMember("s", user("x"));
    await settle();
    await writer.replace("s", { included: [] });
    clock.advance(1_000);
    reader.isMember("s", user("y")).catch(() => {});
    await settle();
    // Asked of the new sets, and held by another gate than the old.
    const releaseNew = watched.hold("findMemberSets");
    const fresh = reader.isMember("s", user("x"));
    await settle();
    releaseNew();
    expect(await fresh).toEqual(healthy("none"));
    releaseOld();
    expect(await old).toEqual(healthy("included"));
    expect(await reader.isMember("s", user("x"))).toEqual(healthy("none"));
  });

  it("to another environment of the same name forgets what was known of the first", async () => {
    const { reader, writer, clock, watched } = await setUp({ cacheTtlMs: 1e9 });
    await writer.replace("s", { included: ["x"] });
    expect(await reader.isMember("s", user("x"))).toEqual(healthy("included"));
    const other = createMemoryStore();
    await other.open();
    const there = createWriter(other);
    await there.replace("s", { included: ["y"] });
    await there.put("s", {});
    for (const method of ["getEpoch", "listSegments", "getEnvironment", "findMemberSets"] as const)
      vi.spyOn(watched.store, method).mockImplementation(other[method] as never);
    clock.advance(1_000);
    await reader.isMember("s", user("x"));
    await settle();
    expect(await reader.isMember("s", user("x"))).toEqual(healthy("none"));
    expect(await reader.isMember("s", user("y"))).toEqual(healthy("included"));
  });
});

describe("the age of the registry", () => {
  it("is checked before an answer from the cache", async () => {
    const { reader, writer, clock } = await setUp({ cacheTtlMs: 1e9 });
    await writer.replace("s", { included: ["x"] });
    await reader.isMember("s", user("x"));
    await writer.replace("s", { included: [] });
    clock.advance(30_001);
    expect(await reader.isMember("s", user("x"))).toEqual(healthy("none"));
    await writer.replace("s", { included: ["x"] });
    clock.advance(30_001);
    expect(await reader.membership(user("x"))).toMatchObject({ segments: new Map([["s", true]]) });
  });

  it.each(["advance", "suspend", "setBack"] as const)("is checked after the members have come (%s)", async (sleep) => {
    const { reader, writer, clock, watched } = await setUp();
    await writer.replace("s", { included: ["x"] });
    await reader.isMember("s", user("y"));
    const release = watched.hold("findMemberSets");
    await writer.drop("s");
    const asked = reader.isMember("s", user("x"));
    await settle();
    // The process sleeps; meanwhile the set is replaced, and dropped after its grace period.
    await writer.replace("s", { included: ["x"] });
    clock[sleep](30_001);
    release();
    expect(await asked).toEqual(healthy("included"));
    expect(await reader.isMember("s", user("x"))).toEqual(healthy("included"));
  });

  it("counts from before the epoch was read, and gives up on a store that is too slow each time", async () => {
    const { reader, writer, clock, watched, store } = await setUp();
    await writer.replace("s", { included: ["x"] });
    vi.spyOn(watched.store, "getEpoch").mockImplementation(async () => {
      const epoch = await store.getEpoch();
      clock.advance(30_001);
      return epoch;
    });
    expect(await reader.isMember("s", user("x"))).toEqual({ member: false, decision: "none", status: "store_error" });
    expect(watched.count("findMemberSets")).toBe(0);
  });

  it("lets a lookup give up that is too slow each time", async () => {
    const { reader, writer, clock, watched, store } = await setUp();
    await writer.replace("s", { included: ["x"] });
    const find = vi.spyOn(watched.store, "findMemberSets").mockImplementation(async (...args) => {
      clock.advance(30_001);
      return store.findMemberSets(...args);
    });
    expect(await reader.isMember("s", user("x"))).toMatchObject({ status: "store_error" });
    expect(find).toHaveBeenCalledTimes(3);
  });
});

describe("the cache", () => {
  it("keeps an answer for its time to live, and no longer", async () => {
    const { reader, writer, clock } = await setUp({ cacheTtlMs: 5_000 });
    await writer.replace("s", { included: ["x"] });
    expect(await reader.isMember("s", user("y"))).toEqual(healthy("none"));
    await writer.merge("s", ["y"], ["x"]);
    clock.advance(4_999);
    expect(await reader.isMember("s", user("y"))).toEqual(healthy("none"));
    clock.advance(1);
    expect(await reader.isMember("s", user("y"))).toEqual(healthy("included"));
    expect(reader.stats()).toMatchObject({ hits: 1, misses: 2, roundTrips: 2, errors: 0 });
  });

  it("counts the time to live from before the lookup", async () => {
    const { reader, writer, clock, watched } = await setUp({ cacheTtlMs: 5_000 });
    await writer.replace("s", { included: ["x"] });
    const release = watched.hold("findMemberSets");
    const asked = reader.isMember("s", user("y"));
    await settle();
    await writer.merge("s", ["y"]);
    clock.advance(5_000);
    const later = reader.isMember("s", user("y"));
    await settle();
    release();
    expect(await asked).toEqual(healthy("none"));
    expect(await later).toEqual(healthy("included"));
  });

  it("holds no more contexts than it was given, and none at all if given none", async () => {
    for (const [cacheSize, lookups] of [
      [2, 4],
      [0, 5],
    ] as const) {
      const { reader, writer } = await setUp({ cacheSize });
      await writer.replace("s", { included: ["x"] });
      for (const key of ["x", "y", "y", "z", "x"]) await reader.isMember("s", user(key));
      expect(reader.stats().roundTrips).toBe(lookups);
    }
  });

  it("serves every segment of the kind from one lookup", async () => {
    const { reader, writer, watched } = await setUp();
    await writer.replace("a", { included: ["x"] });
    await writer.replace("b", { excluded: ["x"] });
    expect(await reader.isMember("a", user("x"))).toEqual(healthy("included"));
    expect(await reader.isMember("b", user("x"))).toEqual(healthy("excluded"));
    await reader.membership(user("x"));
    expect(watched.count("findMemberSets")).toBe(1);
  });

  it("is dropped by refresh, which shows all that was acknowledged before it", async () => {
    const { reader, writer, watched } = await setUp({ cacheTtlMs: 1e9 });
    await writer.replace("s", { included: ["x"] });
    await reader.isMember("s", user("y"));
    const release = watched.hold("findMemberSets");
    const under = reader.isMember("s", user("z"));
    await settle();
    await writer.merge("s", ["y", "z"]);
    await reader.refresh();
    const releaseAgain = watched.hold("findMemberSets");
    const again = reader.isMember("s", user("z"));
    await settle();
    releaseAgain();
    expect(await again).toEqual(healthy("included"));
    release();
    expect(await under).toEqual(healthy("none"));
    expect(await reader.isMember("s", user("z"))).toEqual(healthy("included"));
    expect(await reader.isMember("s", user("y"))).toEqual(healthy("included"));
  });

  it("is refreshed by a reading that began after the call", async () => {
    const { reader, writer, watched, clock } = await setUp({ cacheTtlMs: 1e9 });
    await writer.replace("s", { included: ["x"] });
    await reader.isMember("s", user("x"));
    const release = watched.hold("getEpoch");
    clock.advance(1_000);
    await reader.isMember("s", user("x"));
    await writer.replace("s", { included: [] });
    const refreshed = Promise.all([reader.refresh(), reader.refresh()]);
    release();
    await refreshed;
    expect(await reader.isMember("s", user("x"))).toEqual(healthy("none"));
    expect(watched.count("getEpoch")).toBe(3);
  });
});

describe("a lookup", () => {
  it("is shared by all who ask for one context at once", async () => {
    const { reader, writer, watched } = await setUp();
    await writer.replace("s", { included: ["x"] });
    const answers = await Promise.all(Array.from({ length: 50 }, () => reader.isMember("s", user("x"))));
    expect(new Set(answers.map(({ decision }) => decision))).toEqual(new Set(["included"]));
    const release = watched.hold("findMemberSets");
    const one = reader.isMember("s", user("y"));
    await settle();
    const two = reader.membership(user("y"));
    await settle();
    release();
    await Promise.all([one, two]);
    expect(watched.count("findMemberSets")).toBe(2);
    expect(watched.count("listSegments")).toBe(1);
  });

  it("is one round trip for all contexts of a tick, however deep their promises", async () => {
    const { reader, writer, watched } = await setUp();
    const keys = Array.from({ length: 200 }, (_, i) => `u-${i}`);
    await writer.replace("s", { included: keys.filter((_, i) => i % 3 === 0) });
    await reader.refresh();
    const ask = async (key: string, depth: number) => {
      for (let i = 0; i < depth; i++) await undefined;
      return (await reader.isMember("s", user(key))).member;
    };
    const answers = await Promise.all(keys.map((key, i) => ask(key, i % 7)));
    expect(answers).toEqual(keys.map((_, i) => i % 3 === 0));
    expect(watched.count("findMemberSets")).toBe(1);
  });

  it("waits for the promises that follow on the first who asks", async () => {
    const { reader, writer, watched } = await setUp();
    await writer.replace("s", { included: ["x"] });
    await reader.refresh();
    await new Promise<void>((resolve, reject) => {
      setImmediate(() => {
        const first = reader.isMember("s", user("x"));
        const second = Promise.resolve().then(() => reader.isMember("s", user("y")));
        Promise.all([first, second]).then(() => resolve(), reject);
      });
    });
    expect(watched.count("findMemberSets")).toBe(1);
  });

  it("is cut into calls of the size that the store takes", async () => {
    const { writer, store, clock } = await setUp();
    await writer.replace("s", { included: ["u-3"] });
    const find = vi.spyOn(store, "findMemberSets");
    const reader = createSegmentReader({
      store: { ...store, capabilities: { ...store.capabilities, maxLookup: 10 } },
      clock,
    });
    readers.push(reader);
    await reader.refresh();
    const answers = await Promise.all(Array.from({ length: 25 }, (_, i) => reader.isMember("s", user(`u-${i}`))));
    expect(answers.map(({ member }) => member).indexOf(true)).toBe(3);
    expect(find.mock.calls.map(([hashes]) => hashes.byteLength / 16)).toEqual([10, 10, 5]);
  });

  it("gathers what waits when many are under way already", async () => {
    const { reader, writer, watched } = await setUp();
    await writer.replace("s", { included: ["u-39"] });
    await reader.refresh();
    const release = watched.hold("findMemberSets");
    const asked: Promise<MemberAnswer>[] = [];
    for (let i = 0; i < 40; i++) {
      asked.push(reader.isMember("s", user(`u-${i}`)));
      await settle();
    }
    expect(watched.count("findMemberSets")).toBe(16);
    release();
    expect((await Promise.all(asked)).findIndex(({ member }) => member)).toBe(39);
    expect(watched.count("findMemberSets")).toBe(17);
  });

  it("is not needed where there is nothing to look up", async () => {
    const { reader, writer, watched } = await setUp();
    await writer.put("s", {});
    await reader.isMember("s", user("x"));
    await reader.membership(user("x"));
    expect(watched.count("findMemberSets")).toBe(0);
  });
});

describe("a failing store", () => {
  it("shows as store_error with the last known answer, however old", async () => {
    const { reader, writer, clock, watched } = await setUp();
    await writer.replace("s", { included: ["x"] });
    await reader.isMember("s", user("x"));
    clock.advance(20_000);
    const mend = watched.fail("findMemberSets");
    expect(await reader.isMember("s", user("x"))).toEqual({
      member: true,
      decision: "included",
      status: "store_error",
    });
    expect(await reader.isMember("s", user("y"))).toEqual({ member: false, decision: "none", status: "store_error" });
    expect(await reader.membership(user("x"))).toEqual({ segments: new Map([["s", true]]), status: "store_error" });
    watched.fail("getEpoch");
    clock.advance(1e6);
    expect(await reader.isMember("s", user("x"))).toEqual({
      member: true,
      decision: "included",
      status: "store_error",
    });
    expect(await reader.membership(user("x"))).toEqual({ segments: new Map([["s", true]]), status: "store_error" });
    expect(reader.stats().errors).toBeGreaterThanOrEqual(4);
    mend();
  });

  it("does not bring back an answer from before a flip that was seen", async () => {
    const { reader, writer, clock, watched } = await setUp({ cacheTtlMs: 1e9 });
    await writer.replace("s", { included: ["x"] });
    await writer.replace("t", { included: ["x"] });
    await reader.isMember("s", user("x"));
    await writer.replace("s", { included: [] });
    clock.advance(1_000);
    await reader.isMember("s", user("x"));
    await settle();
    watched.fail("findMemberSets");
    expect(await reader.isMember("s", user("x"))).toEqual({ member: false, decision: "none", status: "store_error" });
    expect(await reader.membership(user("x"))).toEqual({ segments: new Map([["t", true]]), status: "store_error" });
  });

  it("is asked again at the next poll, and not by every call before", async () => {
    const { reader, writer, clock, watched } = await setUp();
    await writer.replace("s", { included: ["x"] });
    const mend = watched.fail("getEpoch");
    for (let i = 0; i < 10; i++) expect(await reader.isMember("s", user("x"))).toMatchObject({ status: "store_error" });
    expect(watched.count("getEpoch")).toBe(1);
    mend();
    clock.advance(1_000);
    expect(await reader.isMember("s", user("x"))).toEqual(healthy("included"));
    expect(reader.stats()).toMatchObject({ errors: 1, registryAgeMs: 0 });
  });

  it("is no matter while the snapshot is young, and the poll goes on", async () => {
    const { reader, writer, clock, watched } = await setUp();
    await writer.replace("s", { included: ["x"] });
    await reader.isMember("s", user("x"));
    const mend = watched.fail("listSegments");
    await writer.replace("s", { included: [] });
    for (let i = 1; i <= 3; i++) {
      clock.advance(1_000);
      expect(await reader.isMember("s", user("x"))).toEqual(healthy("included"));
      await settle();
      expect(reader.stats().errors).toBe(i);
    }
    mend();
    clock.advance(1_000);
    await reader.isMember("s", user("x"));
    await settle();
    expect(await reader.isMember("s", user("x"))).toEqual(healthy("none"));
  });

  it("throws where it was asked to", async () => {
    const { reader, writer, watched } = await setUp({ onError: "throw" });
    await writer.replace("s", { included: ["x"] });
    const down = (error: unknown) => isRollcallError(error, "store_unavailable");
    const mend = watched.fail("findMemberSets");
    await expect(reader.isMember("s", user("x"))).rejects.toSatisfy(down);
    await expect(reader.membership(user("x"))).rejects.toSatisfy(down);
    mend();
    watched.fail("getEpoch");
    await expect(reader.refresh()).rejects.toSatisfy(down);
    expect(await reader.isMember("s", user("x"))).toEqual(healthy("included"));
  });

  it("that answers too few contexts is an error, not a membership", async () => {
    const { reader, writer, watched } = await setUp();
    await writer.replace("s", { included: ["x"] });
    vi.spyOn(watched.store, "findMemberSets").mockResolvedValue([]);
    expect(await reader.isMember("s", user("x"))).toMatchObject({ member: false, status: "store_error" });
  });

  it("that throws at once is an error too", async () => {
    const { reader, writer, watched } = await setUp();
    await writer.replace("s", { included: ["x"] });
    vi.spyOn(watched.store, "findMemberSets").mockImplementation(() => {
      throw new Error("at once");
    });
    expect(await reader.isMember("s", user("x"))).toMatchObject({ member: false, status: "store_error" });
  });
});

describe("the pepper", () => {
  async function withPepper(writerPepper: string | undefined, readerPepper: string | undefined) {
    const setting = await setUp({ pepper: readerPepper, onError: "throw" });
    const environment = await setting.store.getEnvironment();
    const check = pepperCheck(writerPepper);
    await setting.store.putEnvironment(
      {
        ...environment,
        initialized: true,
        revision: randomUUID(),
        ...(check === undefined ? {} : { pepperCheck: check }),
      },
      environment.revision,
    );
    await setting.writer.replace("s", { included: ["x"] });
    return setting;
  }

  it.each([
    ["a", "b"],
    ["a", undefined],
    [undefined, "b"],
  ])("of a writer with %j and a reader with %j does not match", async (writerPepper, readerPepper) => {
    const { reader, watched } = await withPepper(writerPepper, readerPepper);
    const mismatch = (error: unknown) => isRollcallError(error, "pepper_mismatch");
    await expect(reader.refresh()).rejects.toSatisfy(mismatch);
    await expect(reader.isMember("s", user("x"))).rejects.toSatisfy(mismatch);
    expect(watched.count("findMemberSets")).toBe(0);
  });

  it("that matches hashes the keys", async () => {
    const { reader, store } = await withPepper("a", "a");
    const find = vi.spyOn(store, "findMemberSets");
    await reader.isMember("s", user("x"));
    expect(Buffer.from(find.mock.calls[0]![0])).toEqual(Buffer.from(contextHash("x", "a")!));
  });

  it("shows as store_error by default", async () => {
    const { store } = await withPepper("a", undefined);
    const reader = createSegmentReader({ store });
    readers.push(reader);
    expect(await reader.isMember("s", user("x"))).toMatchObject({ member: false, status: "store_error" });
  });
});

describe("polling", () => {
  it("goes on while the reader is in use, and stops with it", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const { reader, writer, clock, watched } = await setUp({ cacheTtlMs: 1e9 });
    const pass = async (ms: number) => {
      for (let i = 0; i < ms; i += 1_000) {
        clock.advance(1_000);
        await vi.advanceTimersByTimeAsync(1_000);
      }
    };
    await writer.replace("s", { included: ["x"] });
    expect(watched.count("getEpoch")).toBe(0);
    await reader.isMember("s", user("x"));
    await writer.replace("s", { included: [] });
    await pass(1_000);
    // Seen without a call in between that would have started a poll.
    expect(await reader.isMember("s", user("x"))).toEqual(healthy("none"));
    for (let seconds = 0; vi.getTimerCount() > 0 && seconds < 60; seconds++) await pass(1_000);
    expect(vi.getTimerCount()).toBe(0);
    const polls = watched.count("getEpoch");
    expect(polls).toBeGreaterThan(20);
    expect(polls).toBeLessThan(40);

    await writer.replace("s", { included: ["x"] });
    expect(await reader.isMember("s", user("x"))).toEqual(healthy("included"));
    expect(vi.getTimerCount()).toBe(1);
    reader.close();
    expect(vi.getTimerCount()).toBe(0);
  });

  it("is one reading at a time", async () => {
    const { reader, writer, clock, watched } = await setUp();
    await writer.replace("s", { included: ["x"] });
    const release = watched.hold("getEpoch");
    const asked = [reader.isMember("s", user("x")), reader.membership(user("y")), reader.isMember("s", user("z"))];
    clock.advance(5_000);
    asked.push(reader.isMember("s", user("x")));
    await settle();
    expect(watched.count("getEpoch")).toBe(1);
    release();
    await Promise.all(asked);
    expect(watched.count("listSegments")).toBe(1);
  });
});

describe("options", () => {
  it.each([
    { cacheSize: -1 },
    { cacheSize: 1.5 },
    { cacheTtlMs: -1 },
    { cacheTtlMs: Number.NaN },
    { pollMs: 0 },
    { pollMs: 2 ** 31 },
    { pollMs: 30_000 },
    { maxRegistryAgeMs: 1_000 },
    { freshnessMs: 0 },
    { onError: "ignore" as never },
    { pepper: 1 as never },
  ])("%j is refused", (options) => {
    expect(() => createSegmentReader({ store: undefined, ...options })).toThrowError(
      expect.toSatisfy((error) => isRollcallError(error, "invalid_request")),
    );
  });
});
