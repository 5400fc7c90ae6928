// How lookups become calls: nothing is lost or reordered, and no script gets more than its share.

import { type ContextHashes, type EnvironmentName, hashAt, hashCount, shardOf } from "@rollcall/core";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Call, Command, ScriptCall } from "./commands.js";
import { fieldOf, readCalls } from "./member-reads.js";
import { createRecordKeys } from "./record-key.js";

/** After so many a script takes no further shard. */
const SCRIPT_READS = 256;

const keys = createRecordKeys("rollcall", "default" as EnvironmentName);
const shardBits = fc.integer({ min: 0, max: 20 });
const slots = fc.constantFrom(1, 4);
const someHashes = fc.uint8Array({ maxLength: 700 * 16 }).map((bytes) => bytes.subarray(0, bytes.length & ~15));
/** Alike at their beginning, as many as there are, so that some shards have many. */
const hashes = fc.oneof(
  someHashes,
  someHashes.map((bytes) => bytes.map((byte, index) => (index % 16 < 2 ? byte & 1 : byte))),
);

describe.each([true, false])("calls for lookups, isCluster %s", (isCluster) => {
  it("ask for each hash, once and in order", () => {
    fc.assert(
      fc.property(hashes, shardBits, slots, (asked, bits, count) => {
        const nameOf = (shard: number) => keys.shardKeys(count, bits, shard).shard;
        const reads = readCalls({ hashes: asked, shardBits: bits, nameOf, isCluster }).flatMap(readsOf);
        const expected = Array.from({ length: hashCount(asked) }, (_, index) => {
          const field = fieldOf(hashAt(asked, index) as ContextHashes, bits);
          return `${nameOf(shardOf(asked, index, bits))} ${field.toString("hex")}`;
        });
        expect(reads).toEqual(expected);
      }),
    );
  });
});

describe("scripts that look up", () => {
  it.each([
    ["none", 0, 8, []],
    ["as many as one takes", 256, 8, [256]],
    ["one more", 257, 8, [256, 1]],
    ["all in one shard", 1_000, 0, [1_000]],
  ] as const)("%s", (_, count, bits, expected) => {
    const asked = new Uint8Array(count * 16);
    // Another shard each time.
    for (let index = 0; index < count; index++) asked[index * 16] = index;
    const calls = readCalls({ hashes: asked, shardBits: bits, nameOf: String, isCluster: false });
    expect(calls.map((call) => readsOf(call).length)).toEqual(expected);
  });

  it("take no further shard after so many", () => {
    fc.assert(
      fc.property(hashes, shardBits, (asked, bits) => {
        const calls = readCalls({ hashes: asked, shardBits: bits, nameOf: String, isCluster: false });
        for (const call of calls) {
          const reads = readsOf(call);
          const last = reads.at(-1)?.split(" ")[0];
          const before = reads.findIndex((read) => read.split(" ")[0] === last);
          // The last shard begins before the script is full, unless a shard comes twice.
          expect(Math.min(before, reads.length - 1)).toBeLessThan(SCRIPT_READS);
        }
        for (const call of calls.slice(0, -1)) expect(readsOf(call).length).toBeGreaterThanOrEqual(SCRIPT_READS);
      }),
    );
  });
});

/** Key and field of each value that a call reads, in order; a script's as the script reads them. */
function readsOf(call: Call): string[] {
  return "script" in call ? readsOfScript(call) : readsOfCommand(call);
}

function readsOfCommand([name, key, ...fields]: Command): string[] {
  expect(name).toBe(fields.length === 1 ? "hget" : "hmget");
  return fields.map((field) => `${key} ${(field as Buffer).toString("hex")}`);
}

function readsOfScript({ args }: ScriptCall): string[] {
  const [packed, width] = args as [Buffer, number];
  const reads: string[] = [];
  for (let at = 0; at < packed.length; ) {
    const length = packed.readUInt8(at);
    const fields = packed.readUInt16BE(at + 1);
    const name = packed.toString("latin1", at + 3, at + 3 + length);
    at += 3 + length;
    for (let field = 0; field < fields; field++, at += width)
      reads.push(`${name} ${packed.toString("hex", at, at + width)}`);
  }
  return reads;
}
