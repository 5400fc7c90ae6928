// A handle that writes a segment alone does not read its record before each lease; nothing is decided on a record that may be out of date.

import { describe, expect, it } from "vitest";
import { createMemoryStore } from "./memory-store.js";
import type { SegmentKey } from "./names.js";
import { createRollcall, type Rollcall } from "./rollcall.js";
import type { SegmentStore } from "./store.js";

const SEGMENT = "beta" as SegmentKey;

/** What a handle asked of its store. */
interface Asked {
  reads: number;
  /** Writes of a record, those that came too late among them. */
  writes: number;
}

function counted(store: SegmentStore): { readonly store: SegmentStore; readonly asked: Asked } {
  const asked: Asked = { reads: 0, writes: 0 };
  const counting: SegmentStore = {
    ...store,
    getSegment(key) {
      asked.reads++;
      return store.getSegment(key);
    },
    putSegment(...args) {
      asked.writes++;
      return store.putSegment(...args);
    },
  };
  return { store: counting, asked };
}

async function askedBy(asked: Asked, work: () => Promise<unknown>): Promise<Asked> {
  const before = { ...asked };
  await work();
  return { reads: asked.reads - before.reads, writes: asked.writes - before.writes };
}

const add = (rollcall: Rollcall, member: string, options = {}) => rollcall.merge(SEGMENT, { add: [member] }, options);

async function twoHandles() {
  const store = createMemoryStore();
  await store.open();
  const [first, second] = [counted(store), counted(store)];
  const handles = { first: createRollcall(first.store), second: createRollcall(second.store) };
  await handles.first.initialize();
  await add(handles.first, "ann");
  return { ...handles, asked: { first: first.asked, second: second.asked } };
}

describe("the record of a segment", () => {
  it("is not read by the handle that wrote it last", async () => {
    const { first, asked } = await twoHandles();
    expect(await askedBy(asked.first, () => add(first, "bob"))).toEqual({ reads: 0, writes: 2 });
    const replace = () => first.replace(SEGMENT, { included: ["cid", "dan"] });
    expect(await askedBy(asked.first, replace)).toEqual({ reads: 0, writes: 3 });
    expect((await first.getSegment(SEGMENT))?.included.count).toEqual({ value: 2, exact: true });
  });

  it("costs one write in vain when another handle comes in between, and none while they take turns", async () => {
    const { first, second, asked } = await twoHandles();
    await add(second, "bob");
    expect(await askedBy(asked.first, () => add(first, "cid"))).toEqual({ reads: 1, writes: 3 });
    for (const [turn, name] of ["dan", "eve", "fay"].entries()) {
      // The second handle's first turn: it, too, had been alone as far as it knew.
      const inVain = turn === 0 ? 1 : 0;
      expect(await askedBy(asked.second, () => add(second, `${name} 2`))).toEqual({ reads: 1, writes: 2 + inVain });
      expect(await askedBy(asked.first, () => add(first, name))).toEqual({ reads: 1, writes: 2 });
    }
    expect((await first.getSegment(SEGMENT))?.included.count).toEqual({ value: 9, exact: true });
    // Alone again: the first time it reads, to see that it is.
    expect(await askedBy(asked.first, () => add(first, "gil"))).toEqual({ reads: 1, writes: 2 });
    expect(await askedBy(asked.first, () => add(first, "hal"))).toEqual({ reads: 0, writes: 2 });
  });

  it("is read before a sync is answered that seems to be a repeat", async () => {
    const { first, second } = await twoHandles();
    await add(first, "bob", { syncId: "night" });
    // The other handle begins the segment anew, in which no sync of this name has been.
    await second.deleteSegment(SEGMENT);
    expect((await add(first, "bob", { syncId: "night" })).outcome).toBe("applied");
    expect((await first.getSegment(SEGMENT))?.included.count).toEqual({ value: 1, exact: true });
    expect((await add(first, "bob", { syncId: "night" })).outcome).toBe("already_applied");
  });

  it("is read before a sync is refused that seems to be out of order", async () => {
    const { first, second } = await twoHandles();
    const step = (expect: string | undefined, next: string) => ({
      sourcePosition: { source: "warehouse", next, ...(expect === undefined ? {} : { expect }) },
    });
    await add(first, "bob", step(undefined, "7"));
    await add(second, "cid", step("7", "8"));
    expect((await add(first, "dan", step("8", "9"))).outcome).toBe("applied");
    await expect(add(first, "eve", step("8", "10"))).rejects.toMatchObject({ code: "out_of_order" });
  });
});
