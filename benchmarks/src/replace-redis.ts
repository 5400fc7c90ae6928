// replace-redis: snapshots into Redis against the same members by pipelined SADD: rate, memory, and growth to ten million.

import { atLeast, atMost, type Benchmark, type BenchmarkResult, median, membersText, round } from "./benchmark.js";
import { type Crowd, type CrowdedBytes, crowdedContexts } from "./crowded-contexts-redis.js";
import { firstReplace, secondReplace } from "./growing-redis.js";
import { type Grown, growthBounds, growthNote, growthRows, measureGrowth } from "./growth.js";
import { databaseBeside, withRedis } from "./measured-redis.js";
import { type Loaded, segmentsText, TIME_OF_LOADING } from "./segment-loading.js";
import { type LoadOnRedis, loadBigSegments, loadSegments } from "./segments-redis.js";
import { endTurns, giveTurn, turnsAt } from "./turns-redis.js";

const CONTEXTS = 1_000_000;
const ROUNDS = 5;
/** How many segments there are when a figure is taken. Alone a segment holds all contexts; of several each holds a tenth. */
const SEVERAL = [10, 100] as const;
const SEGMENTS = [1, ...SEVERAL] as const;
const ONE_IN = 10;
const CROWDED = 5_000;
const CROWDED_SEGMENTS = 60;
/**
 * 61 numbers of 3 bytes are 183; the rest is a record of its own, with a name and a table, and its share of 60 registry records. If the
 * record that it shares with some 60 others lost Redis's compact form, each of them would cost 40 bytes more: 2,400.
 */
const CROWDED_BYTES = 600;

/** What both sides came to. */
interface OfBoth<T> {
  readonly peer: T;
  readonly ours: T;
}

/** The figures of one side with so many segments there. */
interface Figures {
  /** Of syncs that took turns with those of the other side, in the same order. */
  readonly rates: readonly number[];
  readonly bytesPerContext: number;
}

export const replaceRedisBenchmark: Benchmark = {
  name: "replace-redis",
  measures:
    "A replace from a stream of keys into Redis, against pipelined SADD into one record per context: rate, memory, growth.",
  sides: { loadBigSegments, loadSegments, firstReplace, secondReplace, crowdedContexts },
  async run(options) {
    const { quick, runSide, onProgress } = options;
    const scale = quick ? 20 : 1;
    const contexts = CONTEXTS / scale;
    return withRedis(options, async (server) => {
      const { url, description, empty, admin } = server;

      async function load(
        side: (load: LoadOnRedis) => Promise<Loaded>,
        segments: number,
        oneIn: number,
      ): Promise<Loaded> {
        await empty();
        return (await runSide(side, { url, contexts, segments, oneIn })).result;
      }

      const alone: OfBoth<Loaded[]> = { peer: [], ours: [] };
      for (let round = 1; round <= ROUNDS; round++) {
        onProgress(`one segment, both sides in turn: round ${round} of ${ROUNDS}`);
        alone.peer.push(await load(loadBigSegments, 1, 1));
        alone.ours.push(await load(loadSegments, 1, 1));
      }
      const most = Math.max(...SEVERAL);
      onProgress(`${most} segments, both sides in turn`);
      await empty();
      const inTurn = { contexts, segments: most + ROUNDS - 1, oneIn: ONE_IN };
      const [peerTurns, ownTurns] = turnsAt(url, ["turn of the peer", "our turn"]);
      const peerUrl = await databaseBeside(url);
      await giveTurn(admin, peerTurns.own);
      const sides = [
        runSide(loadBigSegments, { ...inTurn, url: peerUrl, turns: peerTurns }),
        runSide(loadSegments, { ...inTurn, url, turns: ownTurns }),
      ] as const;
      const [peer, ours] = await Promise.all(sides).catch(async (error) => {
        await endTurns(admin, ownTurns).catch(() => {});
        await Promise.allSettled(sides);
        throw error;
      });
      const rates = { peer: peer.result.rates, ours: ours.result.rates };
      onProgress(`${most} segments, what they take`);
      const several: OfBoth<Loaded> = {
        peer: await load(loadBigSegments, most, ONE_IN),
        ours: await load(loadSegments, most, ONE_IN),
      };
      const figuresOf = (name: keyof OfBoth<unknown>): Map<number, Figures> => {
        const figures = (ofSyncs: readonly number[], bytes: number | undefined): Figures => ({
          rates: ofSyncs,
          bytesPerContext: (bytes ?? Number.NaN) / contexts,
        });
        const ofAlone = alone[name].flatMap((loaded) => loaded.rates);
        return new Map([
          [1, figures(ofAlone, alone[name].at(-1)?.bytes[0])],
          ...SEVERAL.map((segments): [number, Figures] => {
            const ofSyncs = rates[name].slice(segments - 1, segments - 1 + ROUNDS);
            return [segments, figures(ofSyncs, several[name].bytes[segments - 1])];
          }),
        ]);
      };
      onProgress(`${CROWDED_SEGMENTS} more segments for some of the contexts`);
      await empty();
      const crowd = { url, contexts, crowded: CROWDED / scale, segments: CROWDED_SEGMENTS };
      const { result: crowded } = await runSide(crowdedContexts, crowd);
      onProgress("replaced twice");
      await empty();
      const { result: againMs } = await runSide(secondReplace, { url, members: contexts });
      const grown = await measureGrowth(contexts, { ...server, firstReplace }, options);
      return report({
        peer: figuresOf("peer"),
        ours: figuresOf("ours"),
        againMs,
        crowd,
        crowded,
        grown,
        contexts,
        description,
      });
    });
  },
};

interface Findings extends OfBoth<ReadonlyMap<number, Figures>> {
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
  const row = (side: string, segments: number, { rates, bytesPerContext }: Figures) => [
    ...[side, segments, membersText(segments === 1 ? contexts : contexts / ONE_IN)],
    ...[Math.round(median(rates)), round(bytesPerContext), ""],
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
        atLeast(
          `rate with ${segmentsText(segments)} / peer`,
          segments === 1 ? 4 : 2,
          median(own.rates.map((rate, turn) => rate / (theirs.rates[turn] ?? Number.NaN))),
        ),
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
      TIME_OF_LOADING,
      `One segment holds all of ${membersText(contexts)} contexts. Of 10 and 100 segments each holds its own pseudo-random tenth of them; the rate is that of a sync with 9 and with 99 others there, and up to ${ROUNDS - 1} more. The sides take turns, the peer first, each in a process of its own, and where one server holds both layouts, each in a database of its own, as it would be on a server of its own; a rate is the median of ${ROUNDS} syncs, and the bound the median of the ${ROUNDS} ratios. These rates are of a segment's first sync. A later one also counts what it has in common with the present members; it has a row and no bound.`,
      `Bytes: used_memory after the sync less that before the first, divided by ${membersText(contexts)} contexts on both sides; the registry's records and the history are in ours. expectedContexts is set, and member sets have numbers of three bytes, as in an environment that has synced for a while.`,
      `${crowd.segments} segments more for ${membersText(crowd.crowded)} contexts: ${round(crowded.perCrowded)} bytes for each of these: numbers of sets, a record of its own, and its share of what the registry keeps of the segments. The others: ${round(crowded.before)} bytes before, ${round(crowded.beside)} beside them, in all that is not such a record of its own. If crowded contexts spoilt the compact form of the records that they share with others, both bounds would fail.`,
      growthNote(grown),
    ],
  };
}
