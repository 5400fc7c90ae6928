// A store that fails as databases and networks do, on demand: what every crash, race and retry check is made of.

import { type Block, RollcallError, type SegmentStore, type StoreCapabilities } from "@rollcall/core";

/** The methods that reach the database. */
export type StoreMethod = {
  [Name in keyof SegmentStore]-?: SegmentStore[Name] extends (
    ...args: never[]
  ) => Promise<unknown> | AsyncIterable<unknown>
    ? Name
    : never;
}[keyof SegmentStore];

/**
 * What happens to one call. `refuse`: it does not reach the database. `lose_reply`: it takes effect, the caller hears `store_unavailable`.
 * `crash`, `crash_after`: the handle is dead from this call on, which had no effect, or took effect. `pause`: this and every
 * later call waits until {@link FaultyStore.resume}, then goes on as if nothing had happened, as in a process that was frozen.
 */
export type FaultKind = "refuse" | "lose_reply" | "crash" | "crash_after" | "pause";

/** Fails the `at`-th call (from 1) from now on, counting only calls of `method` if one is given. */
export interface Fault {
  readonly kind: FaultKind;
  readonly at: number;
  readonly method?: StoreMethod | undefined;
}

/** A store whose calls can be made to fail, be held up and be watched. */
export interface FaultyStore extends SegmentStore {
  /** Plans a fault; replaces the one planned before. */
  plan(fault: Fault | undefined): void;
  /** The fault that has not happened yet. */
  readonly planned: Fault | undefined;
  /** Lets the calls of a paused handle go on. */
  resume(): void;
  /** Resolves when the handle is paused. */
  readonly paused: Promise<void>;
  /** Awaited before each call; for readers that watch a writer. */
  beforeCall: ((method: StoreMethod) => Promise<void> | void) | undefined;
  /** Every call so far. */
  readonly calls: StoreMethod[];
  /** Calls that are at the database, without those that are paused. */
  readonly inFlight: number;
  /** Calls that wait for {@link beforeCall}. */
  readonly watched: number;
}

/** Options of {@link createFaultyStore}. */
export interface FaultyStoreOptions {
  /** Overrides what the store declares: smaller windows make a sync take more calls. */
  readonly capabilities?: Partial<StoreCapabilities> | undefined;
  /** Overrides how the store cuts sets into blocks. */
  readonly chooseShardBits?: SegmentStore["chooseShardBits"] | undefined;
}

/** Wraps `store`. */
export function createFaultyStore(store: SegmentStore, options: FaultyStoreOptions = {}): FaultyStore {
  let fault: Fault | undefined;
  let counted = 0;
  let dead = false;
  let held: Promise<void> | undefined;
  let release = () => {};
  let markPaused = () => {};
  const paused = new Promise<void>((resolve) => {
    markPaused = resolve;
  });
  const calls: StoreMethod[] = [];
  let inFlight = 0;
  let watched = 0;

  function due(method: StoreMethod): FaultKind | undefined {
    if (fault === undefined || (fault.method !== undefined && fault.method !== method)) return undefined;
    if (++counted !== fault.at) return undefined;
    const { kind } = fault;
    fault = undefined;
    return kind;
  }

  /** Runs `call` as the plan has it. */
  async function reach<T>(method: StoreMethod, call: () => Promise<T>): Promise<T> {
    calls.push(method);
    await watch(method);
    inFlight++;
    try {
      if (dead) throw unavailable();
      const kind = due(method);
      if (kind === "pause") hold();
      if (held !== undefined) await whilePaused(held);
      if (kind === "refuse") throw unavailable();
      if (kind === "crash") throw die();
      const reply = await call();
      // A call that was under way when another one killed the handle has lost its reply too.
      if (kind === "crash_after" || dead) throw die();
      if (kind === "lose_reply") throw unavailable();
      return reply;
    } finally {
      inFlight--;
    }
  }

  async function watch(method: StoreMethod): Promise<void> {
    if (faulty.beforeCall === undefined) return;
    watched++;
    try {
      await faulty.beforeCall(method);
    } finally {
      watched--;
    }
  }

  function hold(): void {
    held = new Promise((resolve) => {
      release = resolve;
    });
    markPaused();
  }

  async function whilePaused(gate: Promise<void>): Promise<void> {
    inFlight--;
    try {
      await gate;
    } finally {
      inFlight++;
    }
  }

  function die(): RollcallError {
    dead = true;
    return unavailable();
  }

  const wrapped = (method: StoreMethod) =>
    ((...args: never[]) =>
      reach(method, () => (store[method] as (...args: never[]) => Promise<unknown>)(...args))) as never;

  const watchEpoch = store.watchEpoch?.bind(store);
  const faulty: FaultyStore = {
    environment: store.environment,
    capabilities: { ...store.capabilities, ...options.capabilities },
    chooseShardBits: options.chooseShardBits ?? ((sizes) => store.chooseShardBits(sizes)),
    open: wrapped("open"),
    // Closing is for tidying up after the check: it always reaches the store.
    close: () => store.close(),
    getEnvironment: wrapped("getEnvironment"),
    putEnvironment: wrapped("putEnvironment"),
    getSegment: wrapped("getSegment"),
    listSegments: wrapped("listSegments"),
    putSegment: wrapped("putSegment"),
    getEpoch: wrapped("getEpoch"),
    // No call that a fault could meet: it says nothing of its own, and what it leads to is a call.
    ...(watchEpoch === undefined ? {} : { watchEpoch }),
    getHistory: wrapped("getHistory"),
    allocateMemberSet: wrapped("allocateMemberSet"),
    raiseFence: wrapped("raiseFence"),
    writeBlocks(set, blocks, fence) {
      requireInOrder(blocks);
      return reach("writeBlocks", () => store.writeBlocks(set, blocks, fence));
    },
    findMemberSets: wrapped("findMemberSets"),
    dropMemberSets: wrapped("dropMemberSets"),
    listMemberSets: wrapped("listMemberSets"),
    async *scanMembers(set) {
      const chunks = store.scanMembers(set)[Symbol.asyncIterator]();
      try {
        for (;;) {
          const next = await reach("scanMembers", () => chunks.next());
          if (next.done) return;
          yield next.value;
        }
      } finally {
        await chunks.return?.();
      }
    },
    plan(next) {
      fault = next;
      counted = 0;
    },
    resume() {
      held = undefined;
      release();
    },
    get planned() {
      return fault;
    },
    paused,
    beforeCall: undefined,
    calls,
    get inFlight() {
      return inFlight;
    },
    get watched() {
      return watched;
    },
  };
  return faulty;
}

/** What core guarantees of the blocks of one call. */
function requireInOrder(blocks: readonly Block[]): void {
  blocks.forEach(({ shard, adds, removes }, index) => {
    if (adds.length + removes.length === 0) throw new Error(`core wrote an empty block, of shard ${shard}`);
    if (shard <= (blocks[index - 1]?.shard ?? -1)) throw new Error(`core wrote shard ${shard} out of order, or twice`);
  });
}

function unavailable(): RollcallError {
  return new RollcallError("store_unavailable", "the connection broke, as the check planned");
}
