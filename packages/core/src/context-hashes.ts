// Packed context hashes: n times 16 bytes in one Uint8Array. Ten million members are 160 MB, and a block is a slice.

/** Bytes of one context hash. */
export const CONTEXT_HASH_BYTES = 16;

declare const packed: unique symbol;

/**
 * Context hashes, 16 bytes each, back to back. Unless a function says otherwise they are sorted as unsigned bytes and
 * hold no hash twice.
 */
export type ContextHashes = Uint8Array & { readonly [packed]?: "ContextHashes" };

/** How many hashes `hashes` holds. */
export function hashCount(hashes: ContextHashes): number {
  return hashes.byteLength / CONTEXT_HASH_BYTES;
}

/** The hash at `index`, a view and not a copy. */
export function hashAt(hashes: ContextHashes, index: number): ContextHashes {
  return hashes.subarray(index * CONTEXT_HASH_BYTES, (index + 1) * CONTEXT_HASH_BYTES);
}

/** Where `hash` (16 bytes) stands in the sorted `hashes`, or `-1 - i` where it would be inserted at `i`. */
export function findHash(hashes: ContextHashes, hash: Uint8Array): number {
  let low = 0;
  let high = hashCount(hashes) - 1;
  while (low <= high) {
    const middle = (low + high) >>> 1;
    const order = compareHashes(hashes, middle, hash, 0);
    if (order === 0) return middle;
    if (order < 0) low = middle + 1;
    else high = middle - 1;
  }
  return -1 - low;
}

/** Compares hash `i` of `a` with hash `j` of `b` as unsigned bytes: negative, 0 or positive. */
export function compareHashes(a: Uint8Array, i: number, b: Uint8Array, j: number): number {
  const aStart = i * CONTEXT_HASH_BYTES;
  const bStart = j * CONTEXT_HASH_BYTES;
  for (let k = 0; k < CONTEXT_HASH_BYTES; k++) {
    const difference = (a[aStart + k] as number) - (b[bStart + k] as number);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** Joins runs of hashes; the caller guarantees that the result is in order. */
export function concatHashes(runs: readonly ContextHashes[]): ContextHashes {
  if (runs.length === 1) return runs[0] as ContextHashes;
  const joined = new Uint8Array(runs.reduce((sum, run) => sum + run.byteLength, 0));
  let offset = 0;
  for (const run of runs) {
    joined.set(run, offset);
    offset += run.byteLength;
  }
  return joined;
}

/** Most leading bits that can name a shard. */
export const MAX_SHARD_BITS = 24;

/** The shard of hash `index`: its leading `shardBits` (0 to 24) bits as an unsigned number. */
export function shardOf(hashes: ContextHashes, index: number, shardBits: number): number {
  const start = index * CONTEXT_HASH_BYTES;
  const leading =
    ((hashes[start] as number) << 16) | ((hashes[start + 1] as number) << 8) | (hashes[start + 2] as number);
  return leading >>> (MAX_SHARD_BITS - shardBits);
}

/** The number of leading bits at which `total` things fall into shards of about `target`, 0 to 24. */
export function shardBitsFor(total: number, target: number): number {
  return Math.min(MAX_SHARD_BITS, Math.max(0, Math.ceil(Math.log2(Math.max(1, total) / target))));
}
