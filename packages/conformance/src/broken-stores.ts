// Deliberately broken stores, each with one realistic fault: what the suite must catch. Not part of the package's face.

import { randomUUID } from "node:crypto";
import {
  type Block,
  createMemoryDatabase,
  createMemoryStore,
  type Fence,
  HISTORY_LIMIT,
  isRollcallError,
  LIST_NAMES,
  type MemberSet,
  otherTimeline,
  type Revision,
  RollcallError,
  type SegmentStore,
  type StoreCapabilities,
  type SyncReport,
  shardOf,
  type Timeline,
} from "@rollcall/core";
import type { Harness } from "./harness.js";
import { NO_HASHES, packed } from "./samples.js";

/** One fault, and the check that is there to catch it. */
export interface BrokenStore {
  readonly name: string;
  readonly caughtBy: string;
  readonly harness: Harness;
}

/** What all broken handles on one environment share. */
interface Shared {
  readonly sets: Map<number, MemberSet>;
  readonly hidden: Set<number>;
  readonly history: Map<string, SyncReport[]>;
  readonly free: MemberSet[];
  readonly tellers: Set<() => void>;
  calls: number;
  epoch?: string;
}

/** What all of them name, so that what is said of timelines is checked too. */
const TIMELINE = "first";

type Break = (store: SegmentStore, shared: Shared) => Partial<SegmentStore>;

interface BreakOptions {
  readonly capabilities?: Partial<StoreCapabilities>;
  /** Where the data of an environment really goes. */
  readonly place?: (environment: string) => string;
}

function broken(name: string, caughtBy: string, breakStore: Break, options: BreakOptions = {}): BrokenStore {
  return { name, caughtBy, harness: brokenHarness(breakStore, options) };
}

/** Memory stores with `breakStore` over them; without a fault the suite must pass. */
export function brokenHarness(breakStore: Break, { capabilities, place }: BreakOptions = {}): Harness {
  return {
    async createDatabase() {
      const database = createMemoryDatabase();
      const shared = new Map<string, Shared>();
      return {
        createStore(environment) {
          const target = place?.(environment) ?? environment;
          const state = shared.get(target) ?? {
            sets: new Map(),
            hidden: new Set(),
            history: new Map(),
            free: [],
            tellers: new Set(),
            calls: 0,
          };
          shared.set(target, state);
          const inner = createMemoryStore({ database, environment: target, timeline: TIMELINE });
          const store: SegmentStore = {
            ...inner,
            environment: environment as SegmentStore["environment"],
            capabilities: { ...inner.capabilities, ...capabilities },
            async allocateMemberSet(shardBits, fence) {
              const set = await inner.allocateMemberSet(shardBits, fence);
              state.sets.set(set.id, set);
              return set;
            },
          };
          return { ...store, ...breakStore(store, state) };
        },
      };
    },
  };
}

const macrotask = () => new Promise(setImmediate);

async function storedFence(store: SegmentStore, set: MemberSet): Promise<Fence | undefined> {
  return (await store.listMemberSets()).find(({ id }) => id === set.id)?.fence;
}

async function membersOf(store: SegmentStore, set: MemberSet, shard?: number): Promise<Uint8Array> {
  const hashes: Uint8Array[] = [];
  for await (const chunk of store.scanMembers(set))
    for (let i = 0; i < chunk.byteLength / 16; i++)
      if (shard === undefined || shardOf(chunk, i, set.shardBits) === shard)
        hashes.push(chunk.subarray(i * 16, i * 16 + 16));
  return hashes.length === 0 ? NO_HASHES : packed(hashes);
}

/** Removes every member but keeps the fence. */
async function empty(store: SegmentStore, set: MemberSet): Promise<void> {
  const fence = await storedFence(store, set);
  if (fence === undefined) return;
  for await (const chunk of store.scanMembers(set))
    await store.writeBlocks(set, [{ shard: shardOf(chunk, 0, set.shardBits), adds: NO_HASHES, removes: chunk }], fence);
}

/** Lets `call` through under the stored fence where it was refused and `excuse` says so. */
function excusing(excuse: (stored: Fence, fence: Fence) => boolean): Break {
  return (store) => {
    async function attempt<T>(set: MemberSet, fence: Fence, call: (fence: Fence) => Promise<T>): Promise<T> {
      try {
        return await call(fence);
      } catch (error) {
        const stored = await storedFence(store, set);
        if (!isRollcallError(error, "stale_lease") || stored === undefined || !excuse(stored, fence)) throw error;
        return await call(stored);
      }
    }
    return {
      raiseFence: (set, fence) => attempt(set, fence, (used) => store.raiseFence(set, used)),
      writeBlocks: (set, blocks, fence) => attempt(set, fence, (used) => store.writeBlocks(set, blocks, used)),
    };
  };
}

const fenceFaults: readonly BrokenStore[] = [
  broken(
    "ignores the fence",
    "after raiseFence an older writer changes no block at all",
    excusing(() => true),
  ),
  broken(
    "takes the same token of another holder for the same writer",
    "raiseFence refuses the same token of another holder",
    excusing((stored, fence) => stored.token === fence.token),
  ),
  broken(
    "looks at tokens only, not at segment and generation",
    "a fence of another segment or generation is refused, whatever its token",
    excusing((stored, fence) => stored.token <= fence.token),
  ),
  broken(
    "compares tokens as text",
    "raiseFence refuses an older token",
    excusing((stored, fence) => String(stored.token) < String(fence.token)),
  ),
  broken(
    "does not raise the fence where a block needs no change",
    "a block that needs no change raises the fence too",
    (store) => ({
      async writeBlocks(set, blocks, fence) {
        const needed: Block[] = [];
        for (const block of blocks) {
          const present = new Set(hex(await membersOf(store, set, block.shard)));
          const changes =
            hex(block.adds).some((hash) => !present.has(hash)) || hex(block.removes).some((hash) => present.has(hash));
          if (changes) needed.push(block);
        }
        return needed.length === 0 ? { added: 0, removed: 0 } : await store.writeBlocks(set, needed, fence);
      },
    }),
  ),
  broken(
    "keeps taking writes to a dropped set",
    "a dropped set refuses every writer, and nothing comes back",
    (store, { hidden }) => ({
      async dropMemberSets(sets) {
        for (const set of sets) {
          await empty(store, set);
          hidden.add(set.id);
        }
      },
      listMemberSets: async () => (await store.listMemberSets()).filter(({ id }) => !hidden.has(id)),
    }),
  ),
  broken(
    "gives the number of a dropped set again",
    "a set number is never given twice: not to racing handles, not after drops, not after closing",
    (store, { free, hidden, sets }) => ({
      async allocateMemberSet(shardBits, fence) {
        const used = free.pop();
        if (used === undefined) return store.allocateMemberSet(shardBits, fence);
        try {
          await store.raiseFence(used, fence);
        } catch {
          // The old fence is of another segment: this number cannot be given here.
          return store.allocateMemberSet(shardBits, fence);
        }
        hidden.delete(used.id);
        return { ...used, shardBits };
      },
      async dropMemberSets(dropped) {
        for (const set of dropped) {
          if (!sets.has(set.id) || hidden.has(set.id)) continue;
          await empty(store, set);
          hidden.add(set.id);
          free.push(set);
        }
      },
      listMemberSets: async () => (await store.listMemberSets()).filter(({ id }) => !hidden.has(id)),
    }),
  ),
];

const memberFaults: readonly BrokenStore[] = [
  broken("loses the last of several blocks", "writeBlocks adds and removes exactly what it is told", (store) => ({
    writeBlocks: (set, blocks, fence) =>
      store.writeBlocks(set, blocks.length > 1 ? blocks.slice(0, -1) : blocks, fence),
  })),
  broken("resends the write before the last one", "writeBlocks adds and removes exactly what it is told", (store) => {
    let before: (() => Promise<unknown>) | undefined;
    return {
      async writeBlocks(set, blocks, fence) {
        const resend = before;
        const changes = await store.writeBlocks(set, blocks, fence);
        const kept = [...blocks];
        before = () => store.writeBlocks(set, kept, fence);
        // Its fence may be refused by now, which is what fences are for.
        await resend?.().catch(() => {});
        return changes;
      },
    };
  }),
  broken(
    "reads a block, changes it and writes it back, without a transaction",
    "overlapping writes of one block lose nothing",
    (store) => ({
      async writeBlocks(set, blocks, fence) {
        let [added, removed] = [0, 0];
        for (const { shard, adds, removes } of blocks) {
          const old = new Set(hex(await membersOf(store, set, shard)));
          await macrotask();
          const wanted = new Set([...old, ...hex(adds)]);
          for (const hash of hex(removes)) wanted.delete(hash);
          const now = hex(await membersOf(store, set, shard));
          const surplus = now.filter((hash) => !wanted.has(hash));
          const change = { shard, adds: unhex([...wanted]), removes: unhex(surplus) };
          if (wanted.size + surplus.length > 0) await store.writeBlocks(set, [change], fence);
          else await store.writeBlocks(set, [{ shard, adds, removes }], fence);
          added += hex(adds).filter((hash) => !old.has(hash)).length;
          removed += hex(removes).filter((hash) => old.has(hash)).length;
        }
        return { added, removed };
      },
    }),
  ),
  broken(
    "rewrites a block by deleting and inserting it",
    "a reader sees each member of a write whole: never both gone and not yet there",
    (store) => ({
      async writeBlocks(set, blocks, fence) {
        let [added, removed] = [0, 0];
        for (const block of blocks) {
          const old = await membersOf(store, set, block.shard);
          const present = new Set(hex(old));
          if (present.size > 0)
            await store.writeBlocks(set, [{ shard: block.shard, adds: NO_HASHES, removes: old }], fence);
          await macrotask();
          const removes = new Set(hex(block.removes));
          const kept = [...new Set([...present, ...hex(block.adds)])].filter((hash) => !removes.has(hash));
          const whole = { shard: block.shard, adds: unhex(kept), removes: block.removes };
          await store.writeBlocks(set, [whole], fence);
          added += hex(block.adds).filter((hash) => !present.has(hash)).length;
          removed += hex(block.removes).filter((hash) => present.has(hash)).length;
        }
        return { added, removed };
      },
    }),
  ),
  broken(
    "counts what it was told, not what changed",
    "repeating a write changes nothing and counts nothing",
    (store) => ({
      async writeBlocks(set, blocks, fence) {
        await store.writeBlocks(set, blocks, fence);
        const sum = (list: "adds" | "removes") =>
          blocks.reduce((total, block) => total + block[list].byteLength / 16, 0);
        return { added: sum("adds"), removed: sum("removes") };
      },
    }),
  ),
  broken(
    "answers lookups with sets that were not asked for",
    "sets that were not asked for do not show",
    (store, { sets }) => ({
      findMemberSets: (hashes) => store.findMemberSets(hashes, [...sets.values()]),
    }),
  ),
  broken(
    "forgets all but sixty sets of one context",
    "one context in seventy sets, of which some go again",
    (store) => ({
      findMemberSets: async (hashes, among) =>
        (await store.findMemberSets(hashes, among)).map((ids) => ids.slice(0, 60)),
    }),
  ),
  broken(
    "answers repeated hashes of a lookup once",
    "findMemberSets answers hash by hash, in the order asked, repeats too",
    (store) => ({
      async findMemberSets(hashes, among) {
        const seen = new Set<string>();
        const answers = await store.findMemberSets(hashes, among);
        return answers.map((ids, i) => {
          const hash = hex(hashes)[i] ?? "";
          if (seen.has(hash)) return [];
          seen.add(hash);
          return ids;
        });
      },
    }),
  ),
  broken("scans a page twice", "scanMembers yields every member exactly once, and none of another set", (store) => ({
    async *scanMembers(set) {
      let first = true;
      for await (const chunk of store.scanMembers(set)) {
        yield chunk;
        if (first) yield chunk;
        first = false;
      }
    },
  })),
  broken(
    "drops the next set as well",
    "a drop leaves the other sets as they are, members and fences",
    (store, { sets }) => ({
      async dropMemberSets(dropped) {
        const neighbours = dropped.flatMap(({ id }) => sets.get(id + 1) ?? []);
        await store.dropMemberSets([...dropped, ...neighbours]);
      },
    }),
  ),
  broken(
    "drops a set as soon as it is retired",
    "a replaced set answers until the grace period is over, and not long after",
    (store) => ({
      async putSegment(next, expected, options) {
        const timeline = await store.putSegment(next, expected, options);
        await store.dropMemberSets(next.retired.map(({ set }) => set));
        return timeline;
      },
    }),
  ),
];

/** Tells of nothing; begins and ends as the store's own watch does. */
const deafWatch = (store: SegmentStore, signal: AbortSignal) => store.watchEpoch?.(() => {}, signal) ?? macrotask();

/** A watch that tells when `tellers` are called. */
function watchBy(tellers: Set<() => void>, store: SegmentStore): NonNullable<SegmentStore["watchEpoch"]> {
  return async (onMoved, signal) => {
    const tell = () => onMoved();
    tellers.add(tell);
    onMoved();
    await deafWatch(store, signal);
    tellers.delete(tell);
  };
}

const everywhere = new Set<() => void>();

const watchFaults: readonly BrokenStore[] = [
  broken(
    "tells a handle of its own writes only",
    "a watch tells of what any handle puts, when it is there",
    (store) => {
      const tellers = new Set<() => void>();
      return {
        async putSegment(next, expected, options) {
          const timeline = await store.putSegment(next, expected, options);
          for (const tell of tellers) tell();
          return timeline;
        },
        watchEpoch: watchBy(tellers, store),
      };
    },
  ),
  broken("tells all environments of a write in one", "a watch tells of nothing in another environment", (store) => ({
    async putSegment(next, expected, options) {
      const timeline = await store.putSegment(next, expected, options);
      for (const tell of everywhere) tell();
      return timeline;
    },
    watchEpoch: watchBy(everywhere, store),
  })),
  broken(
    "tells on when the watch was stopped",
    "a watch ends when its signal fires and when its handle is closed, and tells no more",
    (store) => ({
      async watchEpoch(onMoved, signal) {
        store.watchEpoch?.(onMoved, new AbortController().signal).catch(() => {});
        await deafWatch(store, signal);
      },
    }),
  ),
  broken(
    "leaves the watches of a closed handle waiting",
    "a watch ends when its signal fires and when its handle is closed, and tells no more",
    (store) => ({
      async watchEpoch(onMoved, signal) {
        await store.watchEpoch?.(onMoved, signal);
        if (!signal.aborted) await new Promise((resolve) => signal.addEventListener("abort", resolve));
      },
    }),
  ),
  broken(
    "tells of a write before it is there",
    "a watch tells of what any handle puts, when it is there",
    (store, { tellers }) => ({
      async putSegment(next, expected, options) {
        if (options?.changesAnswers !== false) for (const tell of tellers) tell();
        await macrotask();
        return await store.putSegment(next, expected, options);
      },
      watchEpoch: watchBy(tellers, store),
    }),
  ),
  broken(
    "takes whatever core says of a write for a reason not to tell",
    "a reader that is told sees a snapshot without a poll",
    (store) => ({
      putSegment: (next, expected, options) =>
        store.putSegment(next, expected, { ...options, changesAnswers: options === undefined }),
    }),
  ),
];

const registryFaults: readonly BrokenStore[] = [
  broken(
    "ignores the expected revision",
    "putSegment refuses a stale, a missing and a surplus revision, and changes nothing",
    (store) => ({
      putSegment: async (next, _expected, options) =>
        store.putSegment(next, (await store.getSegment(next.key))?.revision, options),
    }),
  ),
  broken(
    "compares the revision before it writes, not while",
    "of racing putSegments exactly one wins, also when creating",
    (store) => ({
      async putSegment(next, expected, options) {
        if ((await store.getSegment(next.key))?.revision !== expected)
          throw new RollcallError("revision_conflict", "read it again");
        await macrotask();
        return await store.putSegment(next, (await store.getSegment(next.key))?.revision, options);
      },
    }),
  ),
  broken(
    "reports a lost reply as a conflict",
    "of racing putSegments exactly one wins, also when creating",
    (store, shared) => ({
      async putSegment(next, expected, options) {
        const timeline = await store.putSegment(next, expected, options);
        // The driver sent the write again by itself, and met its own revision.
        if (++shared.calls % 5 === 0) throw new RollcallError("revision_conflict", "read it again");
        return timeline;
      },
    }),
  ),
  broken("writes in whatever timeline it is", "a store that names its timeline writes in no other", (store) => ({
    putSegment: (next, expected, { timeline: _any, ...options } = {}) => store.putSegment(next, expected, options),
  })),
  broken(
    "compares the timeline after it has written",
    "a store that names its timeline writes in no other",
    (store) => ({
      async putSegment(next, expected, { timeline, ...options } = {}) {
        const present = await store.putSegment(next, expected, options);
        if (timeline !== undefined && timeline !== present) throw otherTimeline(`segment ${next.key}`);
        return present;
      },
    }),
  ),
  broken("names each write's own timeline", "a store that names its timeline writes in no other", (store) => ({
    async putSegment(next, expected, { timeline: _any, ...options } = {}) {
      await store.putSegment(next, expected, options);
      return next.revision as string as Timeline;
    },
  })),
  broken(
    "answers the epoch of the call before",
    "the epoch moves with every putSegment, for every handle, and never returns",
    (store) => {
      let before: string | undefined;
      return {
        async getEpoch() {
          const answer = before ?? (await store.getEpoch());
          before = await store.getEpoch();
          return answer;
        },
      };
    },
  ),
  broken(
    "lists segments as they were one list ago",
    "a reader sees the old members or the new ones, never a mixture",
    (store) => {
      let before: Awaited<ReturnType<SegmentStore["listSegments"]>> | undefined;
      return {
        async listSegments() {
          const answer = before ?? (await store.listSegments());
          before = await store.listSegments();
          return answer;
        },
      };
    },
  ),
  broken(
    "moves the epoch only with the write after",
    "the epoch moves with every putSegment, for every handle, and never returns",
    (store, shared) => ({
      async putSegment(next, expected, options) {
        const before = await store.getEpoch();
        const timeline = await store.putSegment(next, expected, options);
        // Kept for all handles: the record is there, and nobody is told.
        shared.epoch = before;
        return timeline;
      },
      getEpoch: async () => shared.epoch ?? (await store.getEpoch()),
    }),
  ),
  broken(
    "publishes the two lists of a segment one after the other",
    "a segment record is seen whole by those who read while it is put",
    (store) => ({
      async putSegment(next, expected, options) {
        const present = await store.getSegment(next.key);
        const flipsBoth = LIST_NAMES.every((list) => present?.[list].set?.id !== next[list].set?.id);
        if (present === undefined || present.revision !== expected || !flipsBoth)
          return await store.putSegment(next, expected, options);
        const half = { ...present, included: next.included, revision: randomUUID() as Revision };
        await store.putSegment(half, expected);
        await macrotask();
        return await store.putSegment(next, half.revision, options);
      },
    }),
  ),
  broken("hides tombstones", "a tombstone stays, and is listed", (store) => ({
    listSegments: async () => (await store.listSegments()).filter(({ state }) => state === "live"),
  })),
  broken(
    "acknowledges a record before it is written",
    "a second handle sees every acknowledged write at once",
    (store) => ({
      async putSegment(next, expected, options) {
        if ((await store.getSegment(next.key))?.revision !== expected)
          throw new RollcallError("revision_conflict", "read it again");
        setImmediate(() => void store.putSegment(next, expected, options).catch(() => {}));
        return undefined;
      },
    }),
  ),
  broken(
    "lets native errors through",
    "putSegment refuses a stale, a missing and a surplus revision, and changes nothing",
    (store) => ({
      async putSegment(next, expected, options) {
        try {
          return await store.putSegment(next, expected, options);
        } catch {
          throw new Error("ERROR: 40001 could not serialize access");
        }
      },
    }),
  ),
  broken(
    "works on after it was closed",
    "a closed handle refuses every call with `closed`, closes twice, and disturbs no other",
    () => ({
      async close() {},
    }),
  ),
  broken("takes a name for its prefix", "environments of similar names share nothing", () => ({}), {
    place: (environment) => environment.slice(0, 4),
  }),
  broken("ignores the case of environment names", "environments of similar names share nothing", () => ({}), {
    place: (environment) => environment.toLowerCase(),
  }),
  broken(
    "keeps the reports in the handle that wrote them",
    "everything acknowledged is there after all handles were closed",
    (store) => {
      const own = new Map<string, SyncReport[]>();
      return {
        async putSegment(next, expected, options) {
          const timeline = await store.putSegment(next, expected, options);
          own.set(next.key, await store.getHistory(next.key));
          return timeline;
        },
        async close() {
          await store.close();
          own.clear();
        },
        getHistory: async (key) => own.get(key) ?? [],
      };
    },
  ),
];

/** A store that keeps reports beside `store`, added as `put` has it, who is told how to write the record and how to add its reports. */
function reporting(
  put: (write: () => ReturnType<SegmentStore["putSegment"]>, add: () => void) => Promise<Timeline | undefined>,
  limit = HISTORY_LIMIT,
): Break {
  return (store, { history }) => ({
    putSegment(next, expected, { reports = [], ...options } = {}) {
      const add = () => {
        const present = history.get(next.key) ?? [];
        history.set(next.key, [...structuredClone([...reports]).reverse(), ...present].slice(0, limit));
      };
      return put(() => store.putSegment(next, expected, options), add);
    },
    getHistory: async (key) => history.get(key) ?? [],
  });
}

const historyFaults: readonly BrokenStore[] = [
  broken(
    "keeps every report for ever",
    "history keeps the newest 100 and forgets the rest",
    reporting(async (write, add) => {
      const timeline = await write();
      add();
      return timeline;
    }, Number.POSITIVE_INFINITY),
  ),
  broken(
    "adds a report whether the record is written or not",
    "a report is there if its record was written, and only then",
    reporting((write, add) => {
      add();
      return write();
    }),
  ),
  broken(
    "adds a report after the record, in a step of its own",
    "a record and its report are seen together by those who read while they are put",
    reporting(async (write, add) => {
      const timeline = await write();
      await macrotask();
      add();
      return timeline;
    }),
  ),
  broken(
    "takes no reports",
    "history keeps whole reports, newest first, for each segment apart",
    reporting((write) => write()),
  ),
  broken(
    "adds several reports the newest first",
    "history keeps whole reports, newest first, for each segment apart",
    (store) => ({
      putSegment: (next, expected, { reports = [], ...options } = {}) =>
        store.putSegment(next, expected, { ...options, reports: reports.toReversed() }),
    }),
  ),
];

function hex(hashes: Uint8Array): string[] {
  const text = Buffer.from(hashes).toString("hex");
  return text.match(/.{32}/g) ?? [];
}

function unhex(hashes: readonly string[]): Uint8Array {
  return hashes.length === 0 ? NO_HASHES : packed(hashes.map((hash) => Buffer.from(hash, "hex")));
}

export const brokenStores: readonly BrokenStore[] = [
  ...fenceFaults,
  ...memberFaults,
  ...registryFaults,
  ...historyFaults,
  ...watchFaults,
];
