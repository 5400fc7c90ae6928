// Which blocks one script writes: those that one fence guards, and not so many that other clients wait long.

import { type Block, CONTEXT_HASH_BYTES, type ContextHashes, hashCount } from "@rollcall/core";
import type { Run } from "./record-key.js";

/** What one script does at most: about a millisecond. */
const SCRIPT_MEMBERS = 512;
const SCRIPT_BLOCKS = 256;
/** And the first of a write, so that the server begins sooner where blocks are small: a few members in each take longest to pack. */
const FIRST_SCRIPT_BLOCKS = 64;
/** Length, place and counts, and the name of a shard: a prefix and an environment of 64 characters each, and some 20 more. */
const MOST_HEAD_BYTES = 8 + 160;
/** Of adds and of removes each, when a block is too large for one script. */
const PIECE_BYTES = (SCRIPT_MEMBERS / 2) * CONTEXT_HASH_BYTES;
/** Four windows may be under way for each segment; more than a few at once are rare. */
const MOST_SPARE_ROOMS = 8;
/** More than a full window takes; only a single block of uncommon size needs more. */
const MOST_SPARE_BYTES = 524_288;

/** Blocks for one script. */
export interface BlockGroup {
  readonly run: Run;
  /**
   * Each block: in a byte, how long the shard's name is; in 3 bytes, high byte first, the shard's place in the run; in 2 bytes each, how
   * many adds and removes; the shard's name, which would cost Lua more to put together than to write a member; then the hashes.
   */
  readonly packed: Buffer;
}

interface OpenGroup {
  readonly run: Run;
  readonly blocks: Block[];
  members: number;
}

/** Memory in which the blocks of one write are packed, see {@link groupBlocks}. */
export interface PackingRooms {
  /** Room for all of `blocks`. */
  take(blocks: readonly Block[]): Buffer;
  /** Lets a later write have it. Only once nothing of it can still be sent. */
  giveBack(room: Buffer): void;
}

/** Makes rooms that are used again: garbage of their size is collected late, and counts as memory in use until then. */
export function createPackingRooms(): PackingRooms {
  const spare: Buffer[] = [];
  return {
    take(blocks) {
      const bytes = mostPackedBytes(blocks);
      const room = spare.pop();
      if (room !== undefined && room.length >= bytes) return room;
      // The next power of two, for the next window may be a little larger.
      return Buffer.allocUnsafe(2 ** Math.ceil(Math.log2(bytes)));
    },
    giveBack(room) {
      if (spare.length < MOST_SPARE_ROOMS && room.length <= MOST_SPARE_BYTES) spare.push(room);
    },
  };
}

function mostPackedBytes(blocks: readonly Block[]): number {
  const bytes = blocks.reduce((sum, { adds, removes }) => sum + adds.length + removes.length, 0);
  const mostPieces = blocks.length + bytes / PIECE_BYTES;
  return bytes + mostPieces * MOST_HEAD_BYTES;
}

/**
 * Cuts `blocks`, which come in the order of their shards, into groups, each made when it is asked for: the server works on one while the next is
 * made. A block too large for one script comes in pieces.
 */
export function* groupBlocks(
  blocks: readonly Block[],
  runOf: (shard: number) => Run,
  room: Buffer,
): Generator<BlockGroup> {
  let free = room;
  let mostBlocks = FIRST_SCRIPT_BLOCKS;
  let group: OpenGroup | undefined;
  function close({ run, blocks: own }: OpenGroup): BlockGroup {
    const packed = pack(run, own, free);
    free = free.subarray(packed.length);
    return { run, packed };
  }
  for (const block of blocks) {
    const run = runOf(block.shard);
    for (const piece of piecesOf(block)) {
      const members = hashCount(piece.adds) + hashCount(piece.removes);
      if (
        group !== undefined &&
        (group.run !== run || group.members + members > SCRIPT_MEMBERS || group.blocks.length >= mostBlocks)
      ) {
        yield close(group);
        mostBlocks = SCRIPT_BLOCKS;
        group = undefined;
      }
      group ??= { run, blocks: [], members: 0 };
      group.blocks.push(piece);
      group.members += members;
    }
  }
  if (group !== undefined) yield close(group);
}

// Hot: byte by byte, for most blocks of a small delta hold one member, and each call into Node would cost more than that.
function pack(run: Run, blocks: readonly Block[], packed: Buffer): Buffer {
  const base = Buffer.from(run.base, "latin1");
  let at = 0;
  for (const { shard, adds, removes } of blocks) {
    const number = String(shard);
    const place = shard - run.firstShard;
    packed[at++] = base.length + number.length;
    packed[at++] = place >>> 16;
    packed[at++] = place >>> 8;
    packed[at++] = place;
    for (const hashes of [adds, removes]) {
      packed[at++] = hashCount(hashes) >>> 8;
      packed[at++] = hashCount(hashes);
    }
    for (let i = 0; i < base.length; i++) packed[at++] = base[i] as number;
    for (let i = 0; i < number.length; i++) packed[at++] = number.charCodeAt(i);
    at = put(packed, adds, at);
    at = put(packed, removes, at);
  }
  // What is written beyond its end is not there, and nobody says so.
  if (at > packed.length) throw new RangeError("blocks were added while they were packed");
  return packed.subarray(0, at);
}

function put(packed: Buffer, hashes: ContextHashes, at: number): number {
  if (hashes.length > CONTEXT_HASH_BYTES) packed.set(hashes, at);
  else for (let i = 0; i < hashes.length; i++) packed[at + i] = hashes[i] as number;
  return at + hashes.length;
}

function piecesOf(block: Block): readonly Block[] {
  const { shard, adds, removes } = block;
  if (adds.length + removes.length <= 2 * PIECE_BYTES) return [block];
  const longer = Math.max(adds.length, removes.length);
  return Array.from({ length: Math.ceil(longer / PIECE_BYTES) }, (_, piece) => {
    const [from, to] = [piece * PIECE_BYTES, (piece + 1) * PIECE_BYTES];
    return { shard, adds: adds.subarray(from, to), removes: removes.subarray(from, to) };
  });
}

/** The same bytes, as ioredis takes them. */
export function bufferOf(hashes: ContextHashes): Buffer {
  return Buffer.from(hashes.buffer, hashes.byteOffset, hashes.byteLength);
}
