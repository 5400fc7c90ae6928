// The formula of costs against what DynamoDB Local counts, at four densities.

import { contextHash, createRollcall, measureConsumption, type SegmentStore } from "@rollcall/core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { unitCosts } from "./cost.js";
import { createDynamoDbStore } from "./index.js";
import { clientOf, dropTable, newTable } from "./place.test-setup.js";

const CONTEXTS = 20_000;
const SEGMENTS = 4;
const CHANGES = 200;
const NEW_RECORD = 1_000;

const table = newTable();
const client = clientOf();
afterAll(() => dropTable(table));

/** Who is in the snapshot number `version` of a segment, which shares most members with the one before. */
function membersOf(segment: number, density: number, version: number): string[] {
  const first = (segment * 7_919 + version * CHANGES) % CONTEXTS;
  return Array.from({ length: Math.round(CONTEXTS * density) }, (_, index) => `person-${(first + index) % CONTEXTS}`);
}

describe.each([1, 0.3, 0.1, 0.02])("at a density of %d", (density) => {
  const workload = { contexts: CONTEXTS, segments: SEGMENTS, density, changesPerMerge: CHANGES };
  let store: SegmentStore;
  const rollcall = () => createRollcall(store, { graceMs: 0, expectedContexts: CONTEXTS });

  beforeAll(async () => {
    store = createDynamoDbStore(client, { environment: `density-${density}`, table, createTable: true });
    await store.open();
    for (let segment = 0; segment < SEGMENTS; segment++)
      await rollcall().replace(`segment-${segment}`, { included: membersOf(segment, density, 0) });
  });
  afterAll(() => store.close());

  /** The records of these segments are new. */
  const costs = () => unitCosts(workload, NEW_RECORD);

  /** All that `work` consumes; the report of a sync lacks its last write, which carries it. */
  const consumedBy = (work: () => Promise<unknown>) =>
    measureConsumption(async (consumed) => {
      await work();
      return consumed();
    });

  function expectNear(measured: number | undefined, formula: number): void {
    expect(measured).toBeGreaterThan(0.9 * formula);
    expect(measured).toBeLessThan(1.1 * formula);
  }

  it("a snapshot, and the drop of the one before", async () => {
    const { replace } = costs();
    const consumed = await consumedBy(() => rollcall().replace("segment-0", { included: membersOf(0, density, 1) }));
    expectNear(consumed?.writeUnits, replace.writeUnits);
    expectNear(consumed?.readUnits, replace.readUnits);
    const dropped = await measureConsumption(async (units) => {
      await store.dropMemberSets((await rollcall().getSegment("segment-0"))?.retired.map(({ set }) => set) ?? []);
      return units();
    });
    expectNear(dropped?.writeUnits, replace.dropWriteUnits);
    await rollcall().sweep();
  });

  it("a merge", async () => {
    const { merge } = costs();
    const add = Array.from({ length: CHANGES }, (_, index) => `somebody-else-${index}`);
    const consumed = await consumedBy(() => rollcall().merge("segment-1", { add }));
    expectNear(consumed?.writeUnits, merge.writeUnits);
  });

  it("a dry run of either, by the members and the record that there are", async () => {
    const snapshot = { included: membersOf(2, density, 1) };
    const delta = {
      add: Array.from({ length: CHANGES }, (_, index) => `newcomer-${index}`),
      remove: snapshot.included.slice(-CHANGES),
    };
    const planned = await rollcall().merge("segment-2", delta, { dryRun: true });
    const merged = await consumedBy(() => rollcall().merge("segment-2", delta));
    expectNear(merged?.writeUnits, planned.estimate?.writeUnits ?? 0);

    const plannedSnapshot = await rollcall().replace("segment-3", snapshot, { dryRun: true });
    const { retired: before = [] } = (await rollcall().getSegment("segment-3")) ?? {};
    const replaced = await consumedBy(async () => {
      await rollcall().replace("segment-3", snapshot);
      const { retired = [] } = (await rollcall().getSegment("segment-3")) ?? {};
      await store.dropMemberSets(retired.slice(before.length).map(({ set }) => set));
    });
    expectNear(replaced?.writeUnits, plannedSnapshot.estimate?.writeUnits ?? 0);
    expectNear(replaced?.readUnits, plannedSnapshot.estimate?.readUnits ?? 0);
    await rollcall().sweep();
  });

  it("lookups", async () => {
    const { lookup } = costs();
    const sets = (await rollcall().listSegments()).flatMap(({ included }) => included.set ?? []);
    const units = await measureConsumption(async (consumed) => {
      for (let person = 0; person < 50; person++)
        await store.findMemberSets(contextHash(`person-${person}`) ?? new Uint8Array(), sets);
      return consumed();
    });
    expectNear((units?.readUnits ?? 0) / 50, lookup.readUnits);
    expect(units?.writeUnits).toBe(0);
  });
});
