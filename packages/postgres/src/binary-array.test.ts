// Arrays in binary on their own. That PostgreSQL reads and writes it so is proved by every test with a server.

import { describe, expect, it } from "vitest";
import { decodeHashes, encodeHashes } from "./binary-array.js";

const hash = (fill: number) => new Uint8Array(16).fill(fill);

describe("an array of hashes", () => {
  it("has a head of 20 bytes, and a length before each hash", () => {
    expect(encodeHashes([hash(7)]).toString("hex")).toBe(
      `00000001${"00000000"}00000b86${"00000001"}00000001${"00000010"}${"07".repeat(16)}`,
    );
  });

  it("comes back as it was, runs joined in their order", () => {
    const runs = [Buffer.concat([hash(3), hash(1)]), new Uint8Array(), hash(255)];
    expect(Buffer.from(decodeHashes(encodeHashes(runs)))).toEqual(Buffer.concat(runs));
  });

  it("may be empty", () => {
    expect(decodeHashes(encodeHashes([]))).toHaveLength(0);
    // What array_send gives for one: no dimension.
    expect(decodeHashes(Buffer.from("000000000000000000000b86", "hex"))).toHaveLength(0);
  });
});
