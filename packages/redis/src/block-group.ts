// Which blocks one script writes: those that one fence guards, and not so many that other clients wait long.

import { type Block, CONTEXT_HASH_BYTES, type ContextHashes, hashCount } from "@rollcall/core";
import type { Run, ShardKeys } from "./record-key.js";

/** What one script does at most: well below a millisecond. */
const SCRIPT_MEMBERS = 512;
const SCRIPT_BLOCKS = 64;

/** Blocks for one script. */
export interface BlockGroup {
  readonly run: Run;
  readonly members: number;
  readonly blocks: (Block & { readonly at: ShardKeys })[];
}

/** Cuts `blocks` into groups; a block too large for one script comes in pieces. */
export function groupBlocks(blocks: readonly Block[], keysOf: (shard: number) => ShardKeys): BlockGroup[] {
  const groups: BlockGroup[] = [];
  const open = new Map<Run, { -readonly [Field in keyof BlockGroup]: BlockGroup[Field] }>();
  for (const block of blocks) {
    const at = keysOf(block.shard);
    for (const piece of piecesOf(block)) {
      const members = hashCount(piece.adds) + hashCount(piece.removes);
      let group = open.get(at.run);
      if (group === undefined || group.members + members > SCRIPT_MEMBERS || group.blocks.length === SCRIPT_BLOCKS) {
        group = { run: at.run, members: 0, blocks: [] };
        open.set(at.run, group);
        groups.push(group);
      }
      group.blocks.push({ ...piece, at });
      group.members += members;
    }
  }
  return groups;
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
