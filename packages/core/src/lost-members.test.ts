// A database of several nodes that has lost one, and with it a part of some sets: nothing answers from what is left, the segments
// beside go on, and every way out works.

import { describe, expect, it } from "vitest";
import {
  contextHash,
  copy,
  createMemoryDatabase,
  createMemoryStore,
  createRollcall,
  createSegmentReader,
  lostMembers,
  type MemberSet,
  type Rollcall,
  type SegmentReader,
  type SegmentStore,
} from "./index.js";

const people = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => `person-${from + i}`);
/** The included members of the segment that suffers. */
const AUDIENCE = people(0, 40);

/** A store that has lost a part of the sets in `lost`: the members of every second chunk. */
function losing(store: SegmentStore, lost: Set<number>): SegmentStore {
  const refuse = (sets: readonly MemberSet[]) => {
    const ids = sets.map(({ id }) => id).filter((id) => lost.has(id));
    if (ids.length > 0) throw lostMembers(store.environment, ids);
  };
  return {
    ...store,
    chooseShardBits: () => 3,
    async raiseFence(set, fence) {
      refuse([set]);
      return store.raiseFence(set, fence);
    },
    async writeBlocks(set, blocks, fence) {
      refuse([set]);
      return store.writeBlocks(set, blocks, fence);
    },
    async findMemberSets(hashes, among) {
      refuse(among);
      return store.findMemberSets(hashes, among);
    },
    async *scanMembers(set) {
      let chunks = 0;
      for await (const chunk of store.scanMembers(set)) if (!lost.has(set.id) || chunks++ % 2 === 0) yield chunk;
      refuse([set]);
    },
    async dropMemberSets(sets) {
      await store.dropMemberSets(sets);
      for (const { id } of sets) lost.delete(id);
    },
  };
}

/** Segments `people` (with both lists) and `others`, of which the sets of `lists` of `people` have lost members. */
async function start(lists: readonly ("included" | "excluded")[] = ["included", "excluded"]) {
  const database = createMemoryDatabase();
  const lost = new Set<number>();
  const store = losing(createMemoryStore({ database }), lost);
  await store.open();
  const rollcall = createRollcall(store, { graceMs: 0, leaseTtlMs: 50, retry: { retries: 0 } });
  await rollcall.replace("people", { included: AUDIENCE, excluded: people(50, 90) });
  await rollcall.replace("others", { included: people(0, 5) });
  const segment = await rollcall.getSegment("people");
  for (const list of lists) lost.add(segment?.[list].set?.id ?? Number.NaN);
  const reader = createSegmentReader({ store, cacheSize: 0 });
  return { store, rollcall, reader, lost };
}

/** A sync that fails leaves its lease unreleased, so that the next one raises the fences of all lists. */
async function fail(rollcall: Rollcall): Promise<void> {
  for (const list of ["included", "excluded"] as const)
    await expect(rollcall.merge("people", { add: ["one-more"] }, { list })).rejects.toMatchObject({
      code: "corrupt_data",
      lostSets: [expect.any(Number)],
    });
}

async function expectWell({ rollcall, reader }: { rollcall: Rollcall; reader: SegmentReader }): Promise<void> {
  await rollcall.sweep();
  expect((await rollcall.verify()).findings).toEqual([]);
  await reader.refresh();
  expect((await reader.membership({ kind: "user", key: "person-0" })).status).toBe("healthy");
  const before = (await rollcall.getSegment("people"))?.included.count;
  const report = await rollcall.merge("people", { add: ["one-more"] });
  expect(report.added).toEqual({ value: 1, exact: true });
  expect(report.members.included).toEqual({ value: (before?.value ?? Number.NaN) + 1, exact: true });
}

describe("a segment that has lost members", () => {
  it("refuses merges, and its readers do not answer from what is left", async () => {
    const { rollcall, reader } = await start(["included"]);
    await expect(rollcall.merge("people", { add: ["one-more"] })).rejects.toMatchObject({ code: "corrupt_data" });
    const answer = await reader.isMember("people", { kind: "user", key: "person-0" });
    expect(answer.status).toBe("store_error");
    const strict = createSegmentReader({ store: rollcall.store, cacheSize: 0, onError: "throw" });
    await expect(strict.isMember("people", { kind: "user", key: "person-0" })).rejects.toMatchObject({
      code: "corrupt_data",
    });
    await expect(strict.membership({ kind: "user", key: "person-0" })).rejects.toMatchObject({ code: "corrupt_data" });
  });

  it("does not keep the segments beside it from answering", async () => {
    const { reader, rollcall } = await start(["excluded"]);
    expect(await reader.isMember("others", { kind: "user", key: "person-4" })).toMatchObject({
      member: true,
      status: "healthy",
    });
    expect(await reader.isMember("others", { kind: "user", key: "person-5" })).toMatchObject({
      member: false,
      status: "healthy",
    });
    const all = await reader.membership({ kind: "user", key: "person-4" });
    expect([all.status, all.segments.get("others")]).toEqual(["store_error", true]);
    await rollcall.merge("others", { add: ["person-5"] });
    await reader.refresh();
    expect((await reader.isMember("others", { kind: "user", key: "person-5" })).member).toBe(true);
  });

  it("answers what was known last, if it was known", async () => {
    const { store, rollcall, lost } = await start([]);
    const reader = createSegmentReader({ store, cacheTtlMs: 0 });
    await reader.membership({ kind: "user", key: "person-0" });
    lost.add((await rollcall.getSegment("people"))?.included.set?.id ?? Number.NaN);
    const all = await reader.membership({ kind: "user", key: "person-0" });
    expect(all.status).toBe("store_error");
    expect([...all.segments]).toEqual(expect.arrayContaining([["people", true]]));
    expect([...all.segments]).toEqual(expect.arrayContaining([["others", true]]));
    expect(await reader.isMember("people", { kind: "user", key: "person-0" })).toMatchObject({
      member: true,
      status: "store_error",
    });
  });

  it("takes merges of a list that has lost none", async () => {
    const { rollcall } = await start(["excluded"]);
    const report = await rollcall.merge("people", { add: ["one-more"] });
    expect(report.members.included).toEqual({ value: 41, exact: true });
  });

  it("is made well by snapshots, list by list, after syncs that failed", async () => {
    const world = await start();
    await fail(world.rollcall);
    const report = await world.rollcall.replace("people", { included: AUDIENCE });
    expect(report.members.included).toEqual({ value: 40, exact: true });
    expect([report.added.exact, report.removed.exact, report.unchanged.exact]).toEqual([false, false, false]);
    await world.rollcall.replace("people", { excluded: people(50, 90) });
    await expectWell(world);
  });

  it("is made well by a repair, which keeps what is left, after syncs that failed", async () => {
    const world = await start();
    await fail(world.rollcall);
    const looked = await world.rollcall.verify();
    expect(looked.findings.filter(({ kind }) => kind === "lost_members")).toHaveLength(2);
    const { findings } = await world.rollcall.verify({ repair: true });
    const lost = findings.filter(({ kind }) => kind === "lost_members");
    expect(lost.map(({ segmentKey, repaired }) => [segmentKey, repaired])).toEqual([
      ["people", true],
      ["people", true],
    ]);
    const { included } = (await world.rollcall.getSegment("people")) ?? {};
    expect(included?.count.value).toBeGreaterThan(0);
    expect(included?.count.value).toBeLessThan(40);
    await expectWell(world);
  });

  it("can be deleted and made anew", async () => {
    const world = await start();
    await fail(world.rollcall);
    await world.rollcall.deleteSegment("people");
    await world.rollcall.replace("people", { included: AUDIENCE });
    await expectWell(world);
  });

  it("is not copied as if it were whole, and can be copied over", async () => {
    const { store, rollcall } = await start(["included"]);
    const target = createMemoryStore({ database: createMemoryDatabase() });
    await target.open();
    await expect(copy(store, target)).rejects.toMatchObject({ code: "corrupt_data" });
    await rollcall.replace("people", { included: AUDIENCE });
    expect((await copy(store, target)).members).toBe(85);
  });

  it("does not keep a context from being forgotten once it was replaced", async () => {
    const { store, rollcall } = await start();
    const waiting = createRollcall(store, { graceMs: 600_000, retry: { retries: 0 } });
    await waiting.replace("people", { included: AUDIENCE, excluded: [] }, { allowShrink: true });
    expect((await waiting.forget({ kind: "user", key: "person-0" })).segments).toEqual(["others", "people"]);
    const sets = (await store.listMemberSets()).filter(({ fence }) => fence !== undefined);
    expect(await store.findMemberSets(contextHash("person-0") ?? new Uint8Array(16), sets)).toEqual([[]]);
    expect((await rollcall.verify()).findings).toEqual([]);
  });

  it("is not cut anew with what is left", async () => {
    const { store, rollcall, lost } = await start([]);
    const growing: SegmentStore = {
      ...store,
      chooseShardBits: () => 6,
      async writeBlocks(set, blocks, fence) {
        const written = await store.writeBlocks(set, blocks, fence);
        lost.add(set.id);
        return written;
      },
    };
    const warnings: Error[] = [];
    const grower = createRollcall(growing, { retry: { retries: 0 }, onWarning: (warning) => warnings.push(warning) });
    const before = (await rollcall.getSegment("people"))?.included.set;
    await grower.merge("people", { add: ["one-more"] });
    await grower.close();
    expect(warnings.map(({ cause }) => cause)).toContainEqual(expect.objectContaining({ code: "corrupt_data" }));
    expect((await rollcall.getSegment("people"))?.included.set).toEqual(before);
  });
});
