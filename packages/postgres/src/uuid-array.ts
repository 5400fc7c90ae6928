// Context hashes as PostgreSQL takes and gives them: the binary form of uuid[]. A uuid is 16 bytes, whatever they mean.
// (`array_recv` and `array_send` in the server's src/backend/utils/adt/arrayfuncs.c.)

import { CONTEXT_HASH_BYTES, type ContextHashes, hashCount } from "@rollcall/core";

const UUID_TYPE = 2950;
/** Dimensions, whether there are nulls, type; then length and lower bound of the one dimension. */
const HEAD_BYTES = 20;
/** Each element has its length before it. */
const ELEMENT_BYTES = 4 + CONTEXT_HASH_BYTES;

/** All of `runs` in one array, in their order: a value for a parameter. */
export function encodeHashes(runs: readonly ContextHashes[]): Buffer {
  const count = runs.reduce((sum, run) => sum + hashCount(run), 0);
  const target = Buffer.alloc(HEAD_BYTES + count * ELEMENT_BYTES);
  target.writeInt32BE(1, 0);
  target.writeInt32BE(UUID_TYPE, 8);
  target.writeInt32BE(count, 12);
  target.writeInt32BE(1, 16);
  let at = HEAD_BYTES;
  for (const run of runs) {
    for (let from = 0; from < run.length; from += CONTEXT_HASH_BYTES) {
      target[at + 3] = CONTEXT_HASH_BYTES;
      at += 4;
      for (let byte = 0; byte < CONTEXT_HASH_BYTES; byte++) target[at + byte] = run[from + byte] as number;
      at += CONTEXT_HASH_BYTES;
    }
  }
  return target;
}

/** The hashes in what `array_send` gave, in their order there. */
export function decodeHashes(array: Uint8Array): ContextHashes {
  const count = Math.max(0, Math.floor((array.length - HEAD_BYTES) / ELEMENT_BYTES));
  const hashes = new Uint8Array(count * CONTEXT_HASH_BYTES);
  for (let index = 0; index < count; index++) {
    const at = HEAD_BYTES + index * ELEMENT_BYTES + 4;
    hashes.set(array.subarray(at, at + CONTEXT_HASH_BYTES), index * CONTEXT_HASH_BYTES);
  }
  return hashes;
}
