// What a workload costs on DynamoDB, by formula: from contexts, segments, density, changes and lookups to write units, read units and
// storage, beside the layout with one item for each context. The rules of charging are those in item-key.ts; a test holds the
// figures against what DynamoDB Local counts.

import {
  type Consumption,
  type CostEstimate,
  type CostWorkload,
  encodeSegment,
  type MonthlyCosts,
  type PlannedSync,
  type UnitPrices,
} from "@rollcall/core";
import { BLOCK_BYTES, chooseShardBits, memberBytes, WRITE_UNIT_BYTES } from "./item-key.js";

/** What happens once. */
interface UnitCosts {
  /** A snapshot of one segment that replaces another: writing it, comparing it with the old one, and dropping that. */
  readonly replace: { readonly writeUnits: number; readonly readUnits: number; readonly dropWriteUnits: number };
  /** A merge: what its members cost, and what its records do. */
  readonly merge: { readonly memberWriteUnits: number; readonly writeUnits: number; readonly readUnits: number };
  /** A lookup of one context in all segments. */
  readonly lookup: { readonly readUnits: number };
  /** Bytes of all segments as AWS bills them, with 100 for each item. */
  readonly storageBytes: number;
}

/** Bytes that are charged as one unit of a read. */
const READ_UNIT_BYTES = 4_096;
/** What AWS adds to each item where it bills storage. */
const INDEX_BYTES = 100;
/** Blocks that core writes in one window, each of which reads the set's record once. */
const BLOCKS_PER_WINDOW = 256;
/** Bytes of the record of a segment that is synced often, without sync ids; that of a new one has less than 1 KB. */
const RECORD_BYTES = 1_600;
/** Reads of records in a sync. */
const RECORD_READS = 2;
/** Members that core compares with the present ones in one lookup. */
const MEMBERS_PER_LOOKUP = 1_024;

/** See {@link CostWorkload}. */
export function unitCosts(workload: CostWorkload, recordBytes: number = RECORD_BYTES): UnitCosts {
  const { contexts, segments, density, changesPerMerge = 1, reads = "strong" } = workload;
  const members = contexts * density;
  const blocks = blocksOf({ members, shardBits: chooseShardBits({ members, contexts }) });
  const snapshot = snapshotUnits(blocks, recordBytes);
  const merge = mergeUnits(blocks, [changesPerMerge], recordBytes);
  const perShard = segments * blocks.mean((count) => (count === 0 ? 0 : blocks.bytes(count)));
  const unit = reads === "strong" ? 1 : 0.5;
  return {
    replace: { ...snapshot, dropWriteUnits: dropUnits(blocks) },
    merge,
    lookup: { readUnits: unit * Math.max(1, Math.ceil(perShard / READ_UNIT_BYTES)) },
    storageBytes: segments * (blocks.filled * (BLOCK_BYTES + INDEX_BYTES) + members * blocks.memberBytes),
  };
}

/** See `SegmentStore.estimateSync`. */
export function estimateSync({ segment, lists }: PlannedSync): Consumption {
  const recordBytes = encodeSegment(segment).length;
  let [readUnits, writeUnits] = [0, 0];
  for (const { changes, replaced, ...set } of lists) {
    const blocks = blocksOf(set);
    const units =
      changes === undefined
        ? snapshotUnits(blocks, recordBytes)
        : mergeUnits(blocks, [changes.adds, changes.removes], recordBytes);
    readUnits += units.readUnits;
    writeUnits += units.writeUnits + (replaced === undefined ? 0 : dropUnits(blocksOf(replaced)));
  }
  return { readUnits: Math.round(readUnits), writeUnits: Math.round(writeUnits) };
}

/** What is known of the blocks of a set by how many members and shards it has. */
function blocksOf({ members, shardBits }: { readonly members: number; readonly shardBits: number }) {
  const shards = 2 ** shardBits;
  const perMember = memberBytes(shardBits);
  const bytes = (count: number) => BLOCK_BYTES + count * perMember;
  return {
    members,
    shards,
    memberBytes: perMember,
    /** Blocks that are not empty. */
    filled: shards * (1 - Math.exp(-members / shards)),
    /** Of a block with so many members. */
    bytes,
    writeUnits: (count: number) => Math.ceil(bytes(count) / WRITE_UNIT_BYTES),
    /** The mean of `value` over the numbers of members that blocks have. */
    mean: (value: (count: number) => number) => expected(members / shards, value),
  };
}

type Blocks = ReturnType<typeof blocksOf>;

function snapshotUnits(blocks: Blocks, recordBytes: number) {
  const windows = Math.ceil(blocks.filled / BLOCKS_PER_WINDOW);
  return {
    writeUnits: allUnits(blocks) + windows * 2 + 3 * putUnits(recordBytes) + 6,
    readUnits: blocks.filled + blocks.members / MEMBERS_PER_LOOKUP + windows * 2 + RECORD_READS,
  };
}

/** Writing each block once. */
function allUnits({ shards, mean, writeUnits }: Blocks): number {
  return shards * mean((count) => (count === 0 ? 0 : writeUnits(count)));
}

/** A shard without a block costs a deletion all the same. */
function dropUnits(blocks: Blocks): number {
  return allUnits(blocks) + (blocks.shards - blocks.filled) + 2;
}

/** What is added to a block and what is removed from it are a write each. */
function mergeUnits(blocks: Blocks, changes: readonly number[], recordBytes: number) {
  const { shards, mean, writeUnits } = blocks;
  // Blocks that random changes meet, where they find one member more than a random block has.
  const touched = (count: number) => shards * (1 - Math.exp(-count / shards));
  const written = changes.reduce((sum, count) => sum + touched(count), 0);
  const all = changes.reduce((sum, count) => sum + count, 0);
  const memberWriteUnits = written * mean((count) => writeUnits(count + 1));
  return {
    memberWriteUnits,
    writeUnits: memberWriteUnits + 2 * putUnits(recordBytes) + 3,
    readUnits: Math.ceil(touched(all) / BLOCKS_PER_WINDOW) * 2 + RECORD_READS,
  };
}

/** A transaction over a record and an epoch, at two units for each KB of each. */
function putUnits(recordBytes: number): number {
  return 2 * Math.ceil(recordBytes / WRITE_UNIT_BYTES) + 2;
}

/**
 * The mean of `value` over a Poisson distribution (Knuth, The Art of Computer Programming 2, 3.4.1), from its mode to both sides: at zero the
 * probability of a large mean is less than any number.
 */
function expected(mean: number, value: (count: number) => number): number {
  const mode = Math.floor(mean);
  const reach = Math.ceil(12 * Math.sqrt(mean) + 20);
  let [sum, weights] = [0, 0];
  for (let count = mode, weight = 1; count <= mode + reach; count++, weight *= mean / count) {
    sum += weight * value(count);
    weights += weight;
  }
  for (let count = mode - 1, weight = 1; count >= Math.max(0, mode - reach); count--) {
    weight *= (count + 1) / mean;
    sum += weight * value(count);
    weights += weight;
  }
  return sum / weights;
}

/** A month of a workload: ours, and with one item for each context that is changed in transactions. */
export function monthlyCosts(workload: CostWorkload, prices?: UnitPrices): CostEstimate {
  const { segments, changes = 0, changesPerMerge = 1, replaces = 0, lookups = 0 } = workload;
  const once = unitCosts(workload);
  const merges = (segments * changes) / changesPerMerge;
  const snapshots = segments * replaces;
  const own = {
    writeUnits: snapshots * (once.replace.writeUnits + once.replace.dropWriteUnits) + merges * once.merge.writeUnits,
    readUnits: snapshots * once.replace.readUnits + merges * once.merge.readUnits + lookups * once.lookup.readUnits,
    storageBytes: once.storageBytes,
  };
  const peer = peerCosts(workload);
  return { own: withDollars(own, prices), peer: withDollars(peer, prices) };
}

/** Bytes of a context's item beside its segments, and of the name of one; a lookup reads one item. */
const PEER_ITEM = 110;
const PEER_NAME = 20;
const PEER_UPDATES = 24;

function peerCosts(workload: CostWorkload): Omit<MonthlyCosts, "dollars"> {
  const { contexts, segments, density, changes = 0, replaces = 0, lookups = 0, reads = "strong" } = workload;
  const bytes = PEER_ITEM + segments * density * PEER_NAME;
  // A transaction is charged twice; its condition check is one more item (AWS, "Amazon DynamoDB Transactions: capacity management").
  const update = 2 * Math.ceil(bytes / WRITE_UNIT_BYTES) + 2 / PEER_UPDATES;
  const changed = segments * (changes + replaces * contexts * density);
  return {
    writeUnits: changed * update,
    readUnits: lookups * Math.ceil(bytes / READ_UNIT_BYTES) * (reads === "strong" ? 1 : 0.5),
    storageBytes: contexts * (bytes + INDEX_BYTES),
  };
}

function withDollars(costs: Omit<MonthlyCosts, "dollars">, prices: UnitPrices | undefined): MonthlyCosts {
  if (prices === undefined) return costs;
  const dollars =
    (costs.writeUnits * prices.writeUnits + costs.readUnits * prices.readUnits) / 1e6 +
    (costs.storageBytes / 2 ** 30) * prices.storage;
  return { ...costs, dollars };
}
