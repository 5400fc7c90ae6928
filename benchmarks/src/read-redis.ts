// read-redis: uncached lookups of a SegmentReader on Redis, against the two SMEMBERS by which an SDK reads a context.

import { createSegmentReader } from "@rollcall/core";
import { atLeast, type Benchmark, membersText, round } from "./benchmark.js";
import { openBigSegments } from "./big-segments-redis.js";
import { withRedis } from "./measured-redis.js";
import { withRollcall } from "./rollcall-redis.js";
import { type Load, segmentKey, segmentsText } from "./segment-loading.js";
import { bigSegmentRef, loadBigSegments, loadSegments } from "./segments-redis.js";
import { BUSY, HOW_TIMED, type Lookup, quickest, SLICES_OF, type Times, timeLookups } from "./timed-lookups.js";

const CONTEXTS = 1_000_000;
/** Alone a segment holds all contexts; of several each holds a tenth. */
const SEGMENTS = [1, 10, 100] as const;
const ONE_IN = 10;
/** Ways to learn which segments a context is in; the first two are the peer's. */
const WAYS = ["peer", "peer, together", "membership", "isMember"] as const;
type Way = (typeof WAYS)[number];

/** Looks the same contexts up in every way, slices in turn: what disturbs one disturbs the others. */
async function lookups({ url, contexts, oneIn }: Load): Promise<Times<Way>> {
  return withRollcall(url, {}, async ({ store }) => {
    const reader = createSegmentReader({ store, cacheSize: 0, onError: "throw" });
    const [plain, together] = await Promise.all([openBigSegments(url), openBigSegments(url, { asking: "together" })]);
    const [segment, ref] = [segmentKey(0), bigSegmentRef(0)];
    const ways: Record<Way, Lookup> = {
      peer: async (key) => (await plain.membership(key))[ref] === true,
      "peer, together": async (key) => (await together.membership(key))[ref] === true,
      membership: async (key) => (await reader.membership({ kind: "user", key })).segments.get(segment) === true,
      isMember: async (key) => (await reader.isMember(segment, { kind: "user", key })).member,
    };
    const times = await timeLookups(ways, { contexts, oneIn });
    reader.close();
    plain.close();
    together.close();
    return times;
  });
}

export const readRedisBenchmark: Benchmark = {
  name: "read-redis",
  measures: "Uncached lookups of a reader on Redis, against the two SMEMBERS by which an SDK reads a context.",
  sides: { loadBigSegments, loadSegments, lookups },
  async run(options) {
    const { quick, runSide, onProgress } = options;
    const contexts = quick ? CONTEXTS / 20 : CONTEXTS;
    return withRedis(options, async ({ url, description, empty }) => {
      const found: { readonly segments: number; readonly times: Times<Way> }[] = [];
      for (const segments of SEGMENTS) {
        onProgress(`${segmentsText(segments)}: loading both layouts`);
        await empty();
        const load: Load = { url, contexts, segments, oneIn: segments === 1 ? 1 : ONE_IN };
        await runSide(loadBigSegments, load);
        await runSide(loadSegments, load);
        onProgress(`${segmentsText(segments)}: looking up`);
        const times = await quickest(async () => (await runSide(lookups, load)).result);
        found.push({ segments, times });
      }
      const cases = found.flatMap(({ segments, times }) =>
        Array.from(SLICES_OF.keys(), (atOnce) => ({ segments, atOnce, ns: times[atOnce] as Record<Way, number> })),
      );
      return {
        columns: ["segments", "under way", "lookup", "µs per lookup", "lookups per second", "times the peer's rate"],
        rows: cases.flatMap(({ segments, atOnce, ns }) =>
          WAYS.map((way) => [
            ...[segments, atOnce, way, round(ns[way] / 1_000)],
            ...[Math.round(1e9 / ns[way]), round(ns.peer / ns[way])],
          ]),
        ),
        bounds: cases
          .filter(({ atOnce }) => atOnce === BUSY)
          .map(({ segments, ns }) =>
            atLeast(`${segmentsText(segments)}, ${BUSY} under way: membership / peer`, 1.7, ns.peer / ns.membership),
          ),
        notes: [
          `${description}. Both layouts lie on the same server, and every way is asked about the same contexts.`,
          "The bounds are for rates. One by one a lookup is mostly waiting and waking up, which depends on the machine more than on the side.",
          `One by one, and ${BUSY} under way: so many callers, each of which asks again when it has its answer. Each side uses one connection. ${HOW_TIMED}.`,
          `Peer: SMEMBERS of the included segments and then of the excluded ones, as the SDKs do, on ioredis as it is; which the bounds are against; "together" is the same with enableAutoPipelining, which the SDKs do not set and a user of theirs can.`,
          "membership answers all segments of the context, as the peer's lookup does, and isMember one. cacheSize is 0.",
          `${membersText(contexts)} contexts, drawn at random. One segment holds all of them, of several each a pseudo-random tenth.`,
        ],
      };
    });
  },
};
