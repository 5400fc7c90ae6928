// Interleavings that went wrong once: each is set up step by step with a store that stops at one call.

import { describe, expect, test } from "vitest";
import { type Clock, systemClock } from "./clock.js";
import {
  contextHash,
  copy,
  createMemoryDatabase,
  createMemoryStore,
  createRollcall,
  createSegmentReader,
  RollcallError,
} from "./index.js";
import type { SegmentKey } from "./names.js";
import type { SegmentStore } from "./store.js";

/** Two handles on one database. */
async function handles(): Promise<[SegmentStore, SegmentStore]> {
  const database = createMemoryDatabase();
  const pair: [SegmentStore, SegmentStore] = [createMemoryStore({ database }), createMemoryStore({ database })];
  for (const store of pair) await store.open();
  return pair;
}

function gate() {
  let open = () => {};
  const passed = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { open, passed };
}

/** A store whose first call of `method` is made only after `gate` opened, or returns only then. */
function stopping<M extends "allocateMemberSet" | "writeBlocks" | "putSegment">(
  store: SegmentStore,
  method: M,
  when: "before" | "after",
  isMeant: (...args: Parameters<SegmentStore[M]>) => boolean = () => true,
) {
  const reached = gate();
  const release = gate();
  let stopped = false;
  const call = store[method] as (...args: Parameters<SegmentStore[M]>) => Promise<unknown>;
  const wrapped = {
    ...store,
    async [method](...args: Parameters<SegmentStore[M]>) {
      if (stopped || !isMeant(...args)) return call(...args);
      stopped = true;
      const result = when === "after" ? await call(...args) : undefined;
      reached.open();
      await release.passed;
      return when === "after" ? result : call(...args);
    },
  } as SegmentStore;
  return { store: wrapped, reached: reached.passed, release: release.open };
}

/** A process that stands still renews nothing. */
const standing: Clock = {
  ...systemClock,
  sleep: (_ms, signal) =>
    new Promise((_resolve, reject) => signal?.addEventListener("abort", () => reject(new Error("aborted")))),
};
const shifted = (ms: number): Clock => ({ ...systemClock, now: () => Date.now() + ms });

describe("a merge", () => {
  test("that arrives as the queue of its segment runs empty is committed", async () => {
    const [base] = await handles();
    const late = gate();
    const store: SegmentStore = {
      ...base,
      async putSegment(...args) {
        const timeline = await base.putSegment(...args);
        if (args[2]?.reports?.length) late.open();
        return timeline;
      },
    };
    const rollcall = createRollcall(store);
    async function* waiting() {
      yield "b";
      await late.passed;
    }
    const second = rollcall.merge("s", { add: waiting() });
    await rollcall.merge("s", { add: ["a"] });
    expect((await second).outcome).toBe("applied");
    expect((await rollcall.getSegment("s"))?.included.count).toEqual({ value: 2, exact: true });
  });

  test("fails nobody else by what its callback throws", async () => {
    const [store] = await handles();
    const warnings: Error[] = [];
    const rollcall = createRollcall(store, { onWarning: (warning) => warnings.push(warning) });
    const throwing = () => {
      throw new Error("a broken bar");
    };
    const merges = ["a", "b", "c", "d"].map((key, i) =>
      rollcall.merge("s", { add: [key] }, i === 2 ? { onProgress: (at) => at.phase === "write" && throwing() } : {}),
    );
    expect((await Promise.all(merges)).map(({ outcome }) => outcome)).toEqual(Array(4).fill("applied"));
    expect(warnings.length).toBeGreaterThan(0);
    expect((await rollcall.getSegment("s"))?.included.count).toEqual({ value: 4, exact: true });
  });

  test("whose finish lost its reply, after which another one came, tells of itself alone", async () => {
    const [base, second] = await handles();
    let isLost = false;
    const store: SegmentStore = {
      ...base,
      async putSegment(...args) {
        const timeline = await base.putSegment(...args);
        if (isLost || !args[2]?.reports?.length) return timeline;
        isLost = true;
        await createRollcall(second).merge("s", { add: ["b", "c"] });
        throw new RollcallError("store_unavailable", "the reply was lost");
      },
    };
    const rollcall = createRollcall(store, { retry: { minDelayMs: 1 } });
    const { members } = await rollcall.merge("s", { add: ["a"] });
    expect(members.included).toEqual({ value: 1, exact: true });
    expect((await rollcall.getHistory("s")).map((report) => report.members.included.value)).toEqual([3, 1]);
  });

  test("and a replace are waited for by close", async () => {
    const [store] = await handles();
    const rollcall = createRollcall(store);
    async function* slow() {
      yield "a";
      for (let turn = 0; turn < 100; turn++) await new Promise((resolve) => setImmediate(resolve));
      yield "b";
    }
    const done: string[] = [];
    void rollcall.merge("m", { add: slow() }).then(() => done.push("merge"));
    void rollcall.replace("r", { included: slow() }).then(() => done.push("replace"));
    await rollcall.close();
    await new Promise((resolve) => setImmediate(resolve));
    expect(done.sort()).toEqual(["merge", "replace"]);
  });

  test.each(["sweep", "verify"] as const)(
    "whose set was dropped by a %s before it was recorded records nothing",
    async (upkeep) => {
      const [first, second] = await handles();
      const stop = stopping(first, "allocateMemberSet", "after");
      const writer = createRollcall(stop.store, { clock: standing }).merge("s", { add: ["a"] });
      const refused = expect(writer).rejects.toMatchObject({ code: "stale_lease" });
      await stop.reached;
      const other = createRollcall(second, { clock: shifted(60_000) });
      if (upkeep === "sweep") await other.sweep();
      else await other.verify({ repair: true });
      stop.release();
      await refused;
      expect((await createRollcall(second).merge("s", { add: ["b"] })).members.included).toEqual({
        value: 1,
        exact: true,
      });
    },
  );
});

describe("a replaced set", () => {
  test("has its whole grace period even where the writer stood still before the flip", async () => {
    const [first, second] = await handles();
    await createRollcall(second).replace("s", { included: ["a", "b"] });
    let now = Date.now();
    let monotonic = performance.now();
    const clock: Clock = { ...standing, now: () => now, monotonic: () => monotonic };
    const isFlip = (next: { retired: readonly unknown[] }) => next.retired.length > 0;
    const stop = stopping(first, "putSegment", "before", isFlip);
    const writer = createRollcall(stop.store, { clock }).replace("s", { included: ["a", "c"] });
    await stop.reached;
    const reader = createSegmentReader({ store: second, pollMs: 1_000_000, maxRegistryAgeMs: 2_000_000 });
    expect((await reader.isMember("s", { kind: "user", key: "b" })).member).toBe(true);
    now += 3_600_000;
    monotonic += 3_600_000;
    stop.release();
    await writer;
    expect((await createRollcall(second, { clock: shifted(3_600_000) }).sweep()).droppedSets).toBe(0);
    expect((await reader.isMember("s", { kind: "user", key: "a" })).member).toBe(true);
    reader.close();
  });
});

describe("forget", () => {
  const holders = async (store: SegmentStore, key: string) => {
    const sets = await store.listMemberSets();
    const [ids] = await store.findMemberSets(contextHash(key) ?? new Uint8Array(), sets);
    return ids;
  };

  test("reaches the retired sets of a former life with another kind", async () => {
    const [store] = await handles();
    const rollcall = createRollcall(store);
    await rollcall.replace("s", { included: ["u-42", "b"] });
    await rollcall.deleteSegment("s");
    await rollcall.replace("s", { included: ["acme"] }, { contextKind: "account" });
    await rollcall.forget({ kind: "user", key: "u-42" });
    expect(await holders(store, "u-42")).toEqual([]);
  });

  test("shuts out a writer that stood still in its snapshot", async () => {
    const [first, second] = await handles();
    const stop = stopping(first, "writeBlocks", "before");
    const writer = createRollcall(stop.store, { clock: standing }).replace("s", { included: ["u-42"] });
    const refused = expect(writer).rejects.toMatchObject({ code: "stale_lease" });
    await stop.reached;
    await createRollcall(second, { clock: shifted(60_000) }).forget({ kind: "user", key: "u-42" });
    stop.release();
    await refused;
    expect(await holders(second, "u-42")).toEqual([]);
  });
});

describe("copy", () => {
  test("repeated after an interruption ends as the source is then", async () => {
    const [from] = await handles();
    const [to] = await handles();
    const source = createRollcall(from);
    for (const key of ["s1", "s2", "s3"])
      await source.replace(key, { included: ["a", "b"], excluded: ["c"] }, { syncId: key });
    let sets = 0;
    const dying: SegmentStore = {
      ...to,
      allocateMemberSet(...args) {
        if (++sets === 4) throw new Error("killed");
        return to.allocateMemberSet(...args);
      },
    };
    await expect(copy(from, dying)).rejects.toThrow();
    const target = createRollcall(to);
    const half = (await to.getSegment("s2" as SegmentKey))?.recentSyncIds ?? [];
    expect(half).toEqual([]);
    await source.replace("s1", { excluded: [] }, { allowShrink: true });
    await source.deleteSegment("s2");
    await copy(from, to, { leaseWaitMs: 30_000 });
    const shape = async (rollcall: typeof source) =>
      (await rollcall.listSegments()).map(({ key, included, excluded }) => [key, included.count, excluded.count]);
    expect(await shape(target)).toEqual(await shape(source));
    expect(await target.getHistory("s1")).toEqual(await source.getHistory("s1"));
  });
});

describe("copy of a segment that is synced meanwhile", () => {
  test("brings the history of the members that it brings", async () => {
    const [from] = await handles();
    const [to] = await handles();
    const source = createRollcall(from);
    await source.replace("s", { included: ["a", "b"] });
    const target: SegmentStore = {
      ...to,
      async putSegment(...args) {
        if (args[2]?.reports?.length) await source.merge("s", { add: ["c"] });
        return to.putSegment(...args);
      },
    };
    await copy(from, target);
    const copied = createRollcall(to);
    expect((await copied.getSegment("s"))?.included.count.value).toBe(2);
    expect((await copied.getHistory("s")).map((report) => report.members.included.value)).toEqual([2]);
  });
});

describe("verify", () => {
  test("finds nothing wrong where a replace comes between its readings", async () => {
    const [base] = await handles();
    const rollcall = createRollcall(base);
    await rollcall.replace("s", { included: ["a", "b"] });
    let listings = 0;
    const store: SegmentStore = {
      ...base,
      async listMemberSets() {
        const sets = await base.listMemberSets();
        if (listings++ === 0) await rollcall.replace("s", { included: ["a", "c"] });
        return sets;
      },
    };
    expect((await createRollcall(store).verify()).findings).toEqual([]);
  });
});

test("what does not exist among the options or the fields of a delta is refused", async () => {
  const [store] = await handles();
  const rollcall = createRollcall(store);
  const misspelt = { kind: "device" } as object;
  await expect(rollcall.merge("s", { add: ["a"] }, misspelt)).rejects.toMatchObject({ code: "invalid_request" });
  await expect(rollcall.merge("s", { adds: ["a"] } as object)).rejects.toMatchObject({ code: "invalid_request" });
  await expect(rollcall.merge("s", ["a"] as object)).rejects.toMatchObject({ code: "invalid_request" });
  expect(await rollcall.getSegment("s")).toBeUndefined();
});
