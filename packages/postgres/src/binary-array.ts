// Arrays as PostgreSQL takes and gives them in binary. A uuid is 16 bytes, whatever they mean.
// (`array_recv` and `array_send` in the server's src/backend/utils/adt/arrayfuncs.c.)

import { CONTEXT_HASH_BYTES, type ContextHashes } from "@rollcall/core";

/** Of elements, as `pg_type` numbers them. */
export const BIT_TYPE = 1560;
const UUID_TYPE = 2950;
/** Dimensions, whether there are nulls, type; then length and lower bound of the one dimension. */
const HEAD_BYTES = 20;
/** Each element has its length before it. */
const LENGTH_BYTES = 4;
const HASH_ELEMENT_BYTES = LENGTH_BYTES + CONTEXT_HASH_BYTES;

/** An array of elements of `size` bytes each, of which `runs` hold any number: a value for a parameter. */
export function binaryArray(type: number, size: number, runs: readonly Uint8Array[]): Buffer {
  const count = runs.reduce((sum, { length }) => sum + length / size, 0);
  const target = Buffer.alloc(HEAD_BYTES + count * (LENGTH_BYTES + size));
  target.writeInt32BE(1, 0);
  target.writeInt32BE(type, 8);
  target.writeInt32BE(count, 12);
  target.writeInt32BE(1, 16);
  let at = HEAD_BYTES;
  for (const run of runs) {
    for (let from = 0; from < run.length; from += size) {
      // Less than 256 bytes.
      target[at + 3] = size;
      at += LENGTH_BYTES;
      for (let byte = 0; byte < size; byte++) target[at + byte] = run[from + byte] as number;
      at += size;
    }
  }
  return target;
}

/** All hashes of `runs` in one array, in their order: a value for a parameter of type `uuid[]`. */
export function encodeHashes(runs: readonly ContextHashes[]): Buffer {
  return binaryArray(UUID_TYPE, CONTEXT_HASH_BYTES, runs);
}

/** The hashes in what `array_send` gave, in their order there. */
export function decodeHashes(array: Uint8Array): ContextHashes {
  const count = Math.max(0, Math.floor((array.length - HEAD_BYTES) / HASH_ELEMENT_BYTES));
  const hashes = new Uint8Array(count * CONTEXT_HASH_BYTES);
  for (let index = 0; index < count; index++) {
    const at = HEAD_BYTES + index * HASH_ELEMENT_BYTES + LENGTH_BYTES;
    hashes.set(array.subarray(at, at + CONTEXT_HASH_BYTES), index * CONTEXT_HASH_BYTES);
  }
  return hashes;
}
