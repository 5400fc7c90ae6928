// The stores that the tests of a file make.

import { randomUUID } from "node:crypto";
import type { SegmentStore } from "@rollcall/core";
import { afterEach } from "vitest";
import { createRedisStore, type RedisClient, type RedisStoreOptions } from "./index.js";

/** Makes a store, not yet opened, under a prefix of its own unless one is given. */
export type StoreMaker = (target: string | RedisClient, options?: RedisStoreOptions) => SegmentStore;

/** For one file: when a test is over, its stores are closed, and the clients that it made for them. */
export function storeMaker(defaults: RedisStoreOptions = {}): StoreMaker {
  const cleanups: (() => unknown)[] = [];
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  });
  return (target, options = {}) => {
    if (typeof target !== "string") cleanups.push(() => target.disconnect());
    const store = createRedisStore(target, { prefix: randomUUID(), ...defaults, ...options });
    cleanups.push(() => store.close());
    return store;
  };
}
