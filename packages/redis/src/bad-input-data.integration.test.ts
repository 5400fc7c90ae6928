// Data that is not ours, not of this version, or damaged: it is met by a typed error and left as it is.

import { randomUUID } from "node:crypto";
import type { Redis } from "ioredis";
import { describe, expect, it } from "vitest";
import { quickStoreMaker, url } from "./bad-input.test-setup.js";
import { bufferOf } from "./block-group.js";
import { adminClient, contentsOf, recordKeys } from "./keyspace.test-setup.js";
import { HASH, NOTHING, type Place, placeAt, SEGMENT } from "./place.test-setup.js";
import type { RecordKeys } from "./record-key.js";
import { expectRefusal } from "./refusal.test-setup.js";

const storeAt = quickStoreMaker();
const admin = adminClient();

/** Every call that uses a key. */
const calls = {
  getEnvironment: ({ store }) => store.getEnvironment(),
  putEnvironment: async ({ store, environment }) => store.putEnvironment(environment, environment.revision),
  getEpoch: ({ store }) => store.getEpoch(),
  getSegment: ({ store }) => store.getSegment(SEGMENT),
  listSegments: ({ store }) => store.listSegments(),
  putSegment: ({ store, segment, report }) => store.putSegment(segment, segment.revision, { reports: [report] }),
  getHistory: ({ store }) => store.getHistory(SEGMENT),
  allocateMemberSet: ({ store, fence }) => store.allocateMemberSet(0, fence),
  raiseFence: ({ store, set, fence }) => store.raiseFence(set, fence),
  listMemberSets: ({ store }) => store.listMemberSets(),
  writeBlocks: ({ store, set, fence }) => store.writeBlocks(set, [{ shard: 0, adds: HASH, removes: NOTHING }], fence),
  findMemberSets: ({ store, set }) => store.findMemberSets(HASH, [set]),
  scanMembers: ({ store, set }) => store.scanMembers(set)[Symbol.asyncIterator]().next(),
  dropMemberSets: ({ store, set }) => store.dropMemberSets([set]),
} satisfies Record<string, (place: Place) => Promise<unknown>>;
type Call = keyof typeof calls;

/** What is done to the data, and the call that meets it. */
type Damage = [name: string, damage: (client: Redis, keys: RecordKeys) => Promise<unknown>, call: Call];

describe("in place of the registry", () => {
  it.each<[name: string, put: (client: Redis, key: string) => Promise<unknown>]>([
    ["a string", (client, key) => client.set(key, "x")],
    ["a list", (client, key) => client.lpush(key, "x")],
    ["a set", (client, key) => client.sadd(key, "x")],
    ["a hash with other fields", (client, key) => client.hset(key, "field", "x")],
    ...["", "no JSON", "null", "7", "{}", '{"layout":"1","slots":1}', '{"layout":1}', '{"layout":1,"slots":"1"}'].map(
      asLayout,
    ),
    // Numbers of slots that no environment is made with, some of which could never be dealt out.
    ...[0, -1, 1.5, 3, 2_048, 1e9].map((slots) => asLayout(JSON.stringify({ layout: 1, slots }))),
  ])("%s is left as it is", async (_, put) => {
    const prefix = randomUUID();
    const { registry } = recordKeys(prefix);
    await put(admin, registry);
    const before = await admin.dumpBuffer(registry);
    await expectRefusal(() => storeAt(url, { prefix }).open(), { code: "layout_mismatch", remedy: /prefix/ });
    expect(await admin.dumpBuffer(registry)).toEqual(before);
  });

  it.each(['{"layout":2,"slots":1}', '{"layout":2}', '{"layout":17,"slots":{"members":4}}'])(
    "a newer layout is refused: %s",
    async (layout) => {
      const prefix = randomUUID();
      await storeAt(url, { prefix }).open();
      await admin.hset(recordKeys(prefix).registry, "layout", layout);
      for (const readOnly of [false, true])
        await expectRefusal(() => storeAt(url, { prefix, readOnly }).open(), {
          code: "layout_mismatch",
          remedy: /upgrade/,
        });
    },
  );
});

describe("another type", () => {
  // For each key the calls that need it. What stands in its place is of another type, or else Redis would say nothing.
  const needs: readonly [key: string, of: (keys: RecordKeys) => string, needed: readonly Call[]][] = [
    [
      "registry",
      ({ registry }) => registry,
      ["getEnvironment", "putEnvironment", "getEpoch", "putSegment", "allocateMemberSet"],
    ],
    ["segments", ({ segments }) => segments, ["getSegment", "listSegments", "putSegment"]],
    ["sets", ({ sets }) => sets, ["allocateMemberSet", "raiseFence", "listMemberSets", "dropMemberSets"]],
    ["history", (all) => all.history(SEGMENT), ["putSegment", "getHistory"]],
    [
      "fences",
      (all) => all.shardKeys(1, 0, 0).run.fences,
      ["allocateMemberSet", "raiseFence", "writeBlocks", "dropMemberSets"],
    ],
    ["used", (all) => all.shardKeys(1, 0, 0).run.used, ["writeBlocks", "scanMembers", "dropMemberSets"]],
    [
      "shard",
      (all) => all.shardKeys(1, 0, 0).shard,
      ["writeBlocks", "findMemberSets", "scanMembers", "dropMemberSets"],
    ],
    // A marker in the shard sends all of them on to the overflow.
    [
      "overflow",
      (all) => all.shardKeys(1, 0, 0).overflow,
      ["writeBlocks", "findMemberSets", "scanMembers", "dropMemberSets"],
    ],
  ];
  const meetings = needs.flatMap(([key, of, needed]) => needed.map((call) => [key, call, of] as const));

  it.each(meetings)("in place of %s is met by %s", async (key, call, of) => {
    const prefix = randomUUID();
    const all = recordKeys(prefix);
    const { shard } = all.shardKeys(1, 0, 0);
    const place = await placeAt(storeAt(url, { prefix }));
    if (key === "overflow") await admin.hset(shard, bufferOf(HASH), "\0");
    else if (key !== "shard") await admin.del(shard);
    await admin.del(of(all));
    await (key === "used" ? admin.lpush(of(all), "foreign") : admin.set(of(all), "foreign"));
    const before = await admin.dumpBuffer(of(all));
    await expectRefusal(() => calls[call](place), { code: "layout_mismatch", remedy: /prefix/ });
    expect(await admin.dumpBuffer(of(all))).toEqual(before);
  });

  it("in place of the history keeps the record from being written", async () => {
    const prefix = randomUUID();
    const place = await placeAt(storeAt(url, { prefix }));
    await admin.set(recordKeys(prefix).history(SEGMENT), "foreign");
    const before = await contentsOf(admin, prefix);
    await expectRefusal(() => calls.putSegment(place), { code: "layout_mismatch", remedy: /prefix/ });
    expect(await contentsOf(admin, prefix)).toEqual(before);
  });
});

describe("corrupt data", () => {
  it.each<Damage>([
    ["no environment record", (client, { registry }) => client.hdel(registry, "environment"), "getEnvironment"],
    [
      "a damaged environment record",
      (client, { registry }) => client.hset(registry, "environment", "r\nno JSON"),
      "getEnvironment",
    ],
    ["no epoch", (client, { registry }) => client.hdel(registry, "epoch"), "getEpoch"],
    ["no layout, when writing", (client, { registry }) => client.hdel(registry, "layout"), "putSegment"],
    ["no layout, when allocating", (client, { registry }) => client.hdel(registry, "layout"), "allocateMemberSet"],
    ["a damaged segment record", (client, { segments }) => client.hset(segments, SEGMENT, "r\n{}"), "getSegment"],
    [
      "a damaged segment record, in a list",
      (client, { segments }) => client.hset(segments, SEGMENT, "r\n{}"),
      "listSegments",
    ],
    ["a damaged record of a set", (client, { sets }) => client.hset(sets, 7, "1 a b\nno JSON"), "listMemberSets"],
    ...["no JSON", "null", "{}", '{"shardBits":"8"}', '{"shardBits":25}', '{"shardBits":1.5}'].map(
      (text): Damage => [
        `the record of a dropped set: ${text}`,
        (client, { sets }) => client.hset(sets, 7, `\n${text}`),
        "listMemberSets",
      ],
    ),
    ...["no JSON", "null", "[]", "{}", '{"segmentKey":"people"}'].map(
      (text): Damage => [`a report: ${text}`, (client, all) => client.lpush(all.history(SEGMENT), text), "getHistory"],
    ),
  ])("is %s", async (_, damage, call) => {
    const prefix = randomUUID();
    const place = await placeAt(storeAt(url, { prefix }));
    await damage(admin, recordKeys(prefix));
    await expectRefusal(() => calls[call](place), {
      code: "corrupt_data",
      remedy: /restore|verify|repeat the snapshot/,
    });
  });
});

function asLayout(text: string): [name: string, put: (client: Redis, key: string) => Promise<unknown>] {
  return [`the layout ${text || "of no letters"}`, (client, key) => client.hset(key, "layout", text)];
}
