// replace-postgres: snapshots into PostgreSQL against one row for each membership: rate, size, and growth to ten million.

import { atLeast, atMost, type Benchmark, membersText, round } from "./benchmark.js";
import { type Growing, growthBounds, growthNote, growthRows, measureGrowth } from "./growth.js";
import { withPostgres } from "./measured-postgres.js";
import { type Load, type Loaded, segmentsText, TIME_OF_LOADING } from "./segment-loading.js";
import { loadRows, loadSegments, withRollcall } from "./segments-postgres.js";
import { timedReplaces } from "./timed-replaces.js";

const CONTEXTS = 1_000_000;
const ROUNDS = 3;
/** How many segments there are when a figure is taken. Alone a segment holds all contexts; of several each holds a tenth. */
const SEVERAL = [10, 100] as const;
const ONE_IN = 10;
/** Of the segments before a figure is taken, the last ones whose rates count. */
const LAST = 3;

interface Figures {
  readonly segments: number;
  readonly rate: number;
  readonly bytesPerMember: number;
}

/** Milliseconds for a `replace` into an empty environment, from its first key to its acknowledgement. */
async function firstReplace(growing: Growing): Promise<number> {
  return (await replaces(growing, 1))[0] ?? Number.NaN;
}

/** The same for the snapshot after it, which shares half of its members with the first. */
async function secondReplace(growing: Growing): Promise<number> {
  return (await replaces(growing, 2))[1] ?? Number.NaN;
}

async function replaces({ url, members, memoryLimitBytes }: Growing, times: number): Promise<number[]> {
  return withRollcall(url, { memoryLimitBytes }, ({ rollcall }) => timedReplaces(rollcall, members, times));
}

export const replacePostgresBenchmark: Benchmark = {
  name: "replace-postgres",
  measures: "A replace from a stream of keys into PostgreSQL, against one row for each membership: rate, size, growth.",
  sides: { loadRows, loadSegments, firstReplace, secondReplace },
  async run(options) {
    const { quick, runSide, onProgress } = options;
    const contexts = quick ? CONTEXTS / 20 : CONTEXTS;
    return withPostgres(options, async (server) => {
      const { url, description, empty } = server;
      async function measure(side: (load: Load) => Promise<Loaded>, name: string): Promise<Figures[]> {
        const load = async (segments: number, oneIn: number) => {
          await empty();
          return (await runSide(side, { url, contexts, segments, oneIn })).result;
        };
        const alone: Loaded[] = [];
        for (let round = 1; round <= ROUNDS; round++) {
          onProgress(`${name}, one segment: round ${round} of ${ROUNDS}`);
          alone.push(await load(1, 1));
        }
        const bytes = alone.at(-1)?.bytes[0] ?? Number.NaN;
        const rate = Math.max(...alone.flatMap(({ rates }) => rates));
        onProgress(`${name}, ${Math.max(...SEVERAL)} segments`);
        const several = await load(Math.max(...SEVERAL), ONE_IN);
        return [
          { segments: 1, rate, bytesPerMember: bytes / contexts },
          ...SEVERAL.map((segments) => ({
            segments,
            rate: Math.max(...several.rates.slice(segments - LAST, segments)),
            bytesPerMember: (several.bytes[segments - 1] ?? Number.NaN) / ((segments * contexts) / ONE_IN),
          })),
        ];
      }

      const peer = await measure(loadRows, "peer");
      const ours = await measure(loadSegments, "replace");
      onProgress("replaced twice");
      await empty();
      const { result: againMs } = await runSide(secondReplace, { url, members: contexts });
      const grown = await measureGrowth(contexts, { ...server, firstReplace }, options);
      const pairs = peer.map((theirs, index) => ({ theirs, own: ours[index] as Figures }));
      const row = (side: string, { segments, rate, bytesPerMember }: Figures) => [
        ...[side, segments, membersText(segments === 1 ? contexts : contexts / ONE_IN)],
        ...[Math.round(rate), round(bytesPerMember), ""],
      ];
      return {
        columns: ["side", "segments", "members each", "members per second", "bytes per member", "peak MB"],
        rows: [
          ...pairs.flatMap(({ theirs, own }) => [row("peer", theirs), row("replace", own)]),
          ["replace again, half of it new", 1, membersText(contexts), Math.round(contexts / (againMs / 1_000)), "", ""],
          ...growthRows(grown),
        ],
        bounds: [
          ...pairs.map(({ theirs, own }) =>
            atLeast(`rate with ${segmentsText(own.segments)} / peer`, 3, own.rate / theirs.rate),
          ),
          ...pairs.map(({ theirs, own }) =>
            atMost(
              `size with ${segmentsText(own.segments)} / peer`,
              own.segments === 1 ? 0.25 : 0.333,
              own.bytesPerMember / theirs.bytesPerMember,
            ),
          ),
          ...growthBounds(grown),
        ],
        notes: [
          `${description}. Both sides on the same server, emptied before each run.`,
          "Peer: (context hash as uuid, segment as int), both in the primary key; COPY into a temporary table by pg-copy-streams, INSERT … ON CONFLICT DO NOTHING, one transaction. Keys are hashed in both times, and made in neither.",
          TIME_OF_LOADING,
          `One segment holds all of ${membersText(contexts)} contexts, the best of ${ROUNDS} runs. Of 10 and 100 segments each holds its own pseudo-random tenth of them; the rate is that of one segment's sync with the others there, the best of the last ${LAST}. A later sync of a segment also counts what it has in common with the present members; it has a row and no bound.`,
          "Bytes: tables and indexes right after the sync, the registry and the history in ours, divided by memberships.",
          growthNote(grown),
        ],
      };
    });
  },
};
