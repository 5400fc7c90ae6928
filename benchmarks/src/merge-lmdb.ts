// merge-lmdb: what a delta costs must not grow with the segment.

import { join } from "node:path";
import { createRollcall, type MemberChange, openStore } from "@rollcall/core";
import { storeFactory } from "@rollcall/lmdb";
import { keyOf, streamKeys } from "./audience.js";
import { atMost, type Benchmark, membersText, round } from "./benchmark.js";
import { withTemporaryFolder } from "./temporary-folder.js";

const SMALL = 1_000_000;
const LARGE = 10_000_000;
const CHANGES = 10_000;
// The adapter gathers scattered changes and folds them into its records later. Before anything is measured, so many merges
// have passed that both sides fold at their steady pace, and the mean is over as many again.
const WARM_UP = 90;
const MERGES = 60;
const ROUNDS = 3;

/** Milliseconds of each of {@link MERGES} merges into a segment of that many members. */
async function merges({ members }: { readonly members: number }): Promise<number[]> {
  return withTemporaryFolder(async (folder) => {
    const store = await openStore(`lmdb:${join(folder, "store")}`, { factories: [storeFactory] });
    const rollcall = createRollcall(store);
    await rollcall.replace("bench", { included: streamKeys(0, members).keys });
    const milliseconds: number[] = [];
    let expected = members;
    for (let number = 0; number < WARM_UP + MERGES; number++) {
      const changes = mixedChanges(number, members);
      const started = performance.now();
      const report = await rollcall.merge("bench", { changes });
      const ms = performance.now() - started;
      if (number >= WARM_UP) milliseconds.push(ms);
      expected += report.added.value - report.removed.value;
      if (report.added.value !== CHANGES / 2 || report.members.included.value !== expected)
        throw new Error(`merge ${number} added ${report.added.value}, and left ${report.members.included.value}`);
    }
    await rollcall.close();
    await store.close();
    return milliseconds;
  });
}

/** Half are additions of people who are not members, half removals of members from all over the segment. */
function mixedChanges(number: number, members: number): MemberChange[] {
  const stride = Math.floor(members / (CHANGES / 2));
  return Array.from({ length: CHANGES }, (_, i): MemberChange => {
    const half = i >>> 1;
    return i % 2 === 0
      ? { member: keyOf(members + (number * CHANGES) / 2 + half), change: "add" }
      : { member: keyOf(half * stride + number), change: "remove" };
  });
}

export const mergeLmdbBenchmark: Benchmark = {
  name: "merge-lmdb",
  measures: "10,000 mixed changes merged into ten million members on LMDB, against the same into one million.",
  sides: { merges },
  async run({ quick, runSide, onProgress }) {
    const [small, large] = quick ? [SMALL / 20, LARGE / 20] : [SMALL, LARGE];
    const best = { small: Number.POSITIVE_INFINITY, large: Number.POSITIVE_INFINITY };
    for (let round = 1; round <= ROUNDS; round++) {
      onProgress(`round ${round} of ${ROUNDS}`);
      best.small = Math.min(best.small, mean((await runSide(merges, { members: small })).result));
      best.large = Math.min(best.large, mean((await runSide(merges, { members: large })).result));
    }
    const row = (members: number, ms: number) => [
      membersText(members),
      round(ms),
      Math.round(CHANGES / (ms / 1_000)),
      round(ms / best.small),
    ];
    return {
      columns: ["into members", "ms per merge", "changes per second", "times the smaller"],
      rows: [row(small, best.small), row(large, best.large)],
      bounds: [atMost(`merge into ${membersText(large)} / into ${membersText(small)}`, 1.5, best.large / best.small)],
      notes: [
        `Mean of ${MERGES} merges one after another, each of ${CHANGES.toLocaleString("en")} changes, after ${WARM_UP} to warm up; best of ${ROUNDS} such runs. A merge is timed from the call to its acknowledgement, when it is on the disk.`,
        "Half of the changes add new members, half remove members from all over the segment. Building the segment and making the changes is not in the time.",
      ],
    };
  },
};

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
