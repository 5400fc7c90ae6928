// hash: a stream of keys to sorted, unique blocks, against only hashing the keys.

import { hash } from "node:crypto";
import { createMemoryStore, createRollcall, hashCount, type SegmentStore } from "@rollcall/core";
import { keyBatches } from "./audience.js";
import { atMost, type Benchmark, membersText, round } from "./benchmark.js";

const KEYS = 1_000_000;
const ROUNDS = 3;

/** The one-shot forms of Node that give the digest to JavaScript; which is the fastest differs from version to version. */
const ONE_SHOT_FORMS: Readonly<Record<string, (key: string) => unknown>> = {
  "hash(…, 'binary')": (key) => hash("sha256", key, "binary"),
  "hash(…, 'buffer')": (key) => hash("sha256", key, "buffer"),
  "hash(…, 'hex')": (key) => hash("sha256", key, "hex"),
};

interface Keys {
  readonly keys: number;
}

/** Milliseconds for only hashing the keys. */
async function onlyHash({ keys, form }: Keys & { readonly form: string }): Promise<number> {
  const digest = ONE_SHOT_FORMS[form];
  if (digest === undefined) throw new Error(`no form ${form}`);
  return warmThenTime(keys, async (batches) => {
    for await (const batch of stream(batches)) for (const key of batch) digest(key);
  });
}

/** Milliseconds for a `replace` into a store that takes blocks and keeps nothing. */
async function toBlocks({ keys }: Keys): Promise<number> {
  return warmThenTime(keys, async (batches, expected) => {
    const memory = createMemoryStore();
    await memory.open();
    let members = 0;
    const store: SegmentStore = {
      ...memory,
      async writeBlocks(_set, blocks) {
        const added = blocks.reduce((sum, { adds }) => sum + hashCount(adds), 0);
        members += added;
        return { added, removed: 0 };
      },
    };
    await createRollcall(store).replace("bench", { included: stream(batches) });
    if (members !== expected) throw new Error(`${members} members reached the store, not ${expected}`);
  });
}

/** A fifth of the keys first, so that neither side is timed before its code is compiled. */
async function warmThenTime(
  keys: number,
  work: (batches: readonly string[][], keys: number) => Promise<void>,
): Promise<number> {
  await work([...keyBatches(0, keys / 5)], keys / 5);
  const batches = [...keyBatches(0, keys)];
  const started = performance.now();
  await work(batches, keys);
  return performance.now() - started;
}

async function* stream(batches: readonly string[][]): AsyncGenerator<string[]> {
  yield* batches;
}

export const hashBenchmark: Benchmark = {
  name: "hash",
  measures:
    "A stream of keys to sorted, unique blocks, against only hashing those keys with Node's fastest one-shot hash.",
  sides: { onlyHash, toBlocks },
  async run({ quick, runSide, onProgress }) {
    const keys = quick ? KEYS / 10 : KEYS;
    const best: Record<string, number> = {};
    let blocksMs = Number.POSITIVE_INFINITY;
    for (let round = 1; round <= ROUNDS; round++) {
      onProgress(`round ${round} of ${ROUNDS}`);
      for (const form of Object.keys(ONE_SHOT_FORMS)) {
        const { result } = await runSide(onlyHash, { keys, form });
        best[form] = Math.min(best[form] ?? result, result);
      }
      blocksMs = Math.min(blocksMs, (await runSide(toBlocks, { keys })).result);
    }
    const fastest = Math.min(...Object.values(best));
    const row = (name: string, ms: number) => [
      name,
      membersText(keys),
      round(ms),
      round((ms * 1e6) / keys),
      round(ms / fastest),
    ];
    return {
      columns: ["side", "keys", "ms", "ns per key", "times only hashing"],
      rows: [
        ...Object.entries(best).map(([name, ms]) => row(`only ${name}`, ms)),
        row("sorted, unique blocks", blocksMs),
      ],
      bounds: [atMost("sorted, unique blocks / only hashing", 2.5, blocksMs / fastest)],
      notes: [
        `Best of ${ROUNDS} runs, each in a process of its own, after a fifth of the keys to warm up. Making the keys is in neither time.`,
        "Blocks are counted when a whole replace has handed them to a store that keeps nothing.",
      ],
    };
  },
};
