// All benchmarks, in the order in which they are listed. Each is loaded by itself: a process that measures one is not to hold the others, with
// their databases' clients.

import type { Benchmark } from "./benchmark.js";

const loaders: Readonly<Record<string, () => Promise<Benchmark>>> = {
  hash: async () => (await import("./hash.js")).hashBenchmark,
  "read-lmdb": async () => (await import("./read-lmdb.js")).readLmdbBenchmark,
  "replace-lmdb": async () => (await import("./replace-lmdb.js")).replaceLmdbBenchmark,
  "merge-lmdb": async () => (await import("./merge-lmdb.js")).mergeLmdbBenchmark,
  "size-lmdb": async () => (await import("./size-lmdb.js")).sizeLmdbBenchmark,
  "read-redis": async () => (await import("./read-redis.js")).readRedisBenchmark,
  "replace-redis": async () => (await import("./replace-redis.js")).replaceRedisBenchmark,
  "merge-redis": async () => (await import("./merge-redis.js")).mergeRedisBenchmark,
  "latency-redis": async () => (await import("./latency-redis.js")).latencyRedisBenchmark,
  "read-postgres": async () => (await import("./read-postgres.js")).readPostgresBenchmark,
  "replace-postgres": async () => (await import("./replace-postgres.js")).replacePostgresBenchmark,
  "merge-postgres": async () => (await import("./merge-postgres.js")).mergePostgresBenchmark,
  "read-dynamodb": async () => (await import("./read-dynamodb.js")).readDynamoDbBenchmark,
  "replace-dynamodb": async () => (await import("./replace-dynamodb.js")).replaceDynamoDbBenchmark,
  "merge-dynamodb": async () => (await import("./merge-dynamodb.js")).mergeDynamoDbBenchmark,
  parse: async () => (await import("./parse.js")).parseBenchmark,
};

/** The benchmark called `name`. */
export async function loadBenchmark(name: string): Promise<Benchmark | undefined> {
  const benchmark = Object.hasOwn(loaders, name) ? await loaders[name]?.() : undefined;
  if (benchmark !== undefined && benchmark.name !== name)
    throw new Error(`${name} is listed, and is ${benchmark.name}`);
  return benchmark;
}

/** Every one. */
export async function loadAllBenchmarks(): Promise<Benchmark[]> {
  return Promise.all(Object.values(loaders).map((load) => load()));
}
