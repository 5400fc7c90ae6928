// merge-dynamodb: what changes of a segment consume on DynamoDB, beside other segments.

import { createRollcall, measureConsumption } from "@rollcall/core";
import { keyOf } from "./audience.js";
import { atMost, type Benchmark, membersText, round } from "./benchmark.js";
import { PEER_WRITE_UNITS } from "./context-items.js";
import { withDynamoDb } from "./measured-dynamodb.js";
import { segmentKey, segmentsText } from "./segment-loading.js";
import { loadBlocks, withDynamoDbEnvironment } from "./segments-dynamodb.js";

const CONTEXTS = 1_000_000 / 8;
const FIGURES = [
  { segments: 1, oneIn: 1 },
  { segments: 10, oneIn: 10 },
  { segments: 30, oneIn: 10 },
] as const;
const SINGLE_CHANGES = 200;
/** One sync of so many. */
const MANY = 1_000;

interface Changed {
  /** Write units of the items of members alone, for each of the single changes: the mean and the most. */
  readonly mean: number;
  readonly most: number;
  /** Write units of a whole merge of one change, lease and report too. */
  readonly merge: number;
  /** Write units for each change of a merge of many. */
  readonly ofMany: number;
}

async function changeSegments(input: {
  readonly url: string;
  readonly contexts: number;
  readonly segments: number;
  readonly oneIn: number;
}): Promise<Changed> {
  const { environment } = await loadBlocks(input);
  const { url: endpoint, contexts } = input;
  return withDynamoDbEnvironment(
    { endpoint, environment },
    { expectedContexts: contexts },
    async ({ rollcall, store }) => {
      const blocks: number[] = [];
      // The same store, counting what a write of members consumes beside the reading of the fence.
      const writeBlocks: typeof store.writeBlocks = (...args) =>
        measureConsumption(async (consumed) => {
          const changes = await store.writeBlocks(...args);
          blocks.push(consumed()?.writeUnits ?? 0);
          return changes;
        });
      const counting = createRollcall({ ...store, writeBlocks }, { expectedContexts: contexts });
      const merges: number[] = [];
      for (let change = 0; change < SINGLE_CHANGES; change++) {
        const key = keyOf(contexts + change);
        const { consumed } = await counting.merge(
          segmentKey(0),
          change % 2 === 0 ? { add: [key] } : { remove: [keyOf(change)] },
        );
        if (consumed !== undefined) merges.push(consumed.writeUnits);
      }
      await counting.close();
      const add = Array.from({ length: MANY }, (_, index) => keyOf(2 * contexts + index));
      const { consumed } = await rollcall.merge(segmentKey(0), { add });
      // The fence of the set is raised once for each merge.
      const alone = blocks.map((units) => units - 1);
      return {
        mean: sum(alone) / alone.length,
        most: Math.max(...alone),
        merge: sum(merges) / merges.length,
        ofMany: (consumed?.writeUnits ?? Number.NaN) / MANY,
      };
    },
  );
}

export const mergeDynamoDbBenchmark: Benchmark = {
  name: "merge-dynamodb",
  measures: "What single changes and a merge of 1,000 consume on DynamoDB Local, with 1, 10 and 30 segments.",
  sides: { changeSegments },
  async run(options) {
    const contexts = options.quick ? CONTEXTS / 8 : CONTEXTS;
    return withDynamoDb(options, async ({ endpoint: url, description }) => {
      const figures = [];
      for (const { segments, oneIn } of FIGURES) {
        options.onProgress(segmentsText(segments));
        const { result } = await options.runSide(changeSegments, { url, contexts, segments, oneIn });
        figures.push({ segments, oneIn, ...result });
      }
      return {
        columns: [
          "side",
          "segments",
          "members each",
          "single change: mean",
          "most",
          "with its records",
          "each of 1,000",
        ],
        rows: [
          ["peer", 1, "", round(PEER_WRITE_UNITS), "", "", round(PEER_WRITE_UNITS)],
          ...figures.map(({ segments, oneIn, mean, most, merge, ofMany }) => [
            ...["merge", segments, membersText(contexts / oneIn)],
            ...[round(mean), round(most), round(merge), round(ofMany)],
          ]),
        ],
        bounds: figures.map(({ segments, mean }) =>
          atMost(`write units of a single change with ${segmentsText(segments)}`, 1, mean),
        ),
        notes: [
          `${description}. Write units as it counts them; the peer's by AWS's rule.`,
          "A single change: the write of its block. With its records: lease, finish, epoch, fence and report, which a merge costs once however many changes it has, and which many small deltas share (group commit). DynamoDB Local counts transactions over more than 1 KB twice as high as AWS's rule (2 for each KB), so this column is above what AWS charges.",
        ],
      };
    });
  },
};

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
