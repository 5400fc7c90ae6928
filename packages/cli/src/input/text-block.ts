// From bytes to text that ends at the end of a line, or of a CSV record: so that every parser works on whole entries, at
// once and without a state of its own.

import { isAscii, isUtf8 } from "node:buffer";
import { RollcallError } from "@rollcall/core";

/** Some whole lines. The last block of a file may lack the line feed. */
export interface TextBlock {
  readonly text: string;
  /** The line number of its first line, from 1. */
  readonly firstLine: number;
  /** How many line feeds it holds. */
  readonly lineFeeds: number;
}

/** Where a block may end: `line`: at any line feed. `record`: at a line feed outside of double quotes (RFC 4180). */
export type BlockEnd = "line" | "record";

/** The longest line or record that is read: a bound on memory, far above any real one. */
const MAX_ENTRY_BYTES = 16 * 1024 * 1024;

const LINE_FEED = 0x0a;
const QUOTE = 0x22;

/** Cuts `chunks` into blocks; throws `invalid_request` with the line where they are not UTF-8. */
export async function* readTextBlocks(
  name: string,
  chunks: AsyncIterable<Buffer>,
  end: BlockEnd,
): AsyncGenerator<TextBlock> {
  let pending: Buffer[] = [];
  let pendingBytes = 0;
  let firstLine = 1;
  let first = true;
  let inQuotes = false;

  function decode(bytes: Buffer): TextBlock {
    const body = first ? withoutByteOrderMark(name, bytes) : bytes;
    first = false;
    const lineFeeds = countLineFeeds(body);
    const block = { text: decodeUtf8(name, body, firstLine), firstLine, lineFeeds };
    firstLine += lineFeeds;
    return block;
  }

  for await (const chunk of chunks) {
    let cut: number;
    if (end === "line") cut = chunk.lastIndexOf(LINE_FEED) + 1;
    else ({ cut, inQuotes } = lastRecordEnd(chunk, inQuotes));
    if (cut > 0) {
      pending.push(chunk.subarray(0, cut));
      yield decode(pending.length === 1 ? chunk.subarray(0, cut) : Buffer.concat(pending));
      pending = [];
      pendingBytes = 0;
    }
    if (cut < chunk.length) {
      pending.push(chunk.subarray(cut));
      pendingBytes += chunk.length - cut;
    }
    if (pendingBytes > MAX_ENTRY_BYTES) throw tooLong(name, firstLine, end);
  }
  if (pendingBytes > 0) yield decode(Buffer.concat(pending));
}

/** The index after the last line feed that is outside of quotes, and whether the chunk ends inside of them. */
function lastRecordEnd(chunk: Buffer, startsInQuotes: boolean): { cut: number; inQuotes: boolean } {
  if (!chunk.includes(QUOTE)) {
    return { cut: startsInQuotes ? 0 : chunk.lastIndexOf(LINE_FEED) + 1, inQuotes: startsInQuotes };
  }
  let inQuotes = startsInQuotes;
  let cut = 0;
  for (let index = 0; index < chunk.length; index++) {
    const byte = chunk[index];
    if (byte === QUOTE) inQuotes = !inQuotes;
    else if (byte === LINE_FEED && !inQuotes) cut = index + 1;
  }
  return { cut, inQuotes };
}

function countLineFeeds(bytes: Buffer): number {
  let count = 0;
  for (let at = bytes.indexOf(LINE_FEED); at !== -1; at = bytes.indexOf(LINE_FEED, at + 1)) count++;
  return count;
}

function decodeUtf8(name: string, bytes: Buffer, firstLine: number): string {
  if (isAscii(bytes)) return bytes.toString("latin1");
  if (isUtf8(bytes)) return bytes.toString("utf8");
  let line = firstLine;
  let start = 0;
  for (let at = bytes.indexOf(LINE_FEED); at !== -1 && isUtf8(bytes.subarray(start, at)); line++) {
    start = at + 1;
    at = bytes.indexOf(LINE_FEED, start);
  }
  throw new RollcallError("invalid_request", `${name} line ${line}: is not UTF-8; convert the file`);
}

function withoutByteOrderMark(name: string, bytes: Buffer): Buffer {
  if (bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) return bytes.subarray(3);
  if ((bytes[0] === 0xff && bytes[1] === 0xfe) || (bytes[0] === 0xfe && bytes[1] === 0xff)) {
    throw new RollcallError("invalid_request", `${name} line 1: is UTF-16; convert the file to UTF-8`);
  }
  return bytes;
}

function tooLong(name: string, line: number, end: BlockEnd): RollcallError {
  const what = end === "line" ? "the line is" : "the record is longer than 16 MB or a quote is never closed; it is";
  return new RollcallError("invalid_request", `${name} line ${line}: ${what} too long`);
}
