// Where members are read from: a file or standard input, unpacked if the first bytes say gzip.

import { constants, createReadStream } from "node:fs";
import { access, stat } from "node:fs/promises";
import { addAbortSignal, type Readable } from "node:stream";
import { RollcallError } from "@rollcall/core";
import { stopIfInterrupted } from "../interruption.js";
import { isGzip, unpackGzip } from "./gzip.js";

/** One file, or standard input, to be read once. */
export interface ByteSource {
  /** As the user named it; `stdin` for standard input. */
  readonly name: string;
  /** Size as stored, packed or not; `undefined` for pipes. */
  readonly totalBytes: number | undefined;
  /** Bytes read so far, as stored. */
  bytesRead(): number;
  /** The contents, unpacked. */
  chunks(): AsyncIterable<Buffer>;
}

/** Options of {@link openByteSource}. */
export interface ByteSourceOptions {
  readonly stdin: Readable;
  readonly signal?: AbortSignal | undefined;
}

const CHUNK_BYTES = 64 * 1024;

/** Checks that `file` can be read, so that a wrong name is told before anything is written. `-` is standard input. */
export async function openByteSource(file: string, options: ByteSourceOptions): Promise<ByteSource> {
  const name = file === "-" ? "stdin" : file;
  const totalBytes = file === "-" ? undefined : await readableSize(file);
  let bytesRead = 0;

  async function* stored(): AsyncGenerator<Buffer> {
    const stream = file === "-" ? options.stdin : createReadStream(file, { highWaterMark: CHUNK_BYTES });
    if (options.signal !== undefined) addAbortSignal(options.signal, stream);
    try {
      for await (const chunk of stream) {
        const bytes = Buffer.isBuffer(chunk) ? chunk : Buffer.from(String(chunk));
        bytesRead += bytes.length;
        yield bytes;
      }
    } catch (cause) {
      stopIfInterrupted(options.signal);
      throw unreadable(name, cause);
    }
  }

  async function* chunks(): AsyncGenerator<Buffer> {
    const source = stored();
    try {
      const head = await readHead(source);
      if (file.toLowerCase().endsWith(".gz") && head.length < 2) {
        throw new RollcallError(
          "invalid_request",
          `${name}: is not a complete gzip file; it holds ${head.length} bytes`,
        );
      }
      refuseOtherPackings(name, head);
      const whole = withHead(head, source);
      yield* isGzip(head) ? unpackGzip(name, whole, options.signal) : whole;
    } finally {
      await source.return(undefined);
    }
  }

  return { name, totalBytes, bytesRead: () => bytesRead, chunks };
}

async function readableSize(file: string): Promise<number | undefined> {
  try {
    const stats = await stat(file);
    if (stats.isDirectory()) throw new RollcallError("invalid_request", `${file}: is a directory; name a file`);
    await access(file, constants.R_OK);
    return stats.isFile() ? stats.size : undefined;
  } catch (cause) {
    throw unreadable(file, cause);
  }
}

function unreadable(name: string, cause: unknown): RollcallError {
  if (cause instanceof RollcallError) return cause;
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : "";
  const reason =
    { ENOENT: "no such file", EACCES: "no permission to read it", EISDIR: "is a directory; name a file" }[code] ??
    `cannot be read${code === "" ? "" : ` (${code})`}`;
  return new RollcallError("invalid_request", `${name}: ${reason}`, { cause });
}

/** The first two bytes or more, fewer only if there are no more. */
async function readHead(source: AsyncGenerator<Buffer>): Promise<Buffer> {
  let head: Buffer = Buffer.alloc(0);
  while (head.length < 2) {
    const next = await source.next();
    if (next.done) break;
    head = head.length === 0 ? next.value : Buffer.concat([head, next.value]);
  }
  return head;
}

async function* withHead(head: Buffer, rest: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  if (head.length > 0) yield head;
  yield* rest;
}

// Magic numbers of what an export is likely to be packed in instead, so that the remedy can be named.
const OTHER_PACKINGS: readonly { name: string; magic: Buffer }[] = [
  { name: "a zip archive", magic: Buffer.from("504b0304", "hex") },
  { name: "packed with zstd", magic: Buffer.from("28b52ffd", "hex") },
  { name: "packed with xz", magic: Buffer.from("fd377a585a00", "hex") },
];

function refuseOtherPackings(name: string, head: Buffer): void {
  for (const packing of OTHER_PACKINGS) {
    if (!head.subarray(0, packing.magic.length).equals(packing.magic)) continue;
    throw new RollcallError("invalid_request", `${name}: is ${packing.name}; unpack it to text, or pack it with gzip`);
  }
}
