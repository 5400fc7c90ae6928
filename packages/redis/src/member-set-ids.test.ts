// Packed member set ids: what is packed comes out again, and nothing in it can be taken for another id or for a marker.

import type { MemberSetId } from "@rollcall/core";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { packId, unpackIds } from "./member-set-ids.js";

const LARGEST = 2 ** 32 - 1;
/** Where the number of bytes changes, and the ends of the range. */
const EDGES = [1, 127, 128, 16_383, 16_384, 2 ** 21 - 1, 2 ** 21, 2 ** 28 - 1, 2 ** 28, LARGEST] as MemberSetId[];

const id = fc.oneof(fc.constantFrom(...EDGES), fc.integer({ min: 1, max: LARGEST }) as fc.Arbitrary<MemberSetId>);
const ids = fc.uniqueArray(id, { maxLength: 80 });

describe("packed ids", () => {
  it.each([
    [1, "01"],
    [127, "7f"],
    [128, "8001"],
    [16_383, "ff7f"],
    [16_384, "808001"],
    [LARGEST, "ffffffff0f"],
  ])("%i is %s", (number, bytes) => {
    expect(packId(number as MemberSetId).toString("hex")).toBe(bytes);
  });

  it("come out as they went in, in their order", () => {
    fc.assert(
      fc.property(ids, (all) => {
        expect(unpackIds(packed(all), new Set(all))).toEqual(all);
      }),
      { examples: [[EDGES], [[]]] },
    );
  });

  it("come out only where they are wanted", () => {
    fc.assert(
      fc.property(ids, ids, (all, wanted) => {
        expect(unpackIds(packed(all), new Set(wanted))).toEqual(all.filter((one) => wanted.includes(one)));
      }),
      // 1 is the last byte of both others: none may be taken for it.
      { examples: [[[129, 16_512] as MemberSetId[], [1] as MemberSetId[]]] },
    );
  });

  // The scripts find and strip ids by these bytes: only the last one of an id is below 128, and it is never zero, which
  // is the marker of an overflow.
  it("end at their only byte below 128, which is not zero", () => {
    fc.assert(
      fc.property(id, (one) => {
        const bytes = [...packId(one)];
        const last = bytes.pop()!;
        expect(last).toBeGreaterThan(0);
        expect(last).toBeLessThan(128);
        expect(bytes.filter((byte) => byte < 128)).toEqual([]);
      }),
    );
  });
});

function packed(all: readonly MemberSetId[]): Buffer {
  return Buffer.concat(all.map(packId));
}
