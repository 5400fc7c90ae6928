// The form of items: what a block leaves out comes back, and sizes stay where the layout wants them.

import { contextHash, MAX_SHARD_BITS, type MemberSetId, shardOf } from "@rollcall/core";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BLOCK_BYTES, chooseShardBits, fenceMark, memberBytes, restored, shortened } from "./item-key.js";

const aHash = fc.uint8Array({ minLength: 16, maxLength: 16 });
const someBits = fc.integer({ min: 0, max: MAX_SHARD_BITS });

describe("members", () => {
  it("come back whole from what a block has of them", () => {
    fc.assert(
      fc.property(aHash, someBits, (hash, shardBits) => {
        const set = { id: 1 as MemberSetId, shardBits };
        const members = shortened(hash, shardBits);
        expect(members[0]?.length).toBe(memberBytes(shardBits));
        expect(Buffer.from(restored(members, set, shardOf(hash, 0, shardBits)))).toEqual(Buffer.from(hash));
      }),
    );
  });

  it("come back sorted", () => {
    const [one, two] = [contextHash("ada") as Uint8Array, contextHash("grace") as Uint8Array];
    const sorted = Buffer.concat([one, two].sort(Buffer.compare));
    const set = { id: 1 as MemberSetId, shardBits: 0 };
    for (const members of [
      [one, two],
      [two, one],
    ])
      expect(Buffer.from(restored(members, set, 0))).toEqual(sorted);
  });
});

describe("fences", () => {
  const writer = { segmentKey: "vips" as never, generation: 1, holder: "a" };
  it("are in the order of tokens", () => {
    const tokens = [0, 1, 255, 256, 2 ** 32, 2 ** 40 - 1, Number.MAX_SAFE_INTEGER];
    const marks = tokens.map((token) => fenceMark({ ...writer, token }).mark);
    expect(marks.toSorted(Buffer.compare)).toEqual(marks);
    // A token alone is before all marks with it, and after all with a lower one.
    for (const [index, token] of tokens.entries()) {
      const bound = fenceMark({ ...writer, token }).token;
      expect(Buffer.compare(bound, marks[index] as Uint8Array)).toBe(-1);
      if (index > 0) expect(Buffer.compare(bound, marks[index - 1] as Uint8Array)).toBe(1);
    }
  });

  it("of one token are the same for the same writer only", () => {
    const { mark } = fenceMark({ ...writer, token: 5 });
    expect(fenceMark({ ...writer, token: 5 }).mark).toEqual(mark);
    for (const other of [{ holder: "b" }, { generation: 2 }, { segmentKey: "Vips" as never }])
      expect(fenceMark({ ...writer, token: 5, ...other }).mark).not.toEqual(mark);
  });
});

describe("blocks", () => {
  it.each([1, 0.5, 0.1, 0.01, 0.0001])(
    "of a share of %d stay below one write unit on average, whatever the contexts",
    (share) => {
      for (let contexts = 1_000; contexts <= 100_000_000; contexts *= 3) {
        const members = Math.max(1, contexts * share);
        const shardBits = chooseShardBits({ members, contexts });
        expect(BLOCK_BYTES + (members / 2 ** shardBits) * memberBytes(shardBits)).toBeLessThan(700);
        // A scan goes by blocks, and must not find most of them empty.
        expect(members / 2 ** shardBits).toBeGreaterThanOrEqual(Math.min(1, members / 2));
      }
    },
  );

  it("of segments of a tenth of a million contexts share their shards, and are read by one Query", () => {
    const shardBits = chooseShardBits({ members: 100_000, contexts: 1_000_000 });
    const bytes = BLOCK_BYTES + (100_000 / 2 ** shardBits) * memberBytes(shardBits);
    expect(10 * bytes).toBeLessThan(4_096);
    expect(100 * bytes).toBeLessThan(16_384);
    expect(100_000 / 2 ** shardBits).toBeGreaterThan(5);
  });
});
