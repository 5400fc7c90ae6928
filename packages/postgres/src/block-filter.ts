// The Bloom filters of blocks, as the database keeps them: a lookup goes past a block whose filter lacks a bit of the context.

import { CONTEXT_HASH_BYTES, type ContextHashes } from "@rollcall/core";
import { BIT_TYPE, binaryArray } from "./binary-array.js";

const FILTER_BITS = 512;
const FILTER_BYTES = FILTER_BITS / 8;
/** A bit string's own length, in bits, stands before it. (`bit_send` in the server's src/backend/utils/adt/varbit.c.) */
const HEAD_BYTES = 4;

/** The bits of all of `hashes`, as a value for a parameter of type `bit(512)`. `rollcall_filter` of the layout sets the same for one. */
export function filterOf(hashes: ContextHashes): Buffer {
  const filter = Buffer.alloc(HEAD_BYTES + FILTER_BYTES);
  filter.writeInt32BE(FILTER_BITS, 0);
  for (let end = CONTEXT_HASH_BYTES; end <= hashes.length; end += CONTEXT_HASH_BYTES) {
    set(filter, hashes[end - 2] as number);
    set(filter, FILTER_BITS / 2 + (hashes[end - 1] as number));
  }
  return filter;
}

/** Filters as {@link filterOf} makes them: a value for a parameter of type `bit(512)[]`. */
export function encodeFilters(filters: readonly Buffer[]): Buffer {
  return binaryArray(BIT_TYPE, HEAD_BYTES + FILTER_BYTES, filters);
}

function set(filter: Buffer, bit: number): void {
  const at = HEAD_BYTES + (bit >> 3);
  filter[at] = (filter[at] as number) | (0x80 >> (bit & 7));
}
