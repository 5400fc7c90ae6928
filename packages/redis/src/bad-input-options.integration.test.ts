// Options that are not valid, and a store that is opened for reading only.

import { randomUUID } from "node:crypto";
import { createRollcall } from "@rollcall/core";
import { describe, expect, inject, it } from "vitest";
import { login, quickStoreMaker, secrets, url } from "./bad-input.test-setup.js";
import { type RedisStoreOptions, storeFactory } from "./index.js";
import { adminClient, contentsOf, keysOf } from "./keyspace.test-setup.js";
import { HASH, NOTHING, placeAt } from "./place.test-setup.js";
import { expectRefusal } from "./refusal.test-setup.js";

const { host, port } = inject("redisServer");
const storeAt = quickStoreMaker();
const admin = adminClient();

describe("options", () => {
  const long = "a".repeat(65);
  it.each<[name: string, options: RedisStoreOptions]>([
    ...["", "a:b", "{a}", "a b", "ä", "a\n", long].map((prefix): [string, RedisStoreOptions] => ["prefix", { prefix }]),
    ...["", "a:b", "{a}", "a b", "ä", "a\n", long].map((environment): [string, RedisStoreOptions] => [
      "environment",
      { environment },
    ]),
    ...[0, 3, -1, 1.5, 2_048, Number.NaN, Number.POSITIVE_INFINITY].map((slots): [string, RedisStoreOptions] => [
      "slots",
      { slots },
    ]),
    ["no option enviroment", { enviroment: "production" } as RedisStoreOptions],
    ...[-1, 0.5, Number.NaN].map((minReplicas): [string, RedisStoreOptions] => ["minReplicas", { minReplicas }]),
    ...[0, -1, Number.NaN, 2 ** 31, Number.POSITIVE_INFINITY].map((ms): [string, RedisStoreOptions] => [
      "timeoutMs",
      { timeoutMs: ms },
    ]),
    ...[0, -1, Number.NaN].map((ms): [string, RedisStoreOptions] => ["replicaTimeoutMs", { replicaTimeoutMs: ms }]),
    ["replicaTimeoutMs", { minReplicas: 1, replicaTimeoutMs: 500, timeoutMs: 500 }],
    ["replicaTimeoutMs", { minReplicas: 1, timeoutMs: 1_000 }],
  ])("%s: %o is refused", async (name, options) => {
    await expectRefusal(async () => storeAt(`redis://${login}@${host}:${port}`, options), {
      code: "invalid_request",
      remedy: new RegExp(name),
      secrets,
    });
  });

  it("at their limits are taken", async () => {
    for (const options of [
      { prefix: "a", environment: "b" },
      { prefix: "A.b_c-9".padEnd(64, "x"), environment: "A.b_c-9".padEnd(64, "x") },
      { slots: 1_024, timeoutMs: 2 ** 31 - 1 },
      { minReplicas: 0, replicaTimeoutMs: 5_000, timeoutMs: 1_000 },
    ])
      await storeAt(url, options).open();
  });
});

describe("a store that is only read", () => {
  it("is not made", async () => {
    const prefix = randomUUID();
    await expectRefusal(() => storeAt(url, { prefix, readOnly: true }).open(), {
      code: "store_read_only",
      remedy: /environment default.*prefix/,
    });
    expect(await keysOf(admin, prefix)).toEqual([]);
  });

  it("refuses every write, and does none", async () => {
    const prefix = randomUUID();
    const { set, fence, segment, report, environment } = await placeAt(storeAt(url, { prefix }));
    const before = await contentsOf(admin, prefix);
    const store = storeAt(url, { prefix, readOnly: true });
    await store.open();
    const writes = [
      () => store.putEnvironment(environment, environment.revision),
      () => store.putSegment(segment, segment.revision, { reports: [report] }),
      () => store.allocateMemberSet(0, fence),
      () => store.raiseFence(set, { ...fence, token: fence.token + 1 }),
      () => store.writeBlocks(set, [{ shard: 0, adds: NOTHING, removes: HASH }], fence),
      () => store.dropMemberSets([set]),
      () => createRollcall(store).merge("people", { add: ["grace"] }),
    ];
    for (const write of writes) await expectRefusal(write, { code: "store_read_only", remedy: /readOnly/ });
    expect(await contentsOf(admin, prefix)).toEqual(before);
    expect(await store.findMemberSets(HASH, [set])).toEqual([[set.id]]);
  });

  it("is asked for by the URL or by the options", async () => {
    const prefix = randomUUID();
    for (const [query, options] of [
      ["&readOnly=true", {}],
      ["&readOnly=true", { readOnly: false }],
      ["", { readOnly: true }],
      ["&readOnly=false", { readOnly: true }],
    ] as const) {
      const store = storeFactory.createStore(`${url}?prefix=${prefix}${query}`, options);
      await expectRefusal(() => store.open(), { code: "store_read_only", remedy: /environment/ });
      await store.close();
    }
  });
});
