// All benchmarks, in the order in which they are listed.

import type { Benchmark } from "./benchmark.js";
import { hashBenchmark } from "./hash.js";
import { mergeLmdbBenchmark } from "./merge-lmdb.js";
import { parseBenchmark } from "./parse.js";
import { readLmdbBenchmark } from "./read-lmdb.js";
import { replaceLmdbBenchmark } from "./replace-lmdb.js";
import { sizeLmdbBenchmark } from "./size-lmdb.js";

export const benchmarks: readonly Benchmark[] = [
  hashBenchmark,
  readLmdbBenchmark,
  replaceLmdbBenchmark,
  mergeLmdbBenchmark,
  sizeLmdbBenchmark,
  parseBenchmark,
];
