// What a workload costs on DynamoDB, by formula: from contexts, segments, density, changes and lookups to write units, read units and
// storage, beside the layout with one item for each context. The rules of charging are those in item-key.ts; a test holds the
// figures against what DynamoDB Local counts.

import type { CostEstimate, CostWorkload, MonthlyCosts, UnitPrices } from "@rollcall/core";
import { BLOCK_BYTES, chooseShardBits, memberBytes } from "./item-key.js";

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

/** Bytes that are charged as one unit. */
const WRITE_UNIT = 1_024;
const READ_UNIT = 4_096;
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
  const shardBits = chooseShardBits({ members, contexts });
  const shards = 2 ** shardBits;
  const mean = members / shards;
  const bytesOf = (count: number) => BLOCK_BYTES + count * memberBytes(shardBits);
  const writeUnitsOf = (count: number) => Math.ceil(bytesOf(count) / WRITE_UNIT);
  const filled = shards * (1 - Math.exp(-mean));
  const written = shards * expected(mean, (count) => (count === 0 ? 0 : writeUnitsOf(count)));
  const windows = Math.ceil(filled / BLOCKS_PER_WINDOW);
  // Blocks that a random change meets; it finds one member more there than a random block has.
  const touched = shards * (1 - Math.exp(-changesPerMerge / shards));
  const changed = touched * expected(mean, (count) => writeUnitsOf(count + 1));
  const perShard = segments * expected(mean, (count) => (count === 0 ? 0 : bytesOf(count)));
  // A transaction over a record and an epoch, at two units for each KB of each.
  const put = 2 * Math.ceil(recordBytes / WRITE_UNIT) + 2;
  const unit = reads === "strong" ? 1 : 0.5;
  return {
    replace: {
      writeUnits: written + windows * 2 + 3 * put + 6,
      readUnits: filled + members / MEMBERS_PER_LOOKUP + windows * 2 + RECORD_READS,
      // A shard without a block costs a deletion all the same.
      dropWriteUnits: written + (shards - filled) + 2,
    },
    merge: {
      memberWriteUnits: changed,
      writeUnits: changed + 2 * put + 3,
      readUnits: Math.ceil(touched / BLOCKS_PER_WINDOW) * 2 + RECORD_READS,
    },
    lookup: { readUnits: unit * Math.max(1, Math.ceil(perShard / READ_UNIT)) },
    storageBytes: segments * (filled * (BLOCK_BYTES + INDEX_BYTES) + members * memberBytes(shardBits)),
  };
}

/** The mean of `value` over a Poisson distribution (Knuth, The Art of Computer Programming 2, 3.4.1). */
function expected(mean: number, value: (count: number) => number): number {
  let probability = Math.exp(-mean);
  let sum = 0;
  const most = Math.ceil(mean + 12 * Math.sqrt(mean) + 20);
  for (let count = 0; count <= most; count++) {
    sum += probability * value(count);
    probability *= mean / (count + 1);
  }
  return sum;
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
  const update = 2 * Math.ceil(bytes / WRITE_UNIT) + 2 / PEER_UPDATES;
  const changed = segments * (changes + replaces * contexts * density);
  return {
    writeUnits: changed * update,
    readUnits: lookups * Math.ceil(bytes / READ_UNIT) * (reads === "strong" ? 1 : 0.5),
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
