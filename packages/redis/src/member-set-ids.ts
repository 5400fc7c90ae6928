// How the ids of a context's sets are packed: each as LEB128 (DWARF 5, section 7.6), 7 bits a byte, low bits first, the high bit on
// every byte but the last; one after the other in the order in which they were added.

import type { MemberSetId } from "@rollcall/core";

/** One id, packed. */
export function packId(id: MemberSetId): Buffer {
  const bytes: number[] = [];
  let rest: number = id;
  for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128);
  bytes.push(rest);
  return Buffer.from(bytes);
}

/** The ids in `packed` that are `wanted`. */
export function unpackIds(packed: Uint8Array, wanted: ReadonlySet<MemberSetId>): MemberSetId[] {
  const ids: MemberSetId[] = [];
  let id = 0;
  let unit = 1;
  for (const byte of packed) {
    id += (byte & 127) * unit;
    unit *= 128;
    if (byte > 127) continue;
    if (wanted.has(id as MemberSetId)) ids.push(id as MemberSetId);
    id = 0;
    unit = 1;
  }
  return ids;
}
