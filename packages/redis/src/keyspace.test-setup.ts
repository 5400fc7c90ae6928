// What lies under a prefix on the server that the tests share, seen behind the back of every store.

import type { EnvironmentName } from "@rollcall/core";
import { Redis } from "ioredis";
import { afterAll, inject } from "vitest";
import { NO_RESENDING } from "./deployments.test-setup.js";
import { createRecordKeys, type RecordKeys } from "./record-key.js";

const { host, port } = inject("redisServer");

/** A client for all tests of one file. */
export function adminClient(): Redis {
  const admin = new Redis({ host, port, ...NO_RESENDING });
  afterAll(() => admin.disconnect());
  return admin;
}

/** The keys of the default environment under `prefix`. */
export function recordKeys(prefix: string): RecordKeys {
  return createRecordKeys(prefix, "default" as EnvironmentName);
}

/** The names of all keys under `prefix`, of every environment. */
export function keysOf(admin: Redis, prefix: string): Promise<string[]> {
  return admin.keys(`*${prefix}*`);
}

/** Each of these keys with all that it holds. */
export async function contentsOf(admin: Redis, prefix: string): Promise<Map<string, string>> {
  const keys = (await keysOf(admin, prefix)).toSorted();
  const dumps = await Promise.all(keys.map((key) => admin.dumpBuffer(key)));
  return new Map(keys.map((key, index) => [key, dumps[index]?.toString("hex") ?? ""]));
}
