// Unsigned LEB128 numbers of up to 32 bits, seven bits a byte, low bits first: how a shard record counts and names sets.

/** The most bytes that one number takes. */
export const MAX_VARINT_BYTES = 5;

/** Writes `value` (0 to 2^32 - 1) into `target` at `at`; answers the position after it. */
export function writeVarint(target: Uint8Array, at: number, value: number): number {
  let rest = value;
  let position = at;
  while (rest > 0x7f) {
    target[position++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  target[position++] = rest;
  return position;
}

/** Reads the number at `at`. A number that runs over the end of `source` reads as if zeros followed. */
export function readVarint(source: Uint8Array, at: number): number {
  let byte = source[at] ?? 0;
  if (byte < 0x80) return byte;
  let value = byte & 0x7f;
  let position = at + 1;
  for (let shift = 7; byte >= 0x80 && shift < 35; shift += 7) {
    byte = source[position++] ?? 0;
    value |= (byte & 0x7f) << shift;
  }
  return value >>> 0;
}

/** How many bytes {@link writeVarint} takes for `value`. */
export function varintBytes(value: number): number {
  if (value < 0x80) return 1;
  if (value < 0x4000) return 2;
  if (value < 0x20_0000) return 3;
  return value < 0x1000_0000 ? 4 : 5;
}
