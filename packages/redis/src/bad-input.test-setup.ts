// What the tests of bad input share: a secret that no error may show, and targets that a store refuses to open.

import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inject, it } from "vitest";
import type { RedisClient } from "./index.js";
import { expectRefusal, type Refusal } from "./refusal.test-setup.js";
import { type StoreMaker, storeMaker } from "./stores.test-setup.js";

const { host, port } = inject("redisServer");

/** The server that the tests share, by a URL that nothing is wrong with. */
export const url = `redis://${host}:${port}`;

/** Holds what has to be encoded in a URL. */
export const SECRET = "wr0ng/p@ss:word";
export const secrets = [SECRET];
/** Goes before the host in a URL. */
export const login = `someone:${encodeURIComponent(SECRET)}`;

/** Stores that a server keeps waiting for a small part only of the time that a test has. */
export function quickStoreMaker(): StoreMaker {
  return storeMaker({ timeoutMs: 2_000 });
}

/** A target that is refused when a store on it is opened. */
export type Case = readonly [name: string, target: () => string | RedisClient, refusal: Refusal];

/** A test for each case. */
export function refused(storeAt: StoreMaker, cases: readonly Case[]): void {
  it.each(cases)("%s", async (_, target, refusal) => {
    const store = storeAt(target());
    await expectRefusal(() => store.open(), refusal);
    // And again: a handle whose opening failed is not open.
    await expectRefusal(() => store.getEpoch(), { code: "closed", remedy: /open\(\)/ });
  });
}

/** A file that holds `pem`, as the value of a parameter. */
export function caFile(pem: string): string {
  const file = join(mkdtempSync(join(tmpdir(), "rollcall-redis-")), "ca.pem");
  writeFileSync(file, pem);
  return encodeURIComponent(file);
}
