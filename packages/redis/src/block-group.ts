// Which blocks one script writes: those that one fence guards, and not so many that other clients wait long.

import { type Block, CONTEXT_HASH_BYTES, type ContextHashes, hashCount } from "@rollcall/core";
import type { Run } from "./record-key.js";

/** What one script does at most: well below a millisecond. */
const SCRIPT_MEMBERS = 512;
const SCRIPT_BLOCKS = 128;
/** Lengths and counts, and two numbers of a shard in digits. */
const MOST_HEAD_BYTES = 6 + 2 * 10;

/** Blocks for one script. */
export interface BlockGroup {
  readonly run: Run;
  /**
   * Each block: in a byte each, how long the next two are; in 2 bytes each, high byte first, how many adds and removes; the shard's place in
   * the run and its number in decimal digits, which cost Lua more to make of a number than to write a member; then the hashes.
   */
  readonly packed: Buffer;
}

interface OpenGroup {
  readonly run: Run;
  readonly blocks: Block[];
  members: number;
}

/** Cuts `blocks` into groups; a block too large for one script comes in pieces. */
export function groupBlocks(blocks: readonly Block[], runOf: (shard: number) => Run): BlockGroup[] {
  const groups: OpenGroup[] = [];
  const open = new Map<Run, OpenGroup>();
  for (const block of blocks) {
    const run = runOf(block.shard);
    for (const piece of piecesOf(block)) {
      const members = hashCount(piece.adds) + hashCount(piece.removes);
      let group = open.get(run);
      if (group === undefined || group.members + members > SCRIPT_MEMBERS || group.blocks.length === SCRIPT_BLOCKS) {
        group = { run, blocks: [], members: 0 };
        open.set(run, group);
        groups.push(group);
      }
      group.blocks.push(piece);
      group.members += members;
    }
  }
  return groups.map(({ run, blocks: group, members }) => ({ run, packed: pack(run, group, members) }));
}

function pack({ firstShard }: Run, blocks: readonly Block[], members: number): Buffer {
  const packed = Buffer.allocUnsafe(blocks.length * MOST_HEAD_BYTES + members * CONTEXT_HASH_BYTES);
  let at = 0;
  for (const { shard, adds, removes } of blocks) {
    const place = String(shard - firstShard);
    const number = String(shard);
    at = packed.writeUInt8(place.length, at);
    at = packed.writeUInt8(number.length, at);
    at = packed.writeUInt16BE(hashCount(adds), at);
    at = packed.writeUInt16BE(hashCount(removes), at);
    at += packed.write(place + number, at, "latin1");
    packed.set(adds, at);
    at += adds.length;
    packed.set(removes, at);
    at += removes.length;
  }
  return packed.subarray(0, at);
}

function* piecesOf({ shard, adds, removes }: Block): Generator<Block> {
  const step = (SCRIPT_MEMBERS / 2) * CONTEXT_HASH_BYTES;
  if (adds.length + removes.length <= 2 * step) {
    yield { shard, adds, removes };
    return;
  }
  for (let at = 0; at < adds.length || at < removes.length; at += step)
    yield { shard, adds: adds.subarray(at, at + step), removes: removes.subarray(at, at + step) };
}

/** The same bytes, as ioredis takes them. */
export function bufferOf(hashes: ContextHashes): Buffer {
  return Buffer.from(hashes.buffer, hashes.byteOffset, hashes.byteLength);
}
