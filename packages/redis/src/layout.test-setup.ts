// What the tests of the layout share: stores on servers that nothing is wrong with, and syncs of every kind.

import { randomUUID } from "node:crypto";
import type { Fence, Rollcall, SegmentStore } from "@rollcall/core";
import { expect, inject } from "vitest";
import type { RedisClient, RedisStoreOptions } from "./index.js";
import { SEGMENT } from "./place.test-setup.js";
import { storeMaker } from "./stores.test-setup.js";

const { host, port } = inject("redisServer");

/** Of a set that no segment points at. */
export const fence: Fence = { segmentKey: SEGMENT, generation: 1, holder: "writer", token: 1 };

/** How Redis calls the compact form of a HASH, since 7.0 and before. */
export const COMPACT = ["listpack", "ziplist"];

/** Opens stores for the tests of one file: on the server that they share, unless another target is named. */
export function storeOpener() {
  const storeAt = storeMaker();
  return async (
    options: RedisStoreOptions = {},
    target: string | RedisClient = `redis://${host}:${port}`,
  ): Promise<{ readonly store: SegmentStore; readonly prefix: string }> => {
    const prefix = options.prefix ?? randomUUID();
    const store = storeAt(target, { ...options, prefix });
    await store.open();
    return { store, prefix };
  };
}

/** Syncs of every kind, on the segments `a` and `b`. */
export async function busyLife(rollcall: Rollcall): Promise<void> {
  const everybody = Array.from({ length: 3_000 }, (_, number) => `person-${number}`);
  await rollcall.replace("a", { included: everybody, excluded: everybody.slice(0, 50) });
  await rollcall.merge("b", { add: everybody.slice(0, 500), remove: everybody.slice(1_000) });
  await rollcall.replace("a", { included: everybody.slice(0, 2_000) });
  await rollcall.merge("b", { remove: everybody.slice(0, 100) });
  expect((await rollcall.verify()).findings).toEqual([]);
  await rollcall.sweep();
}

/** The keys of shards among `keys`. */
export function shardsAmong(keys: readonly string[]): string[] {
  return keys.filter((key) => /:\d+:\d+$/.test(key));
}
