// The segment `people` and the work that a process does on it: all that a syncing one may do, and all that a reading one may.

import { createRollcall, createSegmentReader, type SegmentStore } from "@rollcall/core";
import { expect } from "vitest";

/** Opens the store and gives the segment its members: ada and linus, and not bob. */
export async function syncPeople(store: SegmentStore): Promise<void> {
  await store.open();
  const rollcall = createRollcall(store);
  await rollcall.replace("people", { included: ["ada", "linus"], excluded: ["bob"] });
  await rollcall.close();
}

/** Reads what {@link syncPeople} wrote, in every way in which a `SegmentReader` reads. */
export async function readPeople(store: SegmentStore): Promise<void> {
  await store.open();
  const reader = createSegmentReader({ store, onError: "throw" });
  await reader.refresh();
  for (const [key, member] of [
    ["ada", true],
    ["bob", false],
    ["eve", false],
  ] as const)
    expect(await reader.isMember("people", { kind: "user", key })).toMatchObject({ member, status: "healthy" });
  expect([...(await reader.membership({ kind: "user", key: "linus" })).segments]).toEqual([["people", true]]);
  reader.close();
}

/** Syncs, reads, checks, sweeps, forgets and deletes: every call that there is. */
export async function syncEverything(store: SegmentStore): Promise<void> {
  await store.open();
  const warnings: Error[] = [];
  const rollcall = createRollcall(store, { graceMs: 0, onWarning: (warning) => warnings.push(warning) });
  await rollcall.merge("people", { add: ["ada", "grace", "alan"] });
  await rollcall.merge("people", { add: ["linus"], remove: ["grace", "alan"] });
  await rollcall.merge("people", { add: ["bob"] }, { list: "excluded" });
  await readPeople(store);
  await syncPeople(store);
  await readPeople(store);
  await rollcall.editDetails("people", { name: "People" });
  await rollcall.setEnvironmentPosition("source", "1");
  // What went wrong without failing a call: a report that could not be kept.
  for (const warning of warnings) throw warning;
  expect(await rollcall.getHistory("people")).toHaveLength(4);
  expect((await rollcall.verify()).findings).toEqual([]);
  expect((await rollcall.sweep()).droppedSets).toBe(2);
  expect((await rollcall.forget({ kind: "user", key: "linus" })).segments).toEqual(["people"]);
  await rollcall.deleteSegment("people");
  expect((await rollcall.sweep()).droppedSets).toBe(2);
  expect(await store.listMemberSets()).toEqual([]);
  await rollcall.close();
}
