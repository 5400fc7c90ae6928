// A reader that is told when the epoch moves: what it does with it, and how the watch begins, is shared, breaks and ends. The poll
// is too far away to help.

import { randomUUID } from "node:crypto";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { RollcallError } from "./errors.js";
import { createMemoryStore } from "./memory-store.js";
import { createSegmentReader, type SegmentReaderOptions } from "./reader.js";
import { createRollcall } from "./rollcall.js";
import { type Segment, segmentSchema } from "./segment.js";
import type { SegmentStore } from "./store.js";

const HOUR = 3_600_000;
const KEY = segmentSchema.shape.key.parse("s");

const cleanups: (() => unknown)[] = [];
beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
});
afterEach(async () => {
  vi.useRealTimers();
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Lets everything that can go on without time do so. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate);
}

async function pass(ms: number): Promise<void> {
  await vi.advanceTimersByTimeAsync(ms);
  await settle();
}

/** A watch of the store, in the hands of the test. */
interface Watch {
  readonly tell: () => void;
  readonly signal: AbortSignal;
  readonly end: () => void;
  readonly fail: (error: Error) => void;
}

/** A store in memory of which the test decides when it tells; `calls` are its reads of the epoch. */
async function setUp() {
  const memory = createMemoryStore();
  await memory.open();
  const watches: Watch[] = [];
  let reads = 0;
  let gate: Promise<void> | undefined;
  const store: SegmentStore = {
    ...memory,
    async getEpoch() {
      reads++;
      await gate;
      return memory.getEpoch();
    },
    watchEpoch: (onMoved, signal) =>
      new Promise<void>((resolve, reject) => {
        watches.push({ tell: onMoved, signal, end: resolve, fail: reject });
        signal.addEventListener("abort", () => resolve());
      }),
  };
  return {
    memory,
    store,
    watches,
    reads: () => reads,
    /** Holds back every answer of the epoch until the function that is returned is called. */
    hold(): () => void {
      let open = () => {};
      gate = new Promise((resolve) => {
        open = resolve;
      });
      return open;
    },
    reader(options: Partial<SegmentReaderOptions> = {}) {
      const reader = createSegmentReader({ store, pollMs: HOUR, maxRegistryAgeMs: 2 * HOUR, ...options });
      cleanups.push(() => reader.close());
      return reader;
    },
  };
}

type Reader = ReturnType<Awaited<ReturnType<typeof setUp>>["reader"]>;

async function statusOf(reader: Reader): Promise<string> {
  return (await reader.isMember("s", { kind: "user", key: "x" })).status;
}

/** Asks once, and waits until the watch of the store has begun. */
async function listening(reader: Reader): Promise<void> {
  await statusOf(reader);
  await pass(250);
}

async function put(store: SegmentStore, patch: Partial<Segment> = {}): Promise<void> {
  const present = await store.getSegment(KEY);
  const list = { count: { value: 0, exact: true } };
  const fresh = { layout: 1, key: KEY, contextKind: "user", generation: 1, state: "live", details: {}, createdAt: 1 };
  const lists = { included: list, excluded: list, staged: [], retired: [], positions: [] };
  const syncs = { recentSyncs: [], recentSyncIds: [], lease: { token: 1, expiresAt: 0 }, updatedAt: 1 };
  const next = { ...fresh, ...lists, ...syncs, ...present, ...patch, revision: randomUUID() };
  await store.putSegment(segmentSchema.parse(next), present?.revision);
}

function broken(): RollcallError {
  return new RollcallError("store_unavailable", "the connection broke");
}

describe("a reader that is told", () => {
  it("reads at once, without a poll", async () => {
    const { store, reader: make, watches } = await setUp();
    const reader = make();
    await listening(reader);
    await put(store);
    await settle();
    expect(await statusOf(reader)).toBe("unknown_segment");
    watches[0]?.tell();
    await settle();
    expect(await statusOf(reader)).toBe("never_synced");
  });

  it("is told by the store in memory, also of what moved before it listened", async () => {
    const { memory } = await setUp();
    const reader = createSegmentReader({ store: memory, pollMs: HOUR, maxRegistryAgeMs: 2 * HOUR });
    cleanups.push(() => reader.close());
    expect(await statusOf(reader)).toBe("unknown_segment");
    await put(memory);
    await pass(1_000);
    expect(await statusOf(reader)).toBe("never_synced");
    await put(memory, { lastSyncedAt: Date.now() });
    await pass(1_000);
    expect(await statusOf(reader)).toBe("healthy");
  });

  it("makes one reading of a burst, and one after it, never two at once", async () => {
    const { store, reader: make, watches, reads, hold } = await setUp();
    const reader = make();
    await listening(reader);
    expect(reads()).toBe(1);
    const release = hold();
    for (let i = 0; i < 100; i++) watches[0]?.tell();
    await settle();
    expect(reads()).toBe(2);
    await pass(10_000);
    for (let i = 0; i < 100; i++) watches[0]?.tell();
    await pass(10_000);
    expect(reads()).toBe(2);
    await put(store);
    release();
    await settle();
    expect(reads()).toBe(3);
    expect(await statusOf(reader)).toBe("never_synced");
    await pass(10_000);
    expect(reads()).toBe(3);
  });

  it("reads after a burst what its end moved", async () => {
    const { store, reader: make, watches, reads } = await setUp();
    const reader = make();
    await listening(reader);
    watches[0]?.tell();
    await settle();
    await put(store);
    watches[0]?.tell();
    await settle();
    expect(await statusOf(reader)).toBe("unknown_segment");
    await pass(1_000);
    expect(await statusOf(reader)).toBe("never_synced");
    expect(reads()).toBe(3);
  });

  it("counts a reading that failed, and goes on", async () => {
    const { memory, store, reader: make, watches } = await setUp();
    const reader = make();
    await listening(reader);
    const getEpoch = store.getEpoch;
    store.getEpoch = () => Promise.reject(broken());
    watches[0]?.tell();
    await settle();
    expect(reader.stats().errors).toBe(1);
    store.getEpoch = getEpoch;
    await put(memory);
    watches[0]?.tell();
    await pass(1_000);
    expect(await statusOf(reader)).toBe("never_synced");
  });

  it("does nothing after it was closed", async () => {
    const { reader: make, watches, reads } = await setUp();
    const reader = make();
    await listening(reader);
    watches[0]?.tell();
    watches[0]?.tell();
    await settle();
    const before = reads();
    reader.close();
    watches[0]?.tell();
    await pass(10_000);
    expect(reads()).toBe(before);
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe("a watch", () => {
  it("is one for all readers of a store, and ends with the last of them", async () => {
    const { reader: make, watches, reads } = await setUp();
    const readers = [make(), make(), make()];
    for (const reader of readers) await statusOf(reader);
    await pass(250);
    expect(watches).toHaveLength(1);
    expect(reads()).toBe(3);
    readers[0]?.close();
    readers[0]?.close();
    readers[1]?.close();
    expect(watches[0]?.signal.aborted).toBe(false);
    watches[0]?.tell();
    await settle();
    expect(reads()).toBe(4);
    readers[2]?.close();
    expect(watches[0]?.signal.aborted).toBe(true);
    await pass(HOUR);
    expect(watches).toHaveLength(1);
    await listening(make());
    expect(watches).toHaveLength(2);
  });

  it("does not begin before a reader is asked, and ends when nobody asks any more", async () => {
    const { reader: make, watches } = await setUp();
    let now = 0;
    const clock = { now: () => now, monotonic: () => now, sleep: async () => {} };
    const reader = make({ clock, pollMs: 1_000, maxRegistryAgeMs: 5_000 });
    await settle();
    expect(watches).toHaveLength(0);
    await listening(reader);
    for (let second = 0; second < 10; second++) {
      now += 1_000;
      await pass(1_000);
    }
    expect(watches[0]?.signal.aborted).toBe(true);
    expect(vi.getTimerCount()).toBe(0);
    await listening(reader);
    expect(watches.map(({ signal }) => signal.aborted)).toEqual([true, false]);
  });

  it("does not begin for a reader that is gone soon", async () => {
    const { reader: make, watches } = await setUp();
    const reader = make();
    await statusOf(reader);
    await pass(200);
    reader.close();
    expect(vi.getTimerCount()).toBe(0);
    await pass(HOUR);
    expect(watches).toHaveLength(0);
  });

  it("begins again after growing pauses while it fails, and each failure is counted", async () => {
    const { reader: make, watches } = await setUp();
    const reader = make();
    await listening(reader);
    const pauses: number[] = [];
    for (let attempt = 1; attempt <= 8; attempt++) {
      watches.at(-1)?.fail(broken());
      await settle();
      expect(reader.stats().errors).toBe(attempt);
      let waited = 0;
      for (; watches.length === attempt; waited += 50) await pass(50);
      pauses.push(waited);
    }
    expect(pauses[0]).toBeGreaterThanOrEqual(500);
    for (let i = 2; i < 6; i++) expect(pauses[i]).toBeGreaterThan(pauses[i - 2] ?? 0);
    expect(pauses.at(-1)).toBe(30_000);
    reader.close();
    expect(vi.getTimerCount()).toBe(0);
  });

  it("is not begun again while it waits, once the reader is closed", async () => {
    const { reader: make, watches } = await setUp();
    const reader = make();
    await listening(reader);
    watches[0]?.fail(broken());
    await settle();
    reader.close();
    await pass(HOUR);
    expect(watches).toHaveLength(1);
  });

  it.each([
    ["has nothing more to tell", (watch?: Watch) => watch?.end(), 0],
    ["is closed", (watch?: Watch) => watch?.fail(new RollcallError("closed", "it was closed")), 1],
    ["has a bug", (watch?: Watch) => watch?.fail(new TypeError("x is not a function")), 1],
  ])("does not begin again where the store %s", async (_, end, errors) => {
    const { reader: make, watches } = await setUp();
    const reader = make();
    await listening(reader);
    end(watches[0]);
    await pass(HOUR);
    expect(watches).toHaveLength(1);
    expect(reader.stats().errors).toBe(errors);
    expect(await statusOf(reader)).toBe("unknown_segment");
  });

  it("is not begun for another reader, or for one that comes back, where the store had nothing to tell", async () => {
    const { reader: make, watches } = await setUp();
    const reader = make();
    await listening(reader);
    watches[0]?.end();
    await settle();
    reader.close();
    await listening(make());
    expect(watches).toHaveLength(1);
  });

  it("that throws instead of rejecting disturbs nobody", async () => {
    const { store, reader: make } = await setUp();
    store.watchEpoch = () => {
      throw broken();
    };
    const reader = make();
    await listening(reader);
    expect(await statusOf(reader)).toBe("unknown_segment");
    expect(reader.stats().errors).toBe(1);
  });
});

describe("a writer", () => {
  it("tells of what readers see, and not of leases, staged sets and merges", async () => {
    vi.useRealTimers();
    const { memory } = await setUp();
    const stop = new AbortController();
    let told = -1;
    const watching = memory.watchEpoch?.(() => {
      told++;
    }, stop.signal);
    const rollcall = createRollcall(memory);
    const toldBy = async (call: () => Promise<unknown>) => {
      const before = told;
      const epoch = await memory.getEpoch();
      await call();
      expect(await memory.getEpoch()).not.toBe(epoch);
      return told - before;
    };
    // A segment that is there, and then one that was synced.
    expect(await toldBy(() => rollcall.replace("s", { included: ["a", "b"] }))).toBe(2);
    expect(await toldBy(() => rollcall.merge("s", { add: ["c"] }))).toBe(0);
    expect(await toldBy(() => rollcall.replace("s", { included: ["a", "c"] }))).toBe(1);
    expect(await toldBy(() => rollcall.editDetails("s", { name: "S" }))).toBe(0);
    // The first member of a list gives it its set.
    expect(await toldBy(() => rollcall.merge("s", { add: ["d"] }, { list: "excluded" }))).toBe(1);
    expect(await toldBy(() => rollcall.deleteSegment("s"))).toBe(1);
    stop.abort();
    await watching;
    await rollcall.close();
  });
});
