// replace-dynamodb: snapshots into DynamoDB against one item for each context: write units, rate, how keys share.

import { atLeast, atMost, type Benchmark, membersText, round } from "./benchmark.js";
import { PEER_WRITE_UNITS } from "./context-items.js";
import { firstReplace } from "./growing-dynamodb.js";
import { growthBounds, growthNote, growthRows, measureGrowth } from "./growth.js";
import { withDynamoDb } from "./measured-dynamodb.js";
import { segmentsText, TIME_OF_LOADING } from "./segment-loading.js";
import { addContextItems, loadBlocks } from "./segments-dynamodb.js";

const CONTEXTS = 1_000_000;
/** How many segments there are when a figure is taken, and the most write units for a member. */
const FIGURES = [
  { segments: 1, oneIn: 1, most: 0.05 },
  { segments: 10, oneIn: 10, most: 0.2 },
  { segments: 100, oneIn: 10, most: 0.2 },
] as const;
/** Of the segments before a figure is taken, the last ones whose rates count. */
const LAST = 3;
/** Contexts that the peer is measured with: each of its transactions takes long enough. */
const PEER_CONTEXTS = 20_000;

export const replaceDynamoDbBenchmark: Benchmark = {
  name: "replace-dynamodb",
  measures:
    "A replace from a stream of keys into DynamoDB Local, against one item for each context: write units, rate.",
  sides: { addContextItems, loadBlocks, firstReplace },
  async run(options) {
    const { quick, runSide, onProgress } = options;
    const contexts = quick ? CONTEXTS / 64 : CONTEXTS;
    return withDynamoDb(options, async ({ endpoint: url, description }) => {
      onProgress("peer");
      const peer = await runSide(addContextItems, { url, contexts: PEER_CONTEXTS, segments: 1, oneIn: 1 });
      const figures = [];
      for (const { segments, oneIn, most } of FIGURES) {
        onProgress(segmentsText(segments));
        const { result, peakBytes } = await runSide(loadBlocks, { url, contexts, segments, oneIn });
        const { rates, unitsPerMember, ...keys } = result;
        const units = unitsPerMember.at(-1) ?? Number.NaN;
        figures.push({ segments, oneIn, most, units, rate: Math.max(...rates.slice(-LAST)), peakBytes, ...keys });
      }
      // Each run has an environment of its own.
      const grown = await measureGrowth(contexts, { url, empty: async () => {}, firstReplace }, options);
      return {
        columns: [
          "side",
          "segments",
          "members each",
          "write units per member",
          "members per second",
          "least and most of a key",
          "peak MB",
        ],
        rows: [
          [
            "peer",
            1,
            membersText(PEER_CONTEXTS),
            round(PEER_WRITE_UNITS),
            Math.round(peer.result),
            "1 key for all",
            "",
          ],
          ...figures.map(({ segments, oneIn, units, rate, partitionKeys, emptiestKey, fullestKey }) => [
            ...["replace", segments, membersText(contexts / oneIn), round(units), Math.round(rate)],
            `${partitionKeys} keys: ${round(emptiestKey)} to ${round(fullestKey)} of the mean`,
            "",
          ]),
          ...growthRows(grown).map(([name, segments, members, rate, , peak]) => [
            ...[`${name}, inserts stubbed`, segments, members, "", rate, "", peak].map((cell) => cell ?? ""),
          ]),
        ],
        bounds: [
          ...figures.map(({ segments, units, most }) =>
            atMost(`write units per member with ${segmentsText(segments)}`, most, units),
          ),
          ...figures.map(({ segments, rate }) =>
            atLeast(`rate with ${segmentsText(segments)} / peer`, 5, rate / peer.result),
          ),
          ...growthBounds(grown),
        ],
        notes: [
          `${description}.`,
          "Peer: transactions of 24 updates and a condition check, four at once, more of which would collide on the item that they check. Its write units are AWS's rule, 2 for each KB of each item of a transaction; its rate is that of a first segment, while no item has grown.",
          "Ours: for blocks a unit for each KB of the item, by AWS's rule, because DynamoDB Local tells nothing of statements; for records what it counted. The drop of the set that it replaces costs about as much again, later, and is in the cost model.",
          "Growth: a stub takes the inserts of blocks and says that all went well, for the server does not hold ten million members in a sensible time; all else went to the server.",
          TIME_OF_LOADING,
          growthNote(grown),
          "Members of a partition key as a multiple of the mean: they are random hashes, so they are as chance has them.",
        ],
      };
    });
  },
};
