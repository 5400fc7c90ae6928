// The store in memory: for tests, for trying Rollcall out, and the plainest example of the port. By set: one sorted block
// for each (member set, shard). Nothing outlives the process.

import {
  CONTEXT_HASH_BYTES,
  type ContextHashes,
  compareHashes,
  findHash,
  hashAt,
  hashCount,
  shardBitsFor,
  shardOf,
} from "./context-hashes.js";
import { handleNotOpen, otherTimeline, RollcallError, revisionConflict } from "./errors.js";
import { isNewerFence, requireOwnFence } from "./fence.js";
import { type EnvironmentName, environmentNameSchema, parseName, type SegmentKey } from "./names.js";
import { decodeReport, HISTORY_LIMIT } from "./report.js";
import {
  decodeEnvironment,
  decodeSegment,
  encodeEnvironment,
  encodeSegment,
  type MemberSet,
  type MemberSetId,
  memberSetSchema,
  newEnvironment,
  type Revision,
} from "./segment.js";
import {
  type Block,
  type Fence,
  type MemberChanges,
  type SegmentStore,
  STORE_PORT_VERSION,
  type StoreCapabilities,
  type StoreFactory,
  type Timeline,
} from "./store.js";

/** Members per block; small, so that ordinary audiences meet several blocks and growth. */
const BLOCK_TARGET = 64;

interface StoredSet {
  readonly shardBits: number;
  fence: Fence;
  /** With fencing by block: who wrote each block last. A block keeps its fence when its last member goes. */
  readonly blockFences: Map<number, Fence>;
  readonly blocks: Map<number, ContextHashes>;
}

interface StoredEnvironment {
  record: string;
  revision: Revision;
  epoch: number;
  lastSetId: number;
  readonly segments: Map<SegmentKey, { readonly text: string; readonly revision: Revision }>;
  readonly history: Map<SegmentKey, string[]>;
  readonly sets: Map<MemberSetId, StoredSet>;
  /** Called when the epoch has moved. */
  readonly watchers: Set<() => void>;
}

/** What several handles share. Opaque. */
export interface MemoryDatabase {
  /** @internal */
  readonly environments: Map<EnvironmentName, StoredEnvironment>;
}

/** Options of {@link createMemoryStore}. */
export interface MemoryStoreOptions {
  /** The environment to bind to. Default `default`. */
  readonly environment?: string | undefined;
  /** The data; handles that are given the same database see the same data. Default: a new, empty one. */
  readonly database?: MemoryDatabase | undefined;
  /** See {@link StoreCapabilities.fencing}; all handles on one environment must agree. Default `set`. */
  readonly fencing?: "set" | "block" | undefined;
  /** What the handle names as the timeline that it writes in, for tests. Default: none, for nothing is lost while the process runs. */
  readonly timeline?: string | undefined;
}

/** Makes an empty database for {@link createMemoryStore}. */
export function createMemoryDatabase(): MemoryDatabase {
  return { environments: new Map() };
}

/** A store in memory. Each handle is opened and closed on its own; the data lives as long as its {@link MemoryDatabase}. */
export function createMemoryStore(options: MemoryStoreOptions = {}): SegmentStore {
  const name = parseName(environmentNameSchema, options.environment ?? "default", "the environment");
  const database = options.database ?? createMemoryDatabase();
  const capabilities: StoreCapabilities = {
    portVersion: STORE_PORT_VERSION,
    fencing: options.fencing ?? "set",
    window: { maxMembers: 16_384, maxBlocks: 1_024, concurrency: 4 },
    maxLookup: 4_096,
  };
  const present = options.timeline as Timeline | undefined;
  const watching = new Set<() => void>();
  let opened: StoredEnvironment | undefined;
  let closed = false;

  // Every method calls this first and then runs to its end without an await: that is what makes each one atomic.
  function data(): StoredEnvironment {
    if (opened === undefined || closed) throw handleNotOpen(name, closed ? "closed" : "not opened");
    return opened;
  }

  return {
    environment: name,
    capabilities,

    async open() {
      if (closed) throw handleNotOpen(name, "closed");
      const stored = database.environments.get(name) ?? createEnvironment();
      database.environments.set(name, stored);
      opened = stored;
    },
    async close() {
      closed = true;
      opened = undefined;
      for (const end of watching) end();
    },

    async getEnvironment() {
      return decodeEnvironment(data().record);
    },
    async putEnvironment(next, expectedRevision) {
      const stored = data();
      if (stored.revision !== expectedRevision) throw revisionConflict("the environment record");
      stored.record = encodeEnvironment(next);
      stored.revision = next.revision;
    },
    async getSegment(key) {
      const record = data().segments.get(key);
      return record === undefined ? undefined : decodeSegment(record.text);
    },
    async listSegments() {
      return Array.from(data().segments.values(), (record) => decodeSegment(record.text));
    },
    async putSegment(next, expectedRevision, { changesAnswers = true, timeline = present, reports = [] } = {}) {
      const stored = data();
      if (timeline !== present) throw otherTimeline(`segment ${next.key}`);
      if (stored.segments.get(next.key)?.revision !== expectedRevision) throw revisionConflict(`segment ${next.key}`);
      stored.segments.set(next.key, { text: encodeSegment(next), revision: next.revision });
      const added = reports.map((report) => JSON.stringify(report)).reverse();
      stored.history.set(next.key, [...added, ...(stored.history.get(next.key) ?? [])].slice(0, HISTORY_LIMIT));
      stored.epoch++;
      if (changesAnswers) for (const tell of stored.watchers) tell();
      return present;
    },
    async getEpoch() {
      return String(data().epoch);
    },
    async watchEpoch(onMoved, signal) {
      const { watchers } = data();
      if (signal.aborted) return;
      const tell = () => onMoved();
      watchers.add(tell);
      onMoved();
      await new Promise<void>((resolve) => {
        const end = () => {
          watchers.delete(tell);
          watching.delete(end);
          signal.removeEventListener("abort", end);
          resolve();
        };
        watching.add(end);
        signal.addEventListener("abort", end);
      });
    },
    async getHistory(key) {
      const reports = data().history.get(key) ?? [];
      return reports.map(decodeReport);
    },

    async allocateMemberSet(shardBits, fence) {
      const stored = data();
      const set = memberSetSchema.parse({ id: ++stored.lastSetId, shardBits });
      stored.sets.set(set.id, { shardBits, fence: { ...fence }, blockFences: new Map(), blocks: new Map() });
      return set;
    },
    chooseShardBits: ({ members }) => shardBitsFor(members, BLOCK_TARGET),
    async raiseFence(set, fence) {
      const target = requireSet(data(), set, fence);
      if (isNewerFence(set, target.fence, fence)) target.fence = { ...fence };
    },
    async writeBlocks(set, blocks, fence) {
      const target = requireSet(data(), set, fence);
      if (capabilities.fencing === "set" && isNewerFence(set, target.fence, fence)) target.fence = { ...fence };
      let added = 0;
      let removed = 0;
      for (const block of blocks) {
        if (capabilities.fencing === "block") {
          const present = target.blockFences.get(block.shard);
          if (present !== undefined) isNewerFence(set, present, fence);
          target.blockFences.set(block.shard, { ...fence });
        }
        const changes = applyBlock(target.blocks, block);
        added += changes.added;
        removed += changes.removed;
      }
      return { added, removed };
    },
    async findMemberSets(hashes, among) {
      const { sets } = data();
      return Array.from({ length: hashCount(hashes) }, (_, index) => {
        const hash = hashAt(hashes, index);
        const holds = (set: MemberSet) => {
          const block = sets.get(set.id)?.blocks.get(shardOf(hashes, index, set.shardBits));
          return block !== undefined && findHash(block, hash) >= 0;
        };
        return among.filter(holds).map((set) => set.id);
      });
    },
    async *scanMembers(set) {
      const shards = [...(data().sets.get(set.id)?.blocks.keys() ?? [])];
      for (const shard of shards) {
        const block = data().sets.get(set.id)?.blocks.get(shard);
        if (block !== undefined) yield block.slice();
      }
    },
    async dropMemberSets(sets) {
      const stored = data();
      for (const set of sets) stored.sets.delete(set.id);
    },
    async listMemberSets() {
      return Array.from(data().sets, ([id, { shardBits, fence }]) => ({ id, shardBits, fence: { ...fence } }));
    },
  };
}

function createEnvironment(): StoredEnvironment {
  const environment = newEnvironment();
  const { revision } = environment;
  const record = encodeEnvironment(environment);
  return {
    record,
    revision,
    epoch: 0,
    lastSetId: 0,
    segments: new Map(),
    history: new Map(),
    sets: new Map(),
    watchers: new Set(),
  };
}

function requireSet(stored: StoredEnvironment, set: MemberSet, fence: Fence): StoredSet {
  const target = stored.sets.get(set.id);
  requireOwnFence(set, target?.fence, fence);
  return target as StoredSet;
}

/** Stores the changed block as a new array: what a scan handed out before does not change under it. */
function applyBlock(blocks: Map<number, ContextHashes>, { shard, adds, removes }: Block): MemberChanges {
  const present = blocks.get(shard) ?? new Uint8Array();
  const kept = countKept(present, removes);
  const target = new Uint8Array((kept + hashCount(adds)) * CONTEXT_HASH_BYTES);
  const total = mergeHashes(target, present, adds, removes);
  if (total === 0) blocks.delete(shard);
  else blocks.set(shard, target.slice(0, total * CONTEXT_HASH_BYTES));
  return { added: total - kept, removed: hashCount(present) - kept };
}

function countKept(present: ContextHashes, removes: ContextHashes): number {
  let kept = hashCount(present);
  for (let i = 0; i < hashCount(removes); i++) if (findHash(present, hashAt(removes, i)) >= 0) kept--;
  return kept;
}

/** Writes `present` without `removes` and with `adds` in order; answers how many hashes that are. */
function mergeHashes(target: Uint8Array, present: ContextHashes, adds: ContextHashes, removes: ContextHashes): number {
  let [i, j, total] = [0, 0, 0];
  const put = (hash: ContextHashes) => target.set(hash, total++ * CONTEXT_HASH_BYTES);
  while (i < hashCount(present) || j < hashCount(adds)) {
    const order = orderOf(present, i, adds, j);
    if (order <= 0) {
      const hash = hashAt(present, i++);
      if (order === 0) j++;
      if (findHash(removes, hash) < 0) put(hash);
    } else {
      put(hashAt(adds, j++));
    }
  }
  return total;
}

function orderOf(a: ContextHashes, i: number, b: ContextHashes, j: number): number {
  if (i >= hashCount(a)) return 1;
  if (j >= hashCount(b)) return -1;
  return compareHashes(a, i, b, j);
}

const namedDatabases = new Map<string, MemoryDatabase>();

/**
 * The factory for `memory:` URLs: each `memory:` is a database of its own; `memory:name` is one database for the whole
 * process.
 */
export const memoryStoreFactory: StoreFactory = {
  schemes: ["memory"],
  createStore(url, options) {
    const database = databaseOf(url);
    return createMemoryStore({ database, environment: options.environment });
  },
};

function databaseOf(url: string): MemoryDatabase {
  const name = /^memory:(?:\/\/)?([A-Za-z0-9._-]*)$/.exec(url)?.[1];
  if (name === undefined)
    throw new RollcallError("invalid_request", "a memory URL is `memory:` or `memory:name`, and this one is neither");
  if (name === "") return createMemoryDatabase();
  const database = namedDatabases.get(name) ?? createMemoryDatabase();
  namedDatabases.set(name, database);
  return database;
}
