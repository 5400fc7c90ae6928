// replace-redis: snapshots into Redis against the same members by pipelined SADD: rate, memory, and growth to ten million.

import { atLeast, atMost, type Benchmark, type BenchmarkResult, membersText, round } from "./benchmark.js";
import { type Crowd, type CrowdedBytes, crowdedContexts } from "./crowded-contexts-redis.js";
import { firstReplace, secondReplace } from "./growing-redis.js";
import { type Grown, growthBounds, growthNote, growthRows, measureGrowth } from "./growth.js";
import { withRedis } from "./measured-redis.js";
import { type Load, type Loaded, segmentsText } from "./segment-loading.js";
import { loadBigSegments, loadInTurn, loadSegments } from "./segments-redis.js";

const CONTEXTS = 1_000_000;
const ROUNDS = 3;
/** How many segments there are when a figure is taken. Alone a segment holds all contexts; of several each holds a tenth. */
const SEVERAL = [10, 100] as const;
const SEGMENTS = [1, ...SEVERAL] as const;
const ONE_IN = 10;
/** Of the segments before a figure is taken, the last ones whose rates count. */
const LAST = 5;
const CROWDED = 5_000;
const CROWDED_SEGMENTS = 60;
/**
 * 61 numbers of 3 bytes are 183; the rest is a record of its own, with a name and a table, and its share of 60 registry records. If the
 * record that it shares with some 30 others lost Redis's compact form, each of them would cost 40 bytes more: 1,200.
 */
const CROWDED_BYTES = 600;

const NAMES = ["peer", "ours"] as const;
type Name = (typeof NAMES)[number];

/** The figures of one side with so many segments there. */
interface Figures {
  readonly rate: number;
  readonly bytesPerContext: number;
}

export const replaceRedisBenchmark: Benchmark = {
  name: "replace-redis",
  measures:
    "A replace from a stream of keys into Redis, against pipelined SADD into one record per context: rate, memory, growth.",
  sides: { loadBigSegments, loadInTurn, loadSegments, firstReplace, secondReplace, crowdedContexts },
  async run(options) {
    const { quick, runSide, onProgress } = options;
    const scale = quick ? 20 : 1;
    const contexts = CONTEXTS / scale;
    return withRedis(options, async (server) => {
      const { url, description, empty } = server;

      async function load(side: (load: Load) => Promise<Loaded>, segments: number, oneIn: number): Promise<Loaded> {
        await empty();
        return (await runSide(side, { url, contexts, segments, oneIn })).result;
      }

      const [most = 1] = SEVERAL.toReversed();
      const sides = { peer: loadBigSegments, ours: loadSegments };
      const alone: Record<Name, Loaded[]> = { peer: [], ours: [] };
      for (let round = 1; round <= ROUNDS; round++) {
        onProgress(`one segment, both sides in turn: round ${round} of ${ROUNDS}`);
        for (const name of NAMES) alone[name].push(await load(sides[name], 1, 1));
      }
      onProgress(`${most} segments, both sides in turn`);
      await empty();
      const { result: rates } = await runSide(loadInTurn, { url, contexts, segments: most, oneIn: ONE_IN });
      const bytes: Record<Name, readonly number[]> = { peer: [], ours: [] };
      for (const name of NAMES) {
        onProgress(`${most} segments, what they take: ${name}`);
        bytes[name] = (await load(sides[name], most, ONE_IN)).bytes;
      }
      const perContext = (total: number | undefined) => (total ?? Number.NaN) / contexts;
      const figuresOf = (name: Name) =>
        new Map<number, Figures>([
          [
            1,
            {
              rate: Math.max(...alone[name].flatMap((loaded) => loaded.rates)),
              bytesPerContext: perContext(alone[name].at(-1)?.bytes[0]),
            },
          ],
          ...SEVERAL.map((segments): [number, Figures] => [
            segments,
            {
              rate: Math.max(...rates[name].slice(segments - LAST, segments)),
              bytesPerContext: perContext(bytes[name][segments - 1]),
            },
          ]),
        ]);
      const [peer, ours] = [figuresOf("peer"), figuresOf("ours")];
      onProgress(`${CROWDED_SEGMENTS} more segments for some of the contexts`);
      await empty();
      const crowd = { url, contexts, crowded: CROWDED / scale, segments: CROWDED_SEGMENTS };
      const { result: crowded } = await runSide(crowdedContexts, crowd);
      onProgress("replaced twice");
      await empty();
      const { result: againMs } = await runSide(secondReplace, { url, members: contexts });
      const grown = await measureGrowth(contexts, { ...server, firstReplace }, options);
      return report({ peer, ours, againMs, crowd, crowded, grown, contexts, description });
    });
  },
};

interface Findings {
  readonly peer: ReadonlyMap<number, Figures>;
  readonly ours: ReadonlyMap<number, Figures>;
  /** Milliseconds for the snapshot after the first. */
  readonly againMs: number;
  readonly crowd: Crowd;
  readonly crowded: CrowdedBytes;
  readonly grown: readonly Grown[];
  readonly contexts: number;
  readonly description: string;
}

function report({ peer, ours, againMs, crowd, crowded, grown, contexts, description }: Findings): BenchmarkResult {
  const pairs = SEGMENTS.flatMap((segments) => {
    const [theirs, own] = [peer.get(segments), ours.get(segments)];
    return theirs === undefined || own === undefined ? [] : [{ segments, theirs, own }];
  });
  const row = (side: string, segments: number, { rate, bytesPerContext }: Figures) => [
    ...[side, segments, membersText(segments === 1 ? contexts : contexts / ONE_IN)],
    ...[Math.round(rate), round(bytesPerContext), ""],
  ];
  return {
    columns: ["side", "segments", "members each", "members per second", "bytes per context", "peak MB"],
    rows: [
      ...pairs.flatMap(({ segments, theirs, own }) => [row("peer", segments, theirs), row("replace", segments, own)]),
      ["replace again, half of it new", 1, membersText(contexts), Math.round(contexts / (againMs / 1_000)), "", ""],
      ...growthRows(grown),
    ],
    bounds: [
      ...pairs.map(({ segments, theirs, own }) =>
        atLeast(`rate with ${segmentsText(segments)} / peer`, segments === 1 ? 4 : 2, own.rate / theirs.rate),
      ),
      ...pairs.map(({ segments, theirs, own }) =>
        atLeast(
          `peer's bytes per context with ${segmentsText(segments)} / ours`,
          segments === 1 ? 10 : 8,
          theirs.bytesPerContext / own.bytesPerContext,
        ),
      ),
      atMost(`for a context in ${crowd.segments} segments more`, CROWDED_BYTES, crowded.perCrowded, "bytes"),
      atMost("a context beside such ones / before", 1.02, crowded.beside / crowded.before),
      ...growthBounds(grown),
    ],
    notes: [
      `${description}. Both sides on the same server. With one segment, and where bytes are counted, it is emptied before each run.`,
      "Peer: ioredis, one set per context under its SHA-256, SADD in pipelines of 1,000, the next one put together while the server works on the one before. Keys are hashed in both times, and made in neither.",
      `One segment holds all of ${membersText(contexts)} contexts, the best of ${ROUNDS} runs. Of 10 and 100 segments each holds its own pseudo-random tenth of them; the rate is that of one segment's sync with the others there, the best of the last ${LAST}; the sides take turns, segment by segment. These rates are of a segment's first sync. A later one also counts what it has in common with the present members; it has a row and no bound.`,
      `Bytes: used_memory after the sync less that before the first, divided by ${membersText(contexts)} contexts on both sides; the registry's records and the history are in ours. expectedContexts is set, and member sets have numbers of three bytes, as in an environment that has synced for a while.`,
      `${crowd.segments} segments more for ${membersText(crowd.crowded)} contexts: ${round(crowded.perCrowded)} bytes for each of these: numbers of sets, a record of its own, and its share of what the registry keeps of the segments. The others: ${round(crowded.before)} bytes before, ${round(crowded.beside)} beside them, in all that is not such a record of its own. If crowded contexts spoilt the compact form of the records that they share with others, both bounds would fail.`,
      growthNote(grown),
    ],
  };
}
