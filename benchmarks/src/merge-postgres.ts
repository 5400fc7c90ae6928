// merge-postgres: 10,000 changes from all over a large segment on PostgreSQL, against the same on one row for each membership: time and
// write-ahead log, where they come together, and rate, where each comes by itself.

import { streamMembers } from "./audience.js";
import { atLeast, atMost, type Benchmark, membersText, round } from "./benchmark.js";
import { type KeyChange, shuffledPeople, toAndFro } from "./key-changes.js";
import { openObserver, SCHEMAS, withPostgres } from "./measured-postgres.js";
import { type MembershipRows, openMembershipRows } from "./membership-rows.js";
import type { OpenEnvironment } from "./open-environment.js";
import { segmentKey } from "./segment-loading.js";
import { withRollcall } from "./segments-postgres.js";

const MEMBERS = 1_000_000;
const CHANGES = 10_000;
/** Deltas of a series; one before them warms up. */
const DELTAS = 8;
/** Times that changes come one by one; one before them warms up. */
const FLOODS = 3;

interface Target {
  readonly url: string;
  readonly members: number;
  readonly changes: number;
}

/** Of one delta: milliseconds and bytes of log, the mean; right after a checkpoint, and long after it. */
interface Costs {
  readonly fresh: { readonly ms: number; readonly bytes: number };
  readonly warm: { readonly ms: number; readonly bytes: number };
}

/** Milliseconds for so many changes that come one by one and all at once, the best of {@link FLOODS}. */
type Flood = (target: Target) => Promise<number>;

const singleMerges: Flood = (target) =>
  withSegment(target, ({ rollcall }) =>
    measureFloods(target, SCHEMAS.rollcall, async (change) => {
      const { received } = await rollcall.merge(segmentKey(0), { changes: [change] });
      if (received !== 1) throw new Error(`${received} received`);
    }),
  );

const singleRows: Flood = (target) =>
  withRows(target, (peer) => measureFloods(target, SCHEMAS.rows, (change) => peer.applyOne(0, change)));

/** Runs `work` when a segment of all members is there. */
function withSegment<T>({ url, members }: Target, work: (environment: OpenEnvironment) => Promise<T>): Promise<T> {
  return withRollcall(url, {}, async (environment) => {
    await environment.rollcall.replace(segmentKey(0), { included: everybody(members) });
    return work(environment);
  });
}

/** The same on the other side. */
async function withRows<T>({ url, members }: Target, work: (peer: MembershipRows) => Promise<T>): Promise<T> {
  const peer = await openMembershipRows(url);
  await peer.add(0, everybody(members));
  const result = await work(peer);
  await peer.close();
  return result;
}

const everybody = (members: number) => streamMembers({ number: 0, oneIn: 1 }, members);

async function measureFloods(
  { url, members, changes }: Target,
  schema: string,
  apply: (change: KeyChange) => Promise<void>,
): Promise<number> {
  const observer = await openObserver(url);
  await observer.settle(schema);
  const deltas = toAndFro(shuffledPeople(members), changes, Number.POSITIVE_INFINITY);
  let best = Number.POSITIVE_INFINITY;
  for (let number = 0; number <= FLOODS; number++) {
    const flood = deltas.next().value as KeyChange[];
    const started = performance.now();
    await Promise.all(flood.map(apply));
    if (number > 0) best = Math.min(best, performance.now() - started);
  }
  await observer.close();
  return best;
}

function merges(target: Target): Promise<Costs> {
  return withSegment(target, ({ rollcall }) =>
    measure(target, SCHEMAS.rollcall, async (delta) => {
      const { added, removed } = await rollcall.merge(segmentKey(0), { changes: delta });
      if (added.value + removed.value !== delta.length)
        throw new Error(`${added.value} added, ${removed.value} removed`);
    }),
  );
}

function rowChanges(target: Target): Promise<Costs> {
  return withRows(target, (peer) => measure(target, SCHEMAS.rows, (delta) => peer.apply(0, delta)));
}

async function measure(
  { url, members, changes }: Target,
  schema: string,
  apply: (delta: readonly KeyChange[]) => Promise<void>,
): Promise<Costs> {
  const observer = await openObserver(url);
  await observer.settle(schema);
  const deltas = toAndFro(shuffledPeople(members), changes, Number.POSITIVE_INFINITY);
  const next = () => deltas.next().value as KeyChange[];
  const series = async (afterCheckpoint: "each" | "none") => {
    const costs: { readonly ms: number; readonly bytes: number }[] = [];
    for (let number = 0; number <= DELTAS; number++) {
      if (afterCheckpoint === "each") await observer.checkpoint();
      const delta = next();
      const [logged, started] = [await observer.logged(), performance.now()];
      await apply(delta);
      const ms = performance.now() - started;
      costs.push({ ms, bytes: (await observer.logged()) - logged });
    }
    const mean = (of: (cost: (typeof costs)[number]) => number) =>
      costs.slice(1).reduce((sum, cost) => sum + of(cost), 0) / DELTAS;
    return { ms: mean(({ ms }) => ms), bytes: mean(({ bytes }) => bytes) };
  };
  const fresh = await series("each");
  // After the last delta no page is new to the log.
  const warm = await series("none");
  await observer.close();
  return { fresh, warm };
}

export const mergePostgresBenchmark: Benchmark = {
  name: "merge-postgres",
  measures:
    "10,000 changes merged into a million members on PostgreSQL, against the same on one row for each membership: time and log.",
  sides: { merges, rowChanges, singleMerges, singleRows },
  async run(options) {
    const { quick, runSide, onProgress } = options;
    const [members, changes] = quick ? [MEMBERS / 20, CHANGES / 20] : [MEMBERS, CHANGES];
    return withPostgres(options, async ({ url, description, empty }) => {
      onProgress("peer");
      await empty();
      const { result: peer } = await runSide(rowChanges, { url, members, changes });
      onProgress("merge");
      await empty();
      const { result: ours } = await runSide(merges, { url, members, changes });
      onProgress("peer, changes one by one");
      await empty();
      const { result: rowsMs } = await runSide(singleRows, { url, members, changes });
      onProgress("merge, changes one by one");
      await empty();
      const { result: mergesMs } = await runSide(singleMerges, { url, members, changes });
      const cases = [
        { when: "right after a checkpoint", theirs: peer.fresh, own: ours.fresh },
        { when: "long after one", theirs: peer.warm, own: ours.warm },
      ];
      return {
        columns: ["side", "when", "changes", "ms", "bytes of log per change"],
        rows: [
          ...cases.flatMap(({ when, theirs, own }) => [
            ["peer", when, changes, round(theirs.ms), round(theirs.bytes / changes)],
            ["merge", when, changes, round(own.ms), round(own.bytes / changes)],
          ]),
          ["peer", "one by one", changes, round(rowsMs), ""],
          ["merge", "one by one", changes, round(mergesMs), ""],
        ],
        bounds: [
          ...cases.flatMap(({ when, theirs, own }) => [
            atMost(`time ${when} / peer`, 4, own.ms / theirs.ms),
            atMost(`log ${when} / peer`, 4, own.bytes / theirs.bytes),
          ]),
          atLeast("rate of changes that come one by one / peer", 2, rowsMs / mergesMs),
        ],
        notes: [
          `${description}. Both sides on the same server, emptied before each.`,
          `The segment holds ${membersText(members)} contexts. A delta brings back half as many members as the one before removed, and removes as many others, from all over the segment; the count is checked.`,
          "A merge is timed from the call to its acknowledgement: hashing, the lease, the blocks and the finish. Peer: COPY into a temporary table, DELETE and INSERT, one transaction, hashing included.",
          `One by one: so many calls at once, each with one change, acknowledged each by itself; merge takes those together that wait. Peer: INSERT or DELETE of one row, each a transaction, over 10 connections. The best of ${FLOODS}, after one to warm up.`,
          `The mean of ${DELTAS} deltas after one to warm up, with a checkpoint before each, and with none. After a checkpoint the log takes the whole of each page that is changed.`,
        ],
      };
    });
  },
};
