// replace-lmdb: a snapshot from a stream of keys into LMDB, against raw sorted puts of as many keys.

import { join } from "node:path";
import { createRollcall, openStore } from "@rollcall/core";
import { storeFactory } from "@rollcall/lmdb";
import { sortedHashes } from "./audience.js";
import { atLeast, atMost, type Benchmark, type Bound, MEGABYTE, megabytes, membersText } from "./benchmark.js";
import { openRawLmdb, putSorted } from "./raw-lmdb.js";
import { withTemporaryFolder } from "./temporary-folder.js";
import { timedReplaces } from "./timed-replaces.js";

const SMALL = 1_000_000;
const LARGE = 10_000_000;
const SPILLING = 30_000_000;
const ROUNDS = 3;

interface Size {
  readonly members: number;
}

/** Milliseconds for putting as many 16-byte keys, sorted before the clock starts. */
async function rawPuts({ members }: Size): Promise<number> {
  const hashes = sortedHashes(members);
  return withTemporaryFolder(async (folder) => {
    const database = openRawLmdb(folder);
    const started = performance.now();
    await putSorted(database, hashes);
    const ms = performance.now() - started;
    await database.close();
    return ms;
  });
}

/** Milliseconds for a `replace` into a fresh environment, from its first key to its acknowledgement. */
async function firstReplace({ members }: Size): Promise<number> {
  const [first] = await replaces(members, 1);
  return first ?? Number.NaN;
}

/** The same, and then for a snapshot that shares half of its members with the first. */
async function twoReplaces({ members }: Size): Promise<number[]> {
  return replaces(members, 2);
}

async function replaces(members: number, times: number): Promise<number[]> {
  return withTemporaryFolder(async (folder) => {
    const store = await openStore(`lmdb:${join(folder, "store")}`, { factories: [storeFactory] });
    const rollcall = createRollcall(store);
    const milliseconds = await timedReplaces(rollcall, members, times);
    await rollcall.close();
    await store.close();
    return milliseconds;
  });
}

interface Figures {
  rawMs: number;
  replaceMs: number;
  peakBytes: number | undefined;
}

export const replaceLmdbBenchmark: Benchmark = {
  name: "replace-lmdb",
  measures:
    "A replace from a stream of keys into a fresh LMDB store, against raw sorted puts of as many 16-byte keys into LMDB.",
  sides: { rawPuts, firstReplace, twoReplaces },
  async run({ quick, runSide, onProgress }) {
    const scale = quick ? 20 : 1;
    const [small, large, spilling] = [SMALL / scale, LARGE / scale, SPILLING / scale];

    async function measure(members: number): Promise<Figures> {
      const figures: Figures = { rawMs: Infinity, replaceMs: Infinity, peakBytes: undefined };
      for (let round = 1; round <= ROUNDS; round++) {
        onProgress(`${membersText(members)}: round ${round} of ${ROUNDS}`);
        figures.rawMs = Math.min(figures.rawMs, (await runSide(rawPuts, { members })).result);
        const { result, peakBytes } = await runSide(firstReplace, { members });
        figures.replaceMs = Math.min(figures.replaceMs, result);
        // The worst, not the best: a limit of memory must hold every time.
        if (peakBytes !== undefined) figures.peakBytes = Math.max(figures.peakBytes ?? 0, peakBytes);
      }
      return figures;
    }

    const atSmall = await measure(small);
    const atLarge = await measure(large);
    onProgress(`${membersText(spilling)}: once, for its memory`);
    const atSpilling = await runSide(firstReplace, { members: spilling });
    onProgress(`${membersText(small)}: replaced twice`);
    const { result: both } = await runSide(twoReplaces, { members: small });

    const row = (what: string, members: number, ms: number, bytes?: number) => [
      what,
      membersText(members),
      Math.round(ms),
      Math.round(members / (ms / 1_000)),
      bytes === undefined ? "" : Math.round(bytes / MEGABYTE),
    ];
    const rateBound = (members: number, { rawMs, replaceMs }: Figures): Bound =>
      atLeast(`rate at ${membersText(members)} / raw puts`, 0.6, rawMs / replaceMs);
    const perMember = (ms: number, members: number) => ms / members;
    return {
      columns: ["side", "members", "ms", "members per second", "peak MB"],
      rows: [
        row("raw sorted puts", small, atSmall.rawMs),
        row("replace", small, atSmall.replaceMs, atSmall.peakBytes),
        row("replace again, half of it new", small, both[1] ?? Number.NaN),
        row("raw sorted puts", large, atLarge.rawMs),
        row("replace", large, atLarge.replaceMs, atLarge.peakBytes),
        row("replace", spilling, atSpilling.result, atSpilling.peakBytes),
      ],
      bounds: [
        rateBound(small, atSmall),
        rateBound(large, atLarge),
        atMost(
          `time per member at ${membersText(large)} / at ${membersText(small)}`,
          1.3,
          perMember(atLarge.replaceMs, large) / perMember(atSmall.replaceMs, small),
        ),
        atMost(`peak memory at ${membersText(large)}`, 600, megabytes(atLarge.peakBytes), "MB"),
        atMost(`peak memory at ${membersText(spilling)}`, 700, megabytes(atSpilling.peakBytes), "MB"),
      ],
      notes: [
        `Best of ${ROUNDS} runs of each side in turn, each in a process of its own; memory: the worst of these. A replace is end to end: keys are read, hashed, sorted, written and flushed.`,
        "Making the input is in neither time: strings for replace, sorted 16-byte keys for the raw puts.",
        "Raw puts: the lmdb package's asynchronous put, binary keys, a window in flight, flushed to the disk at the end. Both sides write to the same disk.",
        "Memory is anonymous resident memory (RssAnon), in megabytes of 10^6 bytes; a mapped file does not count.",
      ],
    };
  },
};
