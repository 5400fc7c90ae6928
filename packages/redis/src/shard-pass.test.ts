// Going through shards: each one to its end, each field once, and whole hashes out of what the shards hold.

import { CONTEXT_HASH_BYTES, hashCount, shardOf } from "@rollcall/core";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { impliedBytes, passShards, type ShardPart, setBits, type VisitedPart, wholeHashes } from "./shard-pass.js";

const SHARDS_PER_TRIP = 8;
/** A field of these tests is one byte. */
const WIDTH = 1;

// For each shard the fields that each step answers. Steps may answer a field again, but none twice in itself.
const step = fc.uniqueArray(fc.integer({ min: 0, max: 9 }), { maxLength: 6 });
const shardSteps = fc.array(fc.array(step, { minLength: 1, maxLength: 4 }), { maxLength: 30 });

describe("a pass over shards", () => {
  it("finds each field of each shard once, however many steps that takes", async () => {
    await fc.assert(
      fc.asyncProperty(shardSteps, async (shards) => {
        const { found, asked } = await passOver(shards);
        const expected = shards.map((steps) => [...new Set(steps.flat())]);
        expect(shards.map((_, shard) => found.get(shard) ?? [])).toEqual(expected);
        // Every step of every shard was asked for once, in order.
        expect(shards.map((_, shard) => asked.flat().filter((part) => part.shard === shard))).toEqual(
          shards.map((steps, shard) => steps.map((_, cursor) => ({ shard, cursor: String(cursor) }))),
        );
      }),
    );
  });

  it("makes no trip larger than it may be, and none for nothing", async () => {
    await fc.assert(
      fc.asyncProperty(shardSteps, async (shards) => {
        const { asked } = await passOver(shards);
        for (const parts of asked) {
          expect(parts.length).toBeGreaterThan(0);
          expect(parts.length).toBeLessThanOrEqual(SHARDS_PER_TRIP);
          expect(new Set(parts.map(({ shard }) => shard)).size).toBe(parts.length);
        }
        // Only the last trip may have room left, or those that wait for the rest of long shards.
        const begun = asked.map((parts) => parts.filter(({ cursor }) => cursor === "0").length);
        const lastBegin = begun.findLastIndex((count) => count > 0);
        for (const parts of asked.slice(0, Math.max(0, lastBegin))) expect(parts).toHaveLength(SHARDS_PER_TRIP);
      }),
    );
  });

  it("does without fields where a script answers only its cursor", async () => {
    const trips: (readonly ShardPart[])[] = [];
    const parts: VisitedPart[] = [];
    const pass = passShards([3, 5], WIDTH, async (asked) => {
      trips.push(asked);
      return asked.map(({ shard, cursor }) => Buffer.from(shard === 5 && cursor === "0" ? "77" : "0"));
    });
    for await (const visited of pass) parts.push(...visited);
    expect(trips).toEqual([
      [
        { shard: 3, cursor: "0" },
        { shard: 5, cursor: "0" },
      ],
      [{ shard: 5, cursor: "77" }],
    ]);
    expect(parts.map(({ shard, fields }) => [shard, fields.length])).toEqual([
      [3, 0],
      [5, 0],
      [5, 0],
    ]);
  });

  it("ends with the error of a trip", async () => {
    const failure = new Error("no reply");
    const pass = passShards([1], WIDTH, async () => {
      throw failure;
    });
    await expect(pass.next()).rejects.toBe(failure);
  });
});

describe("the bits that are set", () => {
  it("are counted as Redis counts them", () => {
    expect([...setBits(Buffer.from([0b1000_0001, 0, 0b0100_0000]), 0)]).toEqual([0, 7, 17]);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), fc.nat(2 ** 24), (bitmap, first) => {
        const text = Array.from(bitmap, (byte) => byte.toString(2).padStart(8, "0")).join("");
        const expected = [...text].flatMap((bit, place) => (bit === "1" ? [first + place] : []));
        expect([...setBits(bitmap, first)]).toEqual(expected);
      }),
    );
  });
});

describe("whole hashes", () => {
  const rest = fc.uint8Array({ minLength: CONTEXT_HASH_BYTES, maxLength: CONTEXT_HASH_BYTES });

  it.each(Array.from({ length: 25 }, (_, shardBits) => [shardBits]))(
    "come back from shards of %i bits",
    (shardBits) => {
      const shards = fc.oneof(fc.constantFrom(0, 2 ** shardBits - 1), fc.integer({ min: 0, max: 2 ** shardBits - 1 }));
      const implied = impliedBytes(shardBits);
      fc.assert(
        fc.property(shards, fc.array(rest, { maxLength: 5 }), (shard, bytes) => {
          const hashes = Buffer.concat(bytes.map((hash) => inShard(hash, shard, shardBits)));
          for (let index = 0; index < hashCount(hashes); index++) expect(shardOf(hashes, index, shardBits)).toBe(shard);
          const fields = Buffer.concat(bytes.map((hash) => inShard(hash, shard, shardBits).subarray(implied)));
          expect(Buffer.from(wholeHashes(shard, shardBits, fields))).toEqual(hashes);
        }),
      );
    },
  );

  it("leave out of their fields only whole bytes that the shard knows", () => {
    const implied = Array.from({ length: 25 }, (_, shardBits) => impliedBytes(shardBits));
    expect(implied).toEqual([...Array(8).fill(0), ...Array(8).fill(1), ...Array(8).fill(2), 3]);
  });
});

/** Passes over shards whose steps answer what `shards` says; answers what was found, and the parts of each trip. */
async function passOver(shards: readonly number[][][]) {
  const asked: (readonly ShardPart[])[] = [];
  const found = new Map<number, number[]>();
  const pass = passShards(shards.keys(), WIDTH, async (parts) => {
    asked.push(parts);
    return parts.map(({ shard, cursor }) => {
      const steps = shards[shard]!;
      const next = Number(cursor) + 1;
      return [Buffer.from(String(next === steps.length ? 0 : next)), Buffer.from(steps[Number(cursor)]!)];
    });
  });
  for await (const parts of pass)
    for (const { shard, fields } of parts) found.set(shard, [...(found.get(shard) ?? []), ...fields]);
  return { found, asked };
}

function inShard(hash: Uint8Array, shard: number, shardBits: number): Buffer {
  const placed = Buffer.from(hash);
  const below = placed.readUIntBE(0, 3) % 2 ** (24 - shardBits);
  placed.writeUIntBE(shard * 2 ** (24 - shardBits) + below, 0, 3);
  return placed;
}
