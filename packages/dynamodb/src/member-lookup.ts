// Which items a lookup reads: one Query for each shard and size, or single items where few sets are asked about.

import {
  CONTEXT_HASH_BYTES,
  type ContextHashes,
  hashCount,
  idsByShardBits,
  type MemberSet,
  type MemberSetId,
  shardOf,
} from "@rollcall/core";
import { shortened } from "./item-key.js";

/** Up to so many sets are read one by one, each for one unit at least, unless a Query is sure to be cheaper. */
const FEW_SETS = 3;
/** Blocks that a Query is taken to read for one unit. */
const BLOCKS_PER_UNIT = 13;
/** Members up to which a Query answers only the blocks that have one of them. */
const MOST_FILTERED = 16;

/** The sets of one size that a lookup asks about. */
interface AskedSize {
  readonly shardBits: number;
  readonly ids: ReadonlySet<MemberSetId>;
  readonly first: MemberSetId;
  readonly last: MemberSetId;
  readonly byQuery: boolean;
}

/** What is asked of one shard. */
export interface ShardQuestion extends AskedSize {
  readonly shard: number;
  /** Where the hashes stand among those asked, and what a block has of each. */
  readonly hashes: readonly { readonly place: number; readonly member: Uint8Array }[];
}

/** The questions of a lookup. */
export function shardQuestions(hashes: ContextHashes, among: readonly MemberSet[]): ShardQuestion[] {
  return askedSizes(among).flatMap((size) => {
    const questions = new Map<number, { place: number; member: Uint8Array }[]>();
    const members = shortened(hashes, size.shardBits);
    for (let place = 0; place < hashCount(hashes); place++) {
      const shard = shardOf(hashes, place, size.shardBits);
      const inShard = questions.get(shard) ?? [];
      questions.set(shard, inShard);
      inShard.push({ place, member: members[place] ?? new Uint8Array(CONTEXT_HASH_BYTES) });
    }
    return Array.from(questions, ([shard, inShard]) => ({ ...size, shard, hashes: inShard }));
  });
}

/** By the array: a reader passes the same one until the registry changes. */
const known = new WeakMap<readonly MemberSet[], readonly AskedSize[]>();

function askedSizes(among: readonly MemberSet[]): readonly AskedSize[] {
  const present = known.get(among);
  if (present !== undefined) return present;
  const sizes = Array.from(idsByShardBits(among), ([shardBits, ids]) => {
    const [first, last] = [Math.min(...ids), Math.max(...ids)] as [MemberSetId, MemberSetId];
    const atMost = Math.ceil((last - first + 1) / BLOCKS_PER_UNIT);
    return { shardBits, ids, first, last, byQuery: ids.size > FEW_SETS || atMost < ids.size };
  });
  known.set(among, sizes);
  return sizes;
}

/** The filter of the Query of a question, where it helps. */
export function filterOf({ hashes }: ShardQuestion) {
  if (hashes.length > MOST_FILTERED) return undefined;
  return {
    FilterExpression: hashes.map((_, index) => `contains(m, :h${index})`).join(" OR "),
    values: Object.fromEntries(hashes.map(({ member }, index) => [`:h${index}`, member])),
  };
}
