// merge-postgres: 10,000 changes from all over a large segment on PostgreSQL, against the same on one row for each membership: time and
// write-ahead log.

import { streamMembers } from "./audience.js";
import { atMost, type Benchmark, membersText, round } from "./benchmark.js";
import { type KeyChange, shuffledPeople, toAndFro } from "./key-changes.js";
import { openObserver, SCHEMAS, withPostgres } from "./measured-postgres.js";
import { openMembershipRows } from "./membership-rows.js";
import { segmentKey } from "./segment-loading.js";
import { withRollcall } from "./segments-postgres.js";

const MEMBERS = 1_000_000;
const CHANGES = 10_000;
/** Deltas of a series; one before them warms up. */
const DELTAS = 8;

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

async function merges({ url, members, changes }: Target): Promise<Costs> {
  return withRollcall(url, async ({ rollcall }) => {
    await rollcall.replace(segmentKey(0), { included: streamMembers({ number: 0, oneIn: 1 }, members).keys });
    return measure({ url, members, changes }, SCHEMAS.rollcall, async (delta) => {
      const { added, removed } = await rollcall.merge(segmentKey(0), { changes: delta });
      if (added.value + removed.value !== delta.length)
        throw new Error(`${added.value} added, ${removed.value} removed`);
    });
  });
}

async function rowChanges({ url, members, changes }: Target): Promise<Costs> {
  const peer = await openMembershipRows(url);
  await peer.add(0, streamMembers({ number: 0, oneIn: 1 }, members).keys);
  const costs = await measure({ url, members, changes }, SCHEMAS.rows, (delta) => peer.apply(0, delta));
  await peer.close();
  return costs;
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
  sides: { merges, rowChanges },
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
      const cases = [
        { when: "right after a checkpoint", theirs: peer.fresh, own: ours.fresh },
        { when: "long after one", theirs: peer.warm, own: ours.warm },
      ];
      return {
        columns: ["side", "when", "changes", "ms", "bytes of log per change"],
        rows: cases.flatMap(({ when, theirs, own }) => [
          ["peer", when, changes, round(theirs.ms), round(theirs.bytes / changes)],
          ["merge", when, changes, round(own.ms), round(own.bytes / changes)],
        ]),
        bounds: cases.flatMap(({ when, theirs, own }) => [
          atMost(`time ${when} / peer`, 4, own.ms / theirs.ms),
          atMost(`log ${when} / peer`, 4, own.bytes / theirs.bytes),
        ]),
        notes: [
          `${description}. Both sides on the same server, emptied before each.`,
          `The segment holds ${membersText(members)} contexts. A delta brings back half as many members as the one before removed, and removes as many others, from all over the segment; the count is checked.`,
          "A merge is timed from the call to its acknowledgement: hashing, the lease, the blocks, the finish and the history. Peer: COPY into a temporary table, DELETE and INSERT, one transaction, hashing included.",
          `The mean of ${DELTAS} deltas after one to warm up, with a checkpoint before each, and with none. After a checkpoint the log takes the whole of each page that is changed.`,
        ],
      };
    });
  },
};
