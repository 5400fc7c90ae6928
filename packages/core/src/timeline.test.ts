// A database that begins a new history in the middle of a sync: what was acknowledged before may be lost, so the sync must not go on.

import { describe, expect, test } from "vitest";
import { createMemoryDatabase, createMemoryStore, createRollcall, RollcallError, type SegmentStore } from "./index.js";

type PutSegment = SegmentStore["putSegment"];

/** A store that writes in the timeline `first`, until it is told otherwise. */
async function breakable() {
  const database = createMemoryDatabase();
  const open = async (timeline: string) => {
    const store = createMemoryStore({ database, timeline });
    await store.open();
    return store;
  };
  const [first, second] = [await open("first"), await open("second")];
  let present = first;
  const asked: (string | undefined)[] = [];
  const store: SegmentStore = {
    ...first,
    async putSegment(next, expectedRevision, options) {
      asked.push(options?.timeline);
      return present.putSegment(next, expectedRevision, options);
    },
  };
  return {
    store,
    /** The timeline that each write was to be made in. */
    asked,
    begin(timeline: "first" | "second") {
      present = timeline === "first" ? first : second;
    },
  };
}

/** `store` with `fault` before each write of members. */
function beforeWriting(store: SegmentStore, fault: () => unknown): SegmentStore {
  return {
    ...store,
    async writeBlocks(...args) {
      await fault();
      return store.writeBlocks(...args);
    },
  };
}

describe("a new timeline", () => {
  test.each(["replace", "merge"] as const)("ends a %s, and the repeat takes over at once", async (mode) => {
    const { store, begin } = await breakable();
    const rollcall = createRollcall(store, { leaseWaitMs: 0 });
    const send = (by = rollcall) =>
      mode === "replace" ? by.replace("s", { included: ["a", "c"] }) : by.merge("s", { add: ["c"], remove: ["b"] });
    await rollcall.replace("s", { included: ["a", "b"] });
    const suffering = createRollcall(beforeWriting(store, () => begin("second")));
    await expect(send(suffering)).rejects.toMatchObject({ code: "stale_lease", retryable: true });
    expect((await rollcall.getSegment("s"))?.included.count.exact).toBe(mode === "replace");
    expect((await send()).members.included).toEqual({ value: 2, exact: true });
    expect((await rollcall.verify()).findings.filter(({ kind }) => kind !== "orphan_set")).toEqual([]);
  });

  test("is found out by the renewal of the lease, while the sync still writes", async () => {
    const { store, begin } = await breakable();
    let tell = () => {};
    const refused = new Promise<void>((resolve) => {
      tell = resolve;
    });
    const putSegment: PutSegment = async (...args) => {
      try {
        return await store.putSegment(...args);
      } catch (error) {
        tell();
        throw error;
      }
    };
    const waiting = beforeWriting({ ...store, putSegment }, () => {
      begin("second");
      return refused;
    });
    const rollcall = createRollcall(waiting, { leaseTtlMs: 30 });
    await expect(rollcall.merge("s", { add: ["a"] })).rejects.toMatchObject({
      code: "stale_lease",
      message: expect.stringContaining("another database server took over"),
    });
  });

  test("before the lease is taken is no hindrance", async () => {
    const { store, begin } = await breakable();
    const rollcall = createRollcall(store);
    await rollcall.merge("s", { add: ["a"] });
    begin("second");
    await rollcall.merge("s", { add: ["b"] });
    expect((await rollcall.getSegment("s"))?.included.count).toEqual({ value: 2, exact: true });
  });
});

describe("a lease whose reply was lost", () => {
  test.each(["first", "second"] as const)("stands in the timeline of the write after it: %s", async (timeline) => {
    const { store, asked, begin } = await breakable();
    await createRollcall(store).merge("s", { add: ["a"] });
    asked.length = 0;
    let isLost = false;
    const putSegment: PutSegment = async (...args) => {
      const answer = await store.putSegment(...args);
      if (isLost) return answer;
      isLost = true;
      begin(timeline);
      throw new RollcallError("store_unavailable", "the reply was lost");
    };
    const rollcall = createRollcall({ ...store, putSegment }, { retry: { minDelayMs: 1 } });
    expect((await rollcall.merge("s", { add: ["b"] })).members.included).toEqual({ value: 2, exact: true });
    expect(asked).toEqual([undefined, undefined, timeline]);
  });

  test("cannot bring a sync past a timeline that begins later", async () => {
    const { store, begin } = await breakable();
    let isLost = false;
    const putSegment: PutSegment = async (...args) => {
      const answer = await store.putSegment(...args);
      if (isLost) return answer;
      isLost = true;
      throw new RollcallError("store_unavailable", "the reply was lost");
    };
    const suffering = beforeWriting({ ...store, putSegment }, () => begin("second"));
    const rollcall = createRollcall(suffering, { retry: { minDelayMs: 1 } });
    await expect(rollcall.merge("s", { add: ["a"] })).rejects.toMatchObject({ code: "stale_lease" });
  });
});
