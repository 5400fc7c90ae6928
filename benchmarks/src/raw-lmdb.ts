// The other side of the LMDB benchmarks: the lmdb package alone, by its asynchronous put, as durable as the adapter.

import { type Database, open } from "lmdb";

/** A database of 16-byte keys in `folder`. */
export function openRawLmdb(folder: string): Database<Buffer, Buffer> {
  return open<Buffer, Buffer>({ path: folder, encoding: "binary", keyEncoding: "binary" });
}

const VALUE = Buffer.from([1, 0, 0, 0]);
// More at once are not faster, and their promises would take gigabytes.
const IN_FLIGHT = 250_000;

/** Puts every hash, in their order, and resolves when all are on the disk. */
export async function putSorted(database: Database<Buffer, Buffer>, hashes: Uint8Array): Promise<void> {
  const keys = Buffer.from(hashes.buffer, hashes.byteOffset, hashes.byteLength);
  let last: Promise<boolean> | undefined;
  let before: Promise<boolean> | undefined;
  for (let at = 0, n = 1; at < keys.length; at += 16, n++) {
    last = database.put(keys.subarray(at, at + 16), VALUE);
    if (n % IN_FLIGHT === 0) {
      // One window is written while the next one is put.
      await before;
      before = last;
    }
  }
  await last;
  await database.flushed;
}
