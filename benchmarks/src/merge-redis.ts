// merge-redis: small deltas into a large segment on Redis, against the same changes by pipelined SADD and SREM, and beside more and
// more other segments.

import { type SegmentShare, streamMembers } from "./audience.js";
import { atLeast, atMost, type Benchmark, membersText, round } from "./benchmark.js";
import { type BigSegments, openBigSegments } from "./big-segments-redis.js";
import { type KeyChange, shuffledPeople, toAndFro } from "./key-changes.js";
import { withRedis } from "./measured-redis.js";
import type { OpenEnvironment } from "./open-environment.js";
import { age, withRollcall } from "./rollcall-redis.js";
import { segmentKey, segmentsText } from "./segment-loading.js";
import { bigSegmentRef } from "./segments-redis.js";

const MEMBERS = 1_000_000;
/** How many segments there are when a figure is taken. The first is the one that is changed; each other one holds a tenth. */
const SEGMENTS = [1, 10, 100] as const;
const ONE_IN = 10;
const CHANGES = 1_000;
const SERIES = 15;
/** Deltas of a series, by their size; a series of each size is run to warm up. */
const DELTAS: readonly { readonly changes: number; readonly deltas: number }[] = [
  { changes: CHANGES, deltas: 40 },
  { changes: 1, deltas: 400 },
];

interface Target {
  readonly url: string;
  readonly members: number;
}

const SIDES = ["peer", "merge"] as const;
type SideName = (typeof SIDES)[number];

/** With so many segments: milliseconds for one delta of each side, the best of the series, in the order of {@link DELTAS}. */
type Costs = Record<number, Record<SideName, number>[]>;

/** What both sides are asked for. */
interface MergeSide {
  load(share: SegmentShare): Promise<void>;
  merge(changes: readonly KeyChange[]): Promise<void>;
}

async function merges({ url, members }: Target): Promise<Costs> {
  return withRollcall(url, { expectedContexts: members }, async (environment) => {
    await environment.rollcall.initialize();
    await age(environment);
    const peer = await openBigSegments(url);
    const costs = await measure({ peer: peerSideOf(peer, members), merge: sideOf(environment, members) }, members);
    peer.close();
    return costs;
  });
}

function sideOf({ rollcall }: OpenEnvironment, members: number): MergeSide {
  return {
    async load(share) {
      await rollcall.replace(segmentKey(share.number), { included: streamMembers(share, members) });
    },
    async merge(changes) {
      const { added, removed } = await rollcall.merge(segmentKey(0), { changes });
      if (added.value + removed.value !== changes.length)
        throw new Error(`${added.value} added, ${removed.value} removed`);
    },
  };
}

function peerSideOf(peer: BigSegments, members: number): MergeSide {
  return {
    load: (share) => peer.add(bigSegmentRef(share.number), streamMembers(share, members)),
    merge: (changes) => peer.apply(bigSegmentRef(0), changes),
  };
}

/** Both layouts lie on the server, and the series of the two sides take turns: what disturbs one disturbs the other. */
async function measure(sides: Record<SideName, MergeSide>, members: number): Promise<Costs> {
  const costs: Costs = {};
  const people: Record<SideName, Iterator<string>> = { peer: shuffledPeople(members), merge: shuffledPeople(members) };
  let loaded = 0;
  for (const segments of SEGMENTS) {
    for (; loaded < segments; loaded++)
      for (const name of SIDES) await sides[name].load({ number: loaded, oneIn: loaded === 0 ? 1 : ONE_IN });
    costs[segments] = [];
    for (const { changes, deltas } of DELTAS) {
      const best: Record<SideName, number> = { peer: Number.POSITIVE_INFINITY, merge: Number.POSITIVE_INFINITY };
      for (let series = 0; series <= SERIES; series++) {
        for (const name of SIDES) {
          const deltasToCome = Array.from(toAndFro(people[name], changes, deltas));
          const started = performance.now();
          for (const delta of deltasToCome) await sides[name].merge(delta);
          if (series > 0) best[name] = Math.min(best[name], (performance.now() - started) / deltas);
        }
      }
      costs[segments].push(best);
    }
  }
  return costs;
}

export const mergeRedisBenchmark: Benchmark = {
  name: "merge-redis",
  measures:
    "1,000 changes merged into a million members on Redis, against the same by pipelined SADD and SREM, beside up to 99 other segments.",
  sides: { merges },
  async run(options) {
    const { quick, runSide, onProgress } = options;
    const members = quick ? MEMBERS / 20 : MEMBERS;
    return withRedis(options, async ({ url, description, empty }) => {
      onProgress("both sides, in turn");
      await empty();
      const { result: costs } = await runSide(merges, { url, members });

      const cost = (side: SideName, segments: number, delta: number) => costs[segments]?.[delta]?.[side] ?? Number.NaN;
      const most = Math.max(...SEGMENTS);
      const row = (side: SideName, segments: number, delta: number) => {
        const ms = cost(side, segments, delta);
        const changes = DELTAS[delta]?.changes ?? 0;
        return [side, segments, changes, round(ms), Math.round(changes / (ms / 1_000))];
      };
      return {
        columns: ["side", "segments", "changes", "ms", "changes per second"],
        rows: DELTAS.flatMap((_, delta) =>
          SEGMENTS.flatMap((segments) => SIDES.map((side) => row(side, segments, delta))),
        ),
        bounds: [
          ...SEGMENTS.map((segments) =>
            atLeast(
              `rate of ${CHANGES.toLocaleString("en")} changes with ${segmentsText(segments)} / peer`,
              1,
              cost("peer", segments, 0) / cost("merge", segments, 0),
            ),
          ),
          ...DELTAS.map(({ changes }, delta) =>
            atMost(
              `a merge of ${changes.toLocaleString("en")} with ${segmentsText(most)} / with one`,
              1.3,
              cost("merge", most, delta) / cost("merge", 1, delta),
            ),
          ),
        ],
        notes: [
          `${description}. Both layouts lie on the same server.`,
          `The segment that is changed holds all of ${membersText(members)} contexts, each other one a pseudo-random tenth of them. A delta brings back half as many members as the one before removed, and removes as many others, from all over the segment; the count is checked.`,
          `A merge is timed from the call to its acknowledgement: hashing, the lease, the blocks and the finish. Nothing is taken together: one merge after the other. Peer: the same changes, SADD and SREM in one pipeline of ioredis, hashing included.`,
          `${DELTAS.map(({ changes, deltas }) => `${deltas} deltas of ${changes.toLocaleString("en")}`).join(", ")} are a series; the mean of the best of ${SERIES} series, after one to warm up. The series of the two sides take turns.`,
          "A single change on its own is not compared with the peer: it costs the peer one round trip without a lease, and a merge the three of a sync.",
        ],
      };
    });
  },
};
