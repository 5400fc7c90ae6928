// read-postgres: uncached lookups of a SegmentReader on PostgreSQL, against a SELECT of the rows of a context.

import { createSegmentReader } from "@rollcall/core";
import { atLeast, type Benchmark, membersText, round } from "./benchmark.js";
import { withPostgres } from "./measured-postgres.js";
import { openMembershipRows } from "./membership-rows.js";
import { type Load, segmentKey, segmentsText } from "./segment-loading.js";
import { loadRows, loadSegments, withRollcall } from "./segments-postgres.js";
import { BUSY, HOW_TIMED, quickest, type Times, timeLookups } from "./timed-lookups.js";
import { type TouchedBuffers, touchedBuffers } from "./touched-buffers.js";

const CONTEXTS = 1_000_000;
/** Alone a segment holds all contexts; of several each holds a tenth. With so many, at least so much of the peer's rate. */
const CASES = [
  { segments: 1, least: 1 },
  { segments: 10, least: 0.9 },
  { segments: 100, least: 0.5 },
] as const;
const ONE_IN = 10;
/** A lookup takes some hundred microseconds on either side. */
const SLICES_OF: ReadonlyMap<number, number> = new Map([
  [1, 100],
  [BUSY, 1_000],
]);

/** Ways to learn which segments a context is in. */
const WAYS = ["peer", "membership", "isMember"] as const;
type Way = (typeof WAYS)[number];

async function lookups({ url, contexts, oneIn }: Load): Promise<Times<Way>> {
  return withRollcall(url, {}, async ({ store }) => {
    const reader = createSegmentReader({ store, cacheSize: 0, onError: "throw" });
    const peer = await openMembershipRows(url);
    const segment = segmentKey(0);
    const times = await timeLookups<Way>(
      {
        peer: async (key) => (await peer.membership(key)).has(0),
        membership: async (key) => (await reader.membership({ kind: "user", key })).segments.get(segment) === true,
        isMember: async (key) => (await reader.isMember(segment, { kind: "user", key })).member,
      },
      { contexts, oneIn, slicesOf: SLICES_OF },
    );
    reader.close();
    await peer.close();
    return times;
  });
}

interface Found {
  readonly segments: number;
  readonly least: number;
  readonly times: Times<Way>;
  readonly buffers: TouchedBuffers;
}

export const readPostgresBenchmark: Benchmark = {
  name: "read-postgres",
  measures: "Uncached lookups of a reader on PostgreSQL, against a SELECT of the rows of a context.",
  sides: { loadRows, loadSegments, lookups, touchedBuffers },
  async run(options) {
    const { quick, runSide, onProgress } = options;
    const contexts = quick ? CONTEXTS / 20 : CONTEXTS;
    return withPostgres(options, async ({ url, description, empty }) => {
      const found: Found[] = [];
      for (const { segments, least } of CASES) {
        onProgress(`${segmentsText(segments)}: loading both layouts`);
        await empty();
        const load: Load = { url, contexts, segments, oneIn: segments === 1 ? 1 : ONE_IN };
        await runSide(loadRows, load);
        await runSide(loadSegments, load);
        onProgress(`${segmentsText(segments)}: looking up`);
        const times = await quickest(async () => (await runSide(lookups, load)).result);
        const { result: buffers } = await runSide(touchedBuffers, load);
        found.push({ segments, least, times, buffers });
      }
      const cases = found.flatMap(({ segments, least, times, buffers }) =>
        Array.from(SLICES_OF.keys(), (atOnce) => ({
          segments,
          least,
          atOnce,
          buffers,
          ns: times[atOnce] as Record<Way, number>,
        })),
      );
      return {
        columns: ["segments", "under way", "lookup", "µs per lookup", "per second", "times the peer's rate", "buffers"],
        rows: cases.flatMap(({ segments, atOnce, buffers, ns }) =>
          WAYS.map((way) => [
            ...[segments, atOnce, way, round(ns[way] / 1_000)],
            ...[Math.round(1e9 / ns[way]), round(ns.peer / ns[way])],
            way === "isMember" ? "" : round(buffers[way]),
          ]),
        ),
        bounds: cases
          .filter(({ atOnce }) => atOnce === BUSY)
          .map(({ segments, least, ns }) =>
            atLeast(`${segmentsText(segments)}, ${BUSY} under way: membership / peer`, least, ns.peer / ns.membership),
          ),
        notes: [
          `${description}. Both layouts lie on the same server, vacuumed and analysed, and every way is asked about the same contexts.`,
          "The bounds are for rates. One by one a lookup is mostly waiting and waking up, which depends on the machine more than on the side.",
          `One by one, and ${BUSY} under way: so many callers, each of which asks again when it has its answer. Each side has a pool of 10 connections. ${HOW_TIMED}.`,
          "Peer: SELECT segment WHERE context_hash = $1, by the primary key; one statement for each lookup.",
          "membership answers all segments of the context, as the peer's lookup does, and isMember one. cacheSize is 0.",
          "Buffers: of 8 KB, looked at by the statement of one lookup, as EXPLAIN (ANALYZE, BUFFERS) counts them; the mean of 200 lookups.",
          `${membersText(contexts)} contexts, drawn at random. One segment holds all of them, of several each a pseudo-random tenth.`,
        ],
      };
    });
  },
};
