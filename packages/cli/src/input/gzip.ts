// Unpacks gzip (RFC 1952), and tells an incomplete or damaged file instead of reading what is left of it.

import { pipeline, Readable } from "node:stream";
import { createGunzip } from "node:zlib";
import { RollcallError } from "@rollcall/core";
import { stopIfInterrupted } from "../interruption.js";

const CHUNK_BYTES = 64 * 1024;

/** Whether the contents that start with `head` are gzip. */
export function isGzip(head: Buffer): boolean {
  return head[0] === 0x1f && head[1] === 0x8b;
}

/** The contents of all gzip members in `packed`, one after another. */
export async function* unpackGzip(
  name: string,
  packed: AsyncIterable<Buffer>,
  signal: AbortSignal | undefined,
): AsyncGenerator<Buffer> {
  const tail = { bytes: 0, meaningful: 0 };
  const gunzip = createGunzip({ chunkSize: CHUNK_BYTES });
  // The error of either stream comes out of the loop below.
  pipeline(Readable.from(watchTail(packed, tail), { objectMode: false }), gunzip, () => undefined);
  try {
    for await (const chunk of gunzip) yield chunk as Buffer;
  } catch (cause) {
    stopIfInterrupted(signal);
    throw cause instanceof RollcallError ? cause : gzipError(name, cause);
  }
  // Zeros may follow the last gzip member as padding. Node ignores whatever follows a zero, and with it a damaged member.
  if (tail.meaningful > gunzip.bytesWritten) {
    throw new RollcallError("invalid_request", `${name}: is damaged; something that is not gzip follows the gzip data`);
  }
}

/** Passes chunks on and keeps where the last byte that is not zero ends. */
async function* watchTail(
  chunks: AsyncIterable<Buffer>,
  tail: { bytes: number; meaningful: number },
): AsyncGenerator<Buffer> {
  for await (const chunk of chunks) {
    let end = chunk.length;
    while (end > 0 && chunk[end - 1] === 0) end--;
    if (end > 0) tail.meaningful = tail.bytes + end;
    tail.bytes += chunk.length;
    yield chunk;
  }
}

function gzipError(name: string, cause: unknown): RollcallError {
  const code = cause instanceof Error && "code" in cause ? cause.code : undefined;
  const what = code === "Z_BUF_ERROR" ? "ends in the middle of the gzip data; it was cut off" : "is damaged gzip data";
  return new RollcallError("invalid_request", `${name}: ${what}`, { cause });
}
