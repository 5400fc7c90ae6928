// read-dynamodb: what a lookup of one context consumes on DynamoDB, by how many segments are asked about.

import { contextHash, measureConsumption } from "@rollcall/core";
import { isIn, keyOf } from "./audience.js";
import { atMost, type Benchmark, membersText, round } from "./benchmark.js";
import { withDynamoDb } from "./measured-dynamodb.js";
import { segmentsText } from "./segment-loading.js";
import { loadBlocks, withDynamoDbEnvironment } from "./segments-dynamodb.js";

const CONTEXTS = 1_000_000;
const LOOKUPS = 1_000;
const FIGURES = [
  { segments: 1, oneIn: 1, eventual: 0.5, strong: 1 },
  { segments: 10, oneIn: 10, eventual: 0.5, strong: 1 },
  { segments: 100, oneIn: 10, eventual: 2, strong: undefined },
] as const;

interface Read {
  /** Read units for a lookup of one context: the mean and the most. */
  readonly mean: number;
  readonly most: number;
  readonly microseconds: number;
}

type Reads = Record<"eventual" | "strong", { readonly one: Read; readonly all: Read }>;

async function readSegments(input: {
  readonly url: string;
  readonly contexts: number;
  readonly segments: number;
  readonly oneIn: number;
}): Promise<Reads> {
  const { environment } = await loadBlocks(input);
  const { url: endpoint, contexts, segments, oneIn } = input;
  const readBy = (lookups: "eventual" | "strong") =>
    withDynamoDbEnvironment({ endpoint, environment, lookups }, {}, async ({ rollcall, store }) => {
      const listed = await rollcall.listSegments();
      const sets = listed.flatMap(({ included }) => included.set ?? []);
      const ofFirst = listed.find(({ key }) => key === "segment-0")?.included.set;
      if (ofFirst === undefined || sets.length !== segments) throw new Error("segments are missing");
      const read = async (among: typeof sets): Promise<Read> => {
        const units: number[] = [];
        const started = performance.now();
        for (let lookup = 0; lookup < LOOKUPS; lookup++) {
          const person = Math.floor(Math.random() * contexts);
          const hash = contextHash(keyOf(person)) ?? new Uint8Array();
          const consumed = await measureConsumption(async (sofar) => {
            const [found = []] = await store.findMemberSets(hash, among);
            if (found.includes(ofFirst.id) !== isIn({ number: 0, oneIn }, person)) throw new Error("a wrong answer");
            return sofar();
          });
          units.push(consumed?.readUnits ?? 0);
        }
        const ms = performance.now() - started;
        const total = units.reduce((sum, each) => sum + each, 0);
        return { mean: total / LOOKUPS, most: Math.max(...units), microseconds: (ms * 1_000) / LOOKUPS };
      };
      return { one: await read([ofFirst]), all: await read(sets) };
    });
  return { eventual: await readBy("eventual"), strong: await readBy("strong") };
}

export const readDynamoDbBenchmark: Benchmark = {
  name: "read-dynamodb",
  measures: "What a lookup of one context consumes on DynamoDB Local, of one segment and of all, with 1, 10 and 100.",
  sides: { readSegments },
  async run(options) {
    const contexts = options.quick ? CONTEXTS / 64 : CONTEXTS;
    return withDynamoDb(options, async ({ endpoint: url, description }) => {
      const figures = [];
      for (const figure of FIGURES) {
        options.onProgress(segmentsText(figure.segments));
        const { segments, oneIn } = figure;
        const { result } = await options.runSide(readSegments, { url, contexts, segments, oneIn });
        figures.push({ ...figure, result });
      }
      const ways = ["one", "all"] as const;
      const kinds = ["eventual", "strong"] as const;
      return {
        columns: ["segments", "members each", "asked about", "read", "read units: mean", "most", "µs"],
        rows: figures.flatMap(({ segments, oneIn, result }) =>
          ways.flatMap((way) =>
            kinds.map((kind) => {
              const { mean, most, microseconds } = result[kind][way];
              const asked = way === "all" ? segmentsText(segments) : segmentsText(1);
              return [
                segments,
                membersText(contexts / oneIn),
                asked,
                kind,
                round(mean),
                most,
                Math.round(microseconds),
              ];
            }),
          ),
        ),
        bounds: figures.flatMap(({ segments, eventual, strong, result }) => [
          ...(segments === 1 ? [] : [atMost(`eventual, 1 of ${segments} segments`, 0.5, result.eventual.one.mean)]),
          atMost(`eventual, all of ${segmentsText(segments)}`, eventual, result.eventual.all.mean),
          ...(strong === undefined
            ? []
            : [atMost(`strong, all of ${segmentsText(segments)}`, strong, result.strong.all.mean)]),
        ]),
        notes: [
          `${description}.`,
          "Each lookup by itself and past any cache, as a reader asks that has not seen the context for a while.",
        ],
      };
    });
  },
};
