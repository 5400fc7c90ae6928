// Going through all shards of one size, a few in each round trip, and each one in steps if it is large.

import { CONTEXT_HASH_BYTES, type ContextHashes, MAX_SHARD_BITS } from "@rollcall/core";

/** Shards of one round trip. A server works off what arrived together before it serves others. */
const SHARDS_PER_TRIP = 8;

/** What one script is to visit: a shard, from where the step before it ended. */
export interface ShardPart {
  readonly shard: number;
  readonly cursor: string;
}

/** What a script found in one part. */
export interface VisitedPart {
  readonly shard: number;
  /** Fields that it answered, one after the other; none twice in one shard. */
  readonly fields: Buffer;
}

/**
 * Visits the shards numbered `shards`. `visit` runs one script for each part in one round trip, and each script answers the cursor of
 * the next step, "0" at the end, alone or with the fields that it found, `width` bytes each.
 */
export async function* passShards(
  shards: Iterable<number>,
  width: number,
  visit: (parts: readonly ShardPart[]) => Promise<unknown[]>,
): AsyncGenerator<VisitedPart[]> {
  const fresh = shards[Symbol.iterator]();
  const seen = new Map<number, Set<string>>();
  for (let parts: ShardPart[] = []; ; ) {
    while (parts.length < SHARDS_PER_TRIP) {
      const { done, value } = fresh.next();
      if (done) break;
      parts.push({ shard: value, cursor: "0" });
    }
    if (parts.length === 0) return;
    const replies = await visit(parts);
    const unfinished: ShardPart[] = [];
    const visited: VisitedPart[] = [];
    parts.forEach(({ shard, cursor }, position) => {
      const [nextCursor, fields = NOTHING] = toList(replies[position]);
      const isLast = String(nextCursor) === "0";
      if (!isLast) unfinished.push({ shard, cursor: String(nextCursor) });
      if (isLast && cursor === "0") visited.push({ shard, fields });
      else visited.push({ shard, fields: withoutSeen(fields, seenIn(seen, shard), width) });
      if (isLast) seen.delete(shard);
    });
    yield visited;
    parts = unfinished;
  }
}

/** The numbers of the bits that are set, as Redis counts them from the highest bit of the first byte on, which is number `first`. */
export function* setBits(bitmap: Uint8Array, first: number): Generator<number> {
  for (let byte = 0; byte < bitmap.length; byte++) {
    for (let rest = bitmap[byte] as number; rest !== 0; ) {
      const bit = Math.clz32(rest) - 24;
      yield first + byte * 8 + bit;
      rest &= ~(128 >>> bit);
    }
  }
}

const NOTHING = Buffer.alloc(0);

function toList(reply: unknown): Buffer[] {
  return Array.isArray(reply) ? reply : [reply as Buffer];
}

function seenIn(seen: Map<number, Set<string>>, shard: number): Set<string> {
  const known = seen.get(shard) ?? new Set();
  seen.set(shard, known);
  return known;
}

// HSCAN may give an entry twice when a table is resized under it.
function withoutSeen(fields: Buffer, seen: Set<string>, width: number): Buffer {
  const fresh: Buffer[] = [];
  for (let at = 0; at < fields.length; at += width) {
    const field = fields.subarray(at, at + width);
    const name = field.toString("latin1");
    if (seen.has(name)) continue;
    seen.add(name);
    fresh.push(field);
  }
  return Buffer.concat(fresh);
}

/** How many leading bytes of a hash a shard's number implies; the fields hold the rest. */
export function impliedBytes(shardBits: number): number {
  return shardBits >>> 3;
}

/** The hashes whose rest is in `fields`, of one shard. */
export function wholeHashes(shard: number, shardBits: number, fields: Buffer): ContextHashes {
  const implied = impliedBytes(shardBits);
  const width = CONTEXT_HASH_BYTES - implied;
  const leading = Buffer.alloc(4);
  leading.writeUInt32BE(((shard << (MAX_SHARD_BITS - shardBits)) << 8) >>> 0);
  const hashes = new Uint8Array((fields.length / width) * CONTEXT_HASH_BYTES);
  for (let from = 0, to = 0; from < fields.length; from += width, to += CONTEXT_HASH_BYTES) {
    for (let byte = 0; byte < implied; byte++) hashes[to + byte] = leading[byte] as number;
    hashes.set(fields.subarray(from, from + width), to + implied);
  }
  return hashes;
}
