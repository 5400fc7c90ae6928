// size-lmdb: what a context costs on disk, in one set and in ten.

import { stat } from "node:fs/promises";
import { join } from "node:path";
import { createRollcall, openStore } from "@rollcall/core";
import { storeFactory } from "@rollcall/lmdb";
import { keyBatches, streamKeys } from "./audience.js";
import { atMost, type Benchmark, membersText, round } from "./benchmark.js";
import { withTemporaryFolder } from "./temporary-folder.js";

const CONTEXTS = 1_000_000;
const SEGMENTS = 10;

/** Bytes of the data file after each of ten segments: the first of all contexts, the others of a random 30 % each. */
async function sizes({ contexts }: { readonly contexts: number }): Promise<number[]> {
  return withTemporaryFolder(async (folder) => {
    const store = await openStore(`lmdb:${folder}`, { factories: [storeFactory] });
    const rollcall = createRollcall(store);
    const bytes: number[] = [];
    for (let segment = 0; segment < SEGMENTS; segment++) {
      const included = segment === 0 ? streamKeys(0, contexts).keys : someKeys(contexts);
      await rollcall.replace(`bench-${segment}`, { included });
      bytes.push((await stat(join(folder, "env-default", "data.mdb"))).size);
    }
    await rollcall.close();
    await store.close();
    return bytes;
  });
}

async function* someKeys(contexts: number): AsyncGenerator<string[]> {
  for (const batch of keyBatches(0, contexts)) yield batch.filter(() => Math.random() < 0.3);
}

export const sizeLmdbBenchmark: Benchmark = {
  name: "size-lmdb",
  measures: "bytes on disk for each context on LMDB, in one segment and in up to ten.",
  sides: { sizes },
  async run({ quick, runSide }) {
    const contexts = quick ? CONTEXTS / 20 : CONTEXTS;
    const { result } = await runSide(sizes, { contexts });
    const perContext = result.map((bytes) => bytes / contexts);
    return {
      columns: ["segments", "bytes per context"],
      rows: perContext.map((bytes, index) => [index + 1, round(bytes)]),
      bounds: [
        atMost("bytes per context in one segment", 24, perContext[0]),
        atMost("bytes per context in ten segments", 60, perContext.at(-1)),
      ],
      notes: [
        `${membersText(contexts)} contexts. The first segment holds all of them, each further one a random 30 % of its own.`,
        "The size of data.mdb, with its free pages and all records of the registry.",
      ],
    };
  },
};
