// Loading segments on DynamoDB in either layout, and what that consumes.

import { randomUUID } from "node:crypto";
import { hashCount, type RollcallOptions, shardOf } from "@rollcall/core";
import { createDynamoDbStore } from "@rollcall/dynamodb";
import { openContextItems } from "./context-items.js";
import { clientAt } from "./measured-dynamodb.js";
import { type OpenEnvironment, withEnvironment } from "./open-environment.js";
import { type Load, loadEach, segmentKey } from "./segment-loading.js";

/** What loading took, segment by segment. */
export interface LoadedUnits {
  /** Members per second; making keys is not in it. */
  readonly rates: readonly number[];
  /** Write units for each member, registry and all. */
  readonly unitsPerMember: readonly number[];
  /** Of all partition keys of the last segment's shards: what the fullest has, as a multiple of the mean. */
  readonly fullestKey: number;
  /** The same of the one that has the least. */
  readonly emptiestKey: number;
  readonly partitionKeys: number;
  readonly environment: string;
}

/** Runs `work` on an environment at `endpoint`. */
export async function withDynamoDbEnvironment<T>(
  {
    endpoint,
    environment,
    lookups = "strong",
  }: {
    readonly endpoint: string;
    readonly environment: string;
    readonly lookups?: "strong" | "eventual";
  },
  options: RollcallOptions,
  work: (environment: OpenEnvironment) => Promise<T>,
): Promise<T> {
  const client = clientAt(endpoint);
  try {
    const store = createDynamoDbStore(client, { environment, lookups, createTable: true, timeoutMs: 60_000 });
    return await withEnvironment(store, options, work);
  } finally {
    client.destroy();
  }
}

/** Loads segments into an environment of its own by `replace`. */
export async function loadBlocks(load: Load): Promise<LoadedUnits> {
  const { url: endpoint, contexts } = load;
  const environment = randomUUID();
  return withDynamoDbEnvironment(
    { endpoint, environment },
    { expectedContexts: contexts },
    async ({ rollcall, store }) => {
      await rollcall.initialize();
      const unitsPerMember: number[] = [];
      const { rates } = await loadEach(
        load,
        async () => 0,
        async (number, stream) => {
          const { members, consumed } = await rollcall.replace(segmentKey(number), { included: stream.keys });
          if (members.included.value !== stream.count) throw new Error(`${members.included.value} members`);
          unitsPerMember.push((consumed?.writeUnits ?? Number.NaN) / stream.count);
        },
      );
      const set = (await rollcall.getSegment(segmentKey(load.segments - 1)))?.included.set;
      if (set === undefined) throw new Error("the last segment has no members");
      const perShard = new Uint32Array(2 ** set.shardBits);
      let total = 0;
      for await (const hashes of store.scanMembers(set)) {
        for (let index = 0; index < hashCount(hashes); index++) {
          const shard = shardOf(hashes, index, set.shardBits);
          perShard[shard] = (perShard[shard] ?? 0) + 1;
          total++;
        }
      }
      const mean = total / perShard.length;
      const [least, most] = [...perShard].reduce(
        ([low, high], count) => [Math.min(low, count), Math.max(high, count)],
        [total, 0] as [number, number],
      );
      return {
        rates,
        unitsPerMember,
        fullestKey: most / mean,
        emptiestKey: least / mean,
        partitionKeys: perShard.length,
        environment,
      };
    },
  );
}

/** Adds the members of one segment in the peer's layout: its rate, in members per second. */
export async function addContextItems(load: Load): Promise<number> {
  const peer = await openContextItems(load.url);
  const { rates } = await loadEach(
    load,
    async () => 0,
    (number, stream) => peer.add(number, stream.keys),
  );
  peer.close();
  return Math.max(...rates);
}
