// From a context key, or the SHA-256 digest of one, to the 16 bytes that a store holds.

import { createHmac, hash } from "node:crypto";
import { CONTEXT_HASH_BYTES, type ContextHashes } from "./context-hashes.js";
import type { MemberFormat } from "./members.js";
import type { RejectionReason } from "./report.js";

/** The longest context key, in bytes of UTF-8. */
export const MAX_KEY_BYTES = 1_024;

/** A secret of the environment, or none. */
export type Pepper = string | Uint8Array | undefined;

/**
 * Writes the context hash of `member` into `target` at `offset` and answers `undefined`, or answers why the member is not
 * valid and writes nothing.
 */
export type HashWriter = (member: unknown, target: Buffer, offset: number) => RejectionReason | undefined;

/**
 * Makes the function that hashes members of one format with one pepper. Without a pepper: the first 16 bytes of SHA-256 (FIPS 180-4)
 * of the UTF-8 key; with one: of HMAC-SHA-256 (RFC 2104) of that digest under the pepper.
 */
export function createHashWriter(format: MemberFormat, pepper: Pepper): HashWriter {
  if (format === "sha256") return digestWriter(pepper);
  if (pepper === undefined) return plainWriter;
  return (member, target, offset) => {
    const key = keyText(member);
    if (typeof key !== "string") return key.reason;
    writeDigest(pepperedDigest(hash("sha256", key, "buffer"), pepper), target, offset);
    return undefined;
  };
}

// Hot: one call for each member of a snapshot. A string of bytes is the form in which Node hands out a digest fastest.
const plainWriter: HashWriter = (member, target, offset) => {
  const key = keyText(member);
  if (typeof key !== "string") return key.reason;
  const digest = hash("sha256", key, "binary");
  for (let i = 0; i < CONTEXT_HASH_BYTES; i++) target[offset + i] = digest.charCodeAt(i);
  return undefined;
};

function digestWriter(pepper: Pepper): HashWriter {
  return (member, target, offset) => {
    const digest = typeof member === "string" ? parseDigest(member) : undefined;
    if (digest === undefined) return "not_a_digest";
    writeDigest(pepper === undefined ? digest : pepperedDigest(digest, pepper), target, offset);
    return undefined;
  };
}

/** The context hash of one key, or `undefined` if the key cannot be a member. */
export function contextHash(key: string, pepper?: Pepper): ContextHashes | undefined {
  const target = Buffer.allocUnsafe(CONTEXT_HASH_BYTES);
  return createHashWriter("key", pepper)(key, target, 0) === undefined ? target : undefined;
}

/** What the environment record keeps to recognise the pepper; tells nothing of the pepper itself if that is not guessable. */
export function pepperCheck(pepper: Pepper): string | undefined {
  return pepper === undefined ? undefined : createHmac("sha256", pepper).update("rollcall pepper check").digest("hex");
}

const INVALID = {
  type: { reason: "not_string_or_integer" },
  empty: { reason: "empty" },
  long: { reason: "too_long" },
  surrogate: { reason: "not_well_formed" },
} as const satisfies Record<string, { reason: RejectionReason }>;

function keyText(member: unknown): string | { reason: RejectionReason } {
  if (typeof member !== "string") {
    if (typeof member === "bigint" || (typeof member === "number" && Number.isSafeInteger(member)))
      return String(member);
    return INVALID.type;
  }
  if (member.length === 0) return INVALID.empty;
  // A UTF-16 unit is at most 3 bytes of UTF-8, so that short keys need no count.
  if (member.length > MAX_KEY_BYTES / 3 && Buffer.byteLength(member) > MAX_KEY_BYTES) return INVALID.long;
  return member.isWellFormed() ? member : INVALID.surrogate;
}

const HEX_DIGEST = /^[0-9a-fA-F]{64}$/;
const BASE64_DIGEST = /^[A-Za-z0-9+/_-]{43}=?$/;

function parseDigest(text: string): Buffer | undefined {
  if (HEX_DIGEST.test(text)) return Buffer.from(text, "hex");
  return BASE64_DIGEST.test(text) ? Buffer.from(text, "base64") : undefined;
}

function pepperedDigest(digest: Buffer, pepper: string | Uint8Array): Buffer {
  return createHmac("sha256", pepper).update(digest).digest();
}

function writeDigest(digest: Buffer, target: Buffer, offset: number): void {
  digest.copy(target, offset, 0, CONTEXT_HASH_BYTES);
}
