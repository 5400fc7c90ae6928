// A whole adapter to start from. Its "database" is the smallest that will do: named values, and a transaction that runs alone.
// Replace `TemplateDatabase` by a client, and keep what the comments say.

import {
  type Block,
  type ContextHashes,
  compareHashes,
  decodeEnvironment,
  decodeSegment,
  type EnvironmentName,
  encodeEnvironment,
  encodeSegment,
  environmentNameSchema,
  type Fence,
  findHash,
  HISTORY_LIMIT,
  handleNotOpen,
  hashAt,
  hashCount,
  isRollcallError,
  type MemberSet,
  type MemberSetId,
  newEnvironment,
  RollcallError,
  revisionConflict,
  type SegmentStore,
  STORE_PORT_VERSION,
  type StoredMemberSet,
  type StoreFactory,
  type SyncReport,
  shardBitsFor,
  shardOf,
} from "@rollcall/core";

/** The client: what a driver package would give you. */
export interface TemplateDatabase {
  /** Runs `work` alone; what it wrote stays only if it returns. */
  transaction<T>(work: (values: Map<string, string>) => T): Promise<T>;
}

/** A database in this process, so that the template runs. */
export function createTemplateDatabase(): TemplateDatabase {
  let values = new Map<string, string>();
  return {
    async transaction(work) {
      const draft = new Map(values);
      const result = work(draft);
      values = draft;
      return result;
    },
  };
}

/** Options of {@link createTemplateStore}. */
export interface TemplateStoreOptions {
  /** The environment to bind to. Default `default`. */
  readonly environment?: string | undefined;
}

/** Members per block: as many as one value holds well. */
const BLOCK_TARGET = 256;

/** A store in `database`. Closing it leaves the database open: it is the caller's. */
export function createTemplateStore(database: TemplateDatabase, options: TemplateStoreOptions = {}): SegmentStore {
  const environment = environmentNameSchema.parse(options.environment ?? "default") as EnvironmentName;
  // Parts of a place are never joined with a character that they may contain: an environment `a` does not see `a.b`.
  const place = (...parts: readonly (string | number)[]) => JSON.stringify([environment, ...parts]);
  let closed = false;

  /** Every call goes through here: refused after `close`, and no native error gets out. */
  async function run<T>(work: (values: Map<string, string>) => T): Promise<T> {
    if (closed) throw handleNotOpen(environment, "closed");
    try {
      return await database.transaction(work);
    } catch (cause) {
      if (isRollcallError(cause)) throw cause;
      // Map what your driver throws: `store_full`, `access_denied`, `store_read_only`. What may or may not have taken effect is
      // `store_unavailable`, and must be: core repeats it, and counts on that.
      throw new RollcallError("store_unavailable", `the database of ${environment} did not answer; try again`, {
        cause,
      });
    }
  }

  /** The stored fence, if this writer is not older. Call it in the transaction that writes. */
  function admit(values: Map<string, string>, set: MemberSet, fence: Fence): void {
    const stored = readJson<StoredMemberSet>(values, place("set", set.id))?.fence;
    const isSame = stored?.segmentKey === fence.segmentKey && stored.generation === fence.generation;
    const isNewer = isSame && stored.token < fence.token;
    const isHolder = isSame && stored.token === fence.token && stored.holder === fence.holder;
    if (!isNewer && !isHolder)
      throw new RollcallError(
        "stale_lease",
        `a newer writer took over segment ${fence.segmentKey}; run the sync again`,
      );
    values.set(place("set", set.id), JSON.stringify({ id: set.id, shardBits: set.shardBits, fence }));
  }

  function readBlock(values: Map<string, string>, set: MemberSet, shard: number): ContextHashes {
    return Buffer.from(values.get(place("block", set.id, shard)) ?? "", "base64");
  }

  return {
    environment,
    capabilities: {
      portVersion: STORE_PORT_VERSION,
      fencing: "set",
      window: { maxMembers: 8_192, maxBlocks: 512, concurrency: 2 },
      maxLookup: 1_024,
    },

    async open() {
      const record = encodeEnvironment(newEnvironment());
      // Several processes may open an environment at once: exactly one record stays. Decoding checks the layout version.
      await run((values) => {
        const known = values.get(place("environment"));
        if (known === undefined) values.set(place("environment"), record);
        else decodeEnvironment(known);
      });
    },
    async close() {
      closed = true;
    },

    getEnvironment: () => run((values) => decodeEnvironment(values.get(place("environment")) ?? "")),
    putEnvironment: (next, expectedRevision) =>
      run((values) => {
        const { revision } = decodeEnvironment(values.get(place("environment")) ?? "");
        if (revision !== expectedRevision) throw revisionConflict(`environment ${environment}`);
        values.set(place("environment"), encodeEnvironment(next));
      }),
    getSegment: (key) =>
      run((values) => {
        const text = values.get(place("segment", key));
        return text === undefined ? undefined : decodeSegment(text);
      }),
    listSegments: () => run((values) => under(values, place("segment")).map(decodeSegment)),
    putSegment: (next, expectedRevision, { reports = [] } = {}) =>
      run((values) => {
        const text = values.get(place("segment", next.key));
        const revision = text === undefined ? undefined : decodeSegment(text).revision;
        if (revision !== expectedRevision) throw revisionConflict(`segment ${next.key}`);
        values.set(place("segment", next.key), encodeSegment(next));
        // In the same transaction: a reader that sees the old epoch may keep what it knows.
        values.set(place("epoch"), next.revision);
        // And so are the reports: none is lost, and none is there twice, when core repeats a call whose reply was lost.
        const known = readJson<SyncReport[]>(values, place("history", next.key)) ?? [];
        const newest = [...reports.toReversed(), ...known].slice(0, HISTORY_LIMIT);
        values.set(place("history", next.key), JSON.stringify(newest));
        // Where a fail-over can lose what was acknowledged, the timeline is compared and answered here.
        return undefined;
      }),
    getEpoch: () => run((values) => values.get(place("epoch")) ?? "new"),
    getHistory: (key) => run((values) => readJson<SyncReport[]>(values, place("history", key)) ?? []),

    allocateMemberSet: (shardBits, fence) =>
      run((values) => {
        // A counter, not the highest number in use: a number never comes back, also after its set was dropped.
        const id = (Number(values.get(place("last set")) ?? 0) + 1) as MemberSetId;
        values.set(place("last set"), String(id));
        values.set(place("set", id), JSON.stringify({ id, shardBits, fence }));
        return { id, shardBits };
      }),
    chooseShardBits: ({ members }) => shardBitsFor(members, BLOCK_TARGET),
    raiseFence: (set, fence) => run((values) => admit(values, set, fence)),
    writeBlocks: (set, blocks, fence) =>
      run((values) => {
        admit(values, set, fence);
        let [added, removed] = [0, 0];
        for (const block of blocks) {
          const before = readBlock(values, set, block.shard);
          const after = changed(before, block);
          const kept = countKept(before, block.removes);
          added += hashCount(after) - kept;
          removed += hashCount(before) - kept;
          if (after.length === 0) values.delete(place("block", set.id, block.shard));
          else values.set(place("block", set.id, block.shard), Buffer.from(after).toString("base64"));
        }
        return { added, removed };
      }),
    findMemberSets: (hashes, among) =>
      run((values) =>
        Array.from({ length: hashCount(hashes) }, (_, i) =>
          among
            .filter(
              (set) => findHash(readBlock(values, set, shardOf(hashes, i, set.shardBits)), hashAt(hashes, i)) >= 0,
            )
            .map(({ id }) => id),
        ),
      ),
    async *scanMembers(set) {
      const blocks = await run((values) => [...values.keys()].filter((key) => isUnder(key, place("block", set.id))));
      // One transaction for each block: none stays open while the caller works.
      for (const key of blocks) yield await run((values) => Buffer.from(values.get(key) ?? "", "base64"));
    },
    dropMemberSets: (sets) =>
      run((values) => {
        for (const { id } of sets) {
          values.delete(place("set", id));
          for (const key of values.keys()) if (isUnder(key, place("block", id))) values.delete(key);
        }
      }),
    listMemberSets: () => run((values) => under(values, place("set")).map((text): StoredMemberSet => JSON.parse(text))),
  };
}

/** What `openStore` looks for in an adapter package; the package exports it under the name `storeFactory`. */
export const storeFactory: StoreFactory = {
  schemes: ["template"],
  createStore: (_url, { environment }) => createTemplateStore(createTemplateDatabase(), { environment }),
};

function readJson<T>(values: Map<string, string>, key: string): T | undefined {
  const text = values.get(key);
  return text === undefined ? undefined : JSON.parse(text);
}

/** `["a","b","c"]` is under `["a","b"]`, and `["a","bc"]` is not. */
function isUnder(key: string, parent: string): boolean {
  return key.startsWith(`${parent.slice(0, -1)},`);
}

function under(values: Map<string, string>, parent: string): string[] {
  return [...values].filter(([key]) => isUnder(key, parent)).map(([, value]) => value);
}

function countKept(present: ContextHashes, removes: ContextHashes): number {
  let kept = hashCount(present);
  for (let i = 0; i < hashCount(removes); i++) if (findHash(present, hashAt(removes, i)) >= 0) kept--;
  return kept;
}

/** The block without its `removes` and with its `adds`, sorted, nothing twice. */
function changed(present: ContextHashes, { adds, removes }: Block): ContextHashes {
  const hashes: ContextHashes[] = [];
  for (let i = 0; i < hashCount(present); i++) {
    const hash = hashAt(present, i);
    if (findHash(removes, hash) < 0) hashes.push(hash);
  }
  for (let i = 0; i < hashCount(adds); i++) if (findHash(present, hashAt(adds, i)) < 0) hashes.push(hashAt(adds, i));
  return Buffer.concat(hashes.sort((a, b) => compareHashes(a, 0, b, 0)));
}
