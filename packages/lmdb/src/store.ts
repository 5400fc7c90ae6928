// The store on LMDB: registry records as JSON, members by context in shard records, every write in one transaction that is
// acknowledged when it is on disk.

import { randomUUID } from "node:crypto";
import { resolve } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import {
  decodeEnvironment,
  decodeFence,
  decodeReport,
  decodeSegment,
  type EnvironmentName,
  encodeEnvironment,
  encodeFence,
  encodeSegment,
  environmentNameSchema,
  HISTORY_LIMIT,
  handleNotOpen,
  idsByShardBits,
  type MemberSet,
  type MemberSetId,
  missingRecord,
  newEnvironment,
  parseName,
  RollcallError,
  requireKnownOptions,
  revisionConflict,
  type SegmentKey,
  type SegmentStore,
  STORE_PORT_VERSION,
  type StoreCapabilities,
  type StoredMemberSet,
  shardBitsFor,
} from "@rollcall/core";
import { planBlocks } from "./block-plan.js";
import { listDropped, stripSets } from "./dropped-sets.js";
import { requireStoredFence } from "./fence-record.js";
import { createMemberLookup } from "./member-lookup.js";
import { scanGroups } from "./member-scan.js";
import { isShortWrite, storeError } from "./native-error.js";
import {
  droppedRecordKey,
  environmentKey,
  epochKey,
  fenceRecordKey,
  fenceRecords,
  historyRecordKey,
  historyRecords,
  lastMemberSetKey,
  layoutKey,
  segmentRecordKey,
  segmentRecords,
} from "./registry-key.js";
import { createShardChanger } from "./shard-change.js";
import { type EnvironmentLease, leaseEnvironment, type Tables } from "./shared-environment.js";
import { FOLDER_LAYOUT, findFolder, findShortage, flushFolder, prepareFolder } from "./store-folder.js";

/** Options of {@link createLmdbStore}. */
export interface LmdbStoreOptions {
  /** The environment to bind to. Default `default`. */
  readonly environment?: string | undefined;
  /** Opens what exists and writes nothing; writes throw `store_read_only`. Default `false`. */
  readonly readOnly?: boolean | undefined;
  /**
   * How much address space to map at first, in bytes. The map grows by itself; a hint saves growing it step by step. It takes no
   * disk space. Default: as much as the data needs.
   */
  readonly mapSizeBytes?: number | undefined;
}

/** Contexts that a record holds at most on average: then even a crowded one stays within half an LMDB page of 4,096 bytes. */
const MOST_CONTEXTS_PER_RECORD = 40;

/**
 * A store in the folder `path`, which is created if need be. One folder holds any number of environments; several processes may read and
 * write it, one write at a time per environment. A write is acknowledged when the disk has confirmed it.
 * @throws `invalid_request` if the environment is not a valid name.
 */
export function createLmdbStore(path: string, options: LmdbStoreOptions = {}): SegmentStore {
  requireKnownOptions(options, ["environment", "readOnly", "mapSizeBytes"]);
  const environment = parseName(
    environmentNameSchema,
    options.environment ?? "default",
    "the environment",
  ) as EnvironmentName;
  const folder = resolve(path);
  const readOnly = options.readOnly ?? false;
  const changer = createShardChanger();
  const lookup = createMemberLookup();
  let lease: EnvironmentLease | undefined;
  let opening: Promise<void> | undefined;
  let place = folder;
  let closed = false;

  const capabilities: StoreCapabilities = {
    portVersion: STORE_PORT_VERSION,
    fencing: "set",
    window: { maxMembers: 65_536, maxBlocks: 4_096, concurrency: 2 },
    maxLookup: 1_024,
  };

  async function openOnce(): Promise<void> {
    place = readOnly ? await findFolder(folder, environment) : await prepareFolder(folder, environment);
    try {
      lease = await leaseEnvironment(place, { readOnly, mapSizeBytes: options.mapSizeBytes });
      if (!readOnly) {
        await flushFolder(place);
        await createRecords();
      }
      checkLayout();
    } catch (cause) {
      await lease?.release();
      lease = undefined;
      throw storeError(cause, place);
    }
  }

  async function createRecords(): Promise<void> {
    if (fresh().registry.get(layoutKey) !== undefined) return;
    const record = encodeEnvironment(newEnvironment());
    await write(({ registry }) => {
      if (registry.get(layoutKey) !== undefined) return;
      void registry.put(layoutKey, JSON.stringify({ layout: FOLDER_LAYOUT, environment }));
      void registry.put(environmentKey, record);
      void registry.put(epochKey, randomUUID());
    });
  }

  function checkLayout(): void {
    const text = fresh().registry.get(layoutKey);
    if (text === undefined)
      throw new RollcallError("store_read_only", `${place}: nothing was written yet; open it for writing once`);
    const { layout }: { layout?: unknown } = JSON.parse(text);
    if (layout !== FOLDER_LAYOUT)
      throw new RollcallError(
        "layout_mismatch",
        `${place}: has layout ${layout}, this version reads ${FOLDER_LAYOUT}; upgrade @rollcall/lmdb`,
      );
  }

  function opened(): EnvironmentLease {
    if (lease !== undefined && !closed) return lease;
    throw handleNotOpen(environment, closed ? "closed" : "not opened");
  }

  /** The tables as of the newest acknowledged write. */
  function fresh(): Tables {
    return opened().freshTables();
  }

  function requireRecord(text: string | undefined): string {
    if (text === undefined) throw missingRecord(environment);
    return text;
  }

  /** Reads from the newest snapshot; whatever LMDB throws is mapped. */
  function read<T>(reading: (tables: Tables) => T): T {
    try {
      return reading(fresh());
    } catch (cause) {
      throw storeError(cause, place);
    }
  }

  /**
   * Runs `change` inside a write transaction and waits until it is on disk. LMDB's wrapper keeps what a callback wrote before it threw, so
   * every `change` makes all its checks before its first write.
   */
  async function write<T>(change: (tables: Tables) => T): Promise<T> {
    const environmentLease = opened();
    if (readOnly)
      throw new RollcallError("store_read_only", `the store of environment ${environment} was opened with readOnly`);
    let thrown: unknown;
    try {
      const result = await environmentLease.tables().root.transaction(() => {
        try {
          return change(environmentLease.tables());
        } catch (error) {
          thrown = error;
          throw error;
        }
      });
      environmentLease.expire();
      return result;
    } catch (error) {
      throw await writeError(thrown ?? (await commitError(error)));
    }
  }

  async function writeError(cause: unknown): Promise<RollcallError> {
    const shortage = isShortWrite(cause) ? await findShortage(place) : undefined;
    return storeError(shortage ?? cause, place);
  }

  return {
    environment,
    capabilities,

    async open() {
      if (closed) opened();
      opening ??= openOnce();
      try {
        await opening;
      } catch (error) {
        opening = undefined;
        throw error;
      }
    },
    async close() {
      if (closed) return;
      closed = true;
      await opening?.catch(() => {});
      await lease?.release();
    },

    async getEnvironment() {
      return decodeEnvironment(requireRecord(read(({ registry }) => registry.get(environmentKey))));
    },
    async putEnvironment(next, expectedRevision) {
      const text = encodeEnvironment(next);
      await write(({ registry }) => {
        const present = decodeEnvironment(requireRecord(registry.get(environmentKey)));
        if (present.revision !== expectedRevision) throw revisionConflict("the environment record");
        void registry.put(environmentKey, text);
      });
    },
    async getSegment(key) {
      const text = read(({ registry }) => registry.get(segmentRecordKey(key)));
      return text === undefined ? undefined : decodeSegment(text);
    },
    async listSegments() {
      const texts = read(({ registry }) => Array.from(registry.getRange(segmentRecords), ({ value }) => value));
      return texts.map(decodeSegment);
    },
    async putSegment(next, expectedRevision, { reports = [] } = {}) {
      const text = encodeSegment(next);
      const added = reports.map((report) => JSON.stringify(report));
      await write(({ registry }) => {
        const key = segmentRecordKey(next.key);
        const present = registry.get(key);
        if ((present === undefined ? undefined : decodeSegment(present).revision) !== expectedRevision)
          throw revisionConflict(`segment ${next.key}`);
        void registry.put(key, text);
        // Not a counter: a folder that was restored from a copy would count through numbers that readers have seen.
        void registry.put(epochKey, randomUUID());
        if (added.length > 0) addReports(registry, next.key, added);
      });
      return undefined;
    },
    async getEpoch() {
      return requireRecord(read(({ registry }) => registry.get(epochKey)));
    },
    async getHistory(key) {
      const texts = read(({ registry }) => Array.from(registry.getRange(historyRecords(key)), ({ value }) => value));
      return texts.reverse().map(decodeReport);
    },

    async allocateMemberSet(shardBits, fence) {
      return write(({ registry }) => {
        let id = Number(registry.get(lastMemberSetKey) ?? 0) + 1;
        while (registry.get(fenceRecordKey(id)) !== undefined) id++;
        const set: MemberSet = { id: id as MemberSetId, shardBits };
        void registry.put(lastMemberSetKey, String(id));
        void registry.put(fenceRecordKey(id), encodeFence(set, fence));
        return set;
      });
    },
    chooseShardBits: ({ members, contexts }) => shardBitsFor(Math.max(members, contexts), MOST_CONTEXTS_PER_RECORD),
    async raiseFence(set, fence) {
      await write((tables) => {
        if (requireStoredFence(tables, set, fence))
          void tables.registry.put(fenceRecordKey(set.id), encodeFence(set, fence));
      });
    },
    async writeBlocks(set, blocks, fence) {
      return write((tables) => {
        const raise = requireStoredFence(tables, set, fence);
        const plan = planBlocks(tables, set, blocks, new Set(listDropped(tables).map(({ id }) => id)), changer);
        // From here on nothing is refused any more.
        if (raise) void tables.registry.put(fenceRecordKey(set.id), encodeFence(set, fence));
        plan.store();
        return { added: plan.added, removed: plan.removed };
      });
    },
    async findMemberSets(hashes, among) {
      return read((tables) => lookup.find(tables, hashes, among, opened().usedShardBits()));
    },
    async *scanMembers(set) {
      for (let group: number | undefined = 0; group !== undefined; ) {
        const first: number = group;
        const slice = read((tables) => scanGroups(tables, set, first));
        group = slice.nextGroup;
        if (slice.members.length > 0) yield slice.members;
        else await nextTurn();
      }
    },
    async dropMemberSets(sets) {
      await write(({ registry }) => {
        for (const { id, shardBits } of sets) {
          void registry.remove(fenceRecordKey(id));
          void registry.put(droppedRecordKey(id), String(shardBits));
        }
      });
      // Sets of a drop that was interrupted are on the list too: one pass over the records of a shardBits serves all.
      for (const [shardBits, ids] of idsByShardBits(read(listDropped))) {
        await stripSets(shardBits, ids, { freshTables: fresh, write, changer });
        await write(({ registry }) => {
          for (const id of ids) void registry.remove(droppedRecordKey(id));
        });
      }
    },
    async listMemberSets() {
      return read((tables) => {
        const stored: StoredMemberSet[] = [...listDropped(tables)];
        for (const { key, value } of tables.registry.getRange(fenceRecords)) {
          stored.push({ id: Number(key[1]) as MemberSetId, ...decodeFence(value) });
        }
        return stored;
      });
    },
  };
}

function addReports(registry: Tables["registry"], key: SegmentKey, texts: readonly string[]): void {
  const numbers = Array.from(registry.getKeys(historyRecords(key)), (recorded) => Number(recorded[2]));
  const first = (numbers.at(-1) ?? 0) + 1;
  texts.forEach((text, index) => {
    void registry.put(historyRecordKey(key, first + index), text);
  });
  const surplus = Math.max(0, numbers.length + texts.length - HISTORY_LIMIT);
  for (const number of numbers.slice(0, surplus)) void registry.remove(historyRecordKey(key, number));
}

/** What failed a commit: the wrapper rejects with an error of its own that holds the promise of the native one. */
async function commitError(error: unknown): Promise<unknown> {
  if (typeof error !== "object" || error === null || !("commitError" in error)) return error;
  try {
    await error.commitError;
    return error;
  } catch (native) {
    return native;
  }
}
