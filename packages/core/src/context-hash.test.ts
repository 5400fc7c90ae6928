// The hash of a context: known digests, the pepper, and which keys are refused.

import { createHash, createHmac } from "node:crypto";
import { describe, expect, test } from "vitest";
import { contextHash, createHashWriter, MAX_KEY_BYTES, pepperCheck } from "./context-hash.js";
import type { MemberFormat } from "./members.js";

const sha256 = (key: string) => createHash("sha256").update(key, "utf8").digest();

function written(member: unknown, format: MemberFormat = "key", pepper?: string) {
  const target = Buffer.alloc(20, 0xee);
  const reason = createHashWriter(format, pepper)(member, target, 2);
  expect([target[0], target[1], target[18], target[19]]).toEqual([0xee, 0xee, 0xee, 0xee]);
  return reason ?? target.subarray(2, 18).toString("hex");
}

describe("context hash", () => {
  test.each(["a", "user-42", "é", "e\u0301", "日本", "\0", "__proto__", "😀", "x".repeat(MAX_KEY_BYTES)])(
    "is 16 bytes of SHA-256 of the UTF-8 key %#",
    (key) => {
      expect(written(key)).toBe(sha256(key).subarray(0, 16).toString("hex"));
      expect(Buffer.from(contextHash(key) ?? []).toString("hex")).toBe(written(key));
    },
  );

  test("is of HMAC-SHA-256 of the digest under a pepper", () => {
    const expected = createHmac("sha256", "salt and pepper")
      .update(sha256("a"))
      .digest()
      .subarray(0, 16)
      .toString("hex");
    expect(written("a", "key", "salt and pepper")).toBe(expected);
    expect(written(sha256("a").toString("hex"), "sha256", "salt and pepper")).toBe(expected);
  });

  test.each(["hex", "base64", "base64url"] as const)("takes digests in %s", (encoding) => {
    expect(written(sha256("a").toString(encoding), "sha256")).toBe(written("a"));
  });

  test("takes integers as their decimal digits", () => {
    expect(written(42)).toBe(written("42"));
    expect(written(-0)).toBe(written("0"));
    expect(written(Number.MAX_SAFE_INTEGER)).toBe(written("9007199254740991"));
    expect(written(123456789012345678901234567890n)).toBe(written("123456789012345678901234567890"));
  });

  test.each([
    ["", "empty"],
    ["\ud800", "not_well_formed"],
    ["a\udc00b", "not_well_formed"],
    ["x".repeat(MAX_KEY_BYTES + 1), "too_long"],
    ["é".repeat(MAX_KEY_BYTES / 2 + 1), "too_long"],
    [1.5, "not_string_or_integer"],
    [2 ** 53, "not_string_or_integer"],
    [Number.NaN, "not_string_or_integer"],
    [null, "not_string_or_integer"],
    [undefined, "not_string_or_integer"],
    [{}, "not_string_or_integer"],
    [["a"], "not_string_or_integer"],
    [true, "not_string_or_integer"],
  ])("refuses what cannot be a key %#", (member, reason) => {
    expect(written(member)).toBe(reason);
  });

  test.each([["abc"], [""], [42], ["g".repeat(64)], ["a".repeat(63)], [sha256("a").toString("base64").slice(1)]])(
    "refuses what is not a digest %#",
    (member) => {
      expect(written(member, "sha256")).toBe("not_a_digest");
    },
  );

  test("the pepper check tells peppers apart and does not hold the pepper", () => {
    expect(pepperCheck(undefined)).toBeUndefined();
    expect(pepperCheck("one")).not.toBe(pepperCheck("two"));
    expect(pepperCheck("one")).toBe(pepperCheck(Buffer.from("one")));
    expect(pepperCheck("secret")).not.toContain("secret");
  });
});
