// All benchmarks, in the order in which they are listed.

import type { Benchmark } from "./benchmark.js";
import { hashBenchmark } from "./hash.js";
import { latencyRedisBenchmark } from "./latency-redis.js";
import { mergeDynamoDbBenchmark } from "./merge-dynamodb.js";
import { mergeLmdbBenchmark } from "./merge-lmdb.js";
import { mergePostgresBenchmark } from "./merge-postgres.js";
import { mergeRedisBenchmark } from "./merge-redis.js";
import { parseBenchmark } from "./parse.js";
import { readDynamoDbBenchmark } from "./read-dynamodb.js";
import { readLmdbBenchmark } from "./read-lmdb.js";
import { readPostgresBenchmark } from "./read-postgres.js";
import { readRedisBenchmark } from "./read-redis.js";
import { replaceDynamoDbBenchmark } from "./replace-dynamodb.js";
import { replaceLmdbBenchmark } from "./replace-lmdb.js";
import { replacePostgresBenchmark } from "./replace-postgres.js";
import { replaceRedisBenchmark } from "./replace-redis.js";
import { sizeLmdbBenchmark } from "./size-lmdb.js";

export const benchmarks: readonly Benchmark[] = [
  hashBenchmark,
  readLmdbBenchmark,
  replaceLmdbBenchmark,
  mergeLmdbBenchmark,
  sizeLmdbBenchmark,
  readRedisBenchmark,
  replaceRedisBenchmark,
  mergeRedisBenchmark,
  latencyRedisBenchmark,
  readPostgresBenchmark,
  replacePostgresBenchmark,
  mergePostgresBenchmark,
  readDynamoDbBenchmark,
  replaceDynamoDbBenchmark,
  mergeDynamoDbBenchmark,
  parseBenchmark,
];
