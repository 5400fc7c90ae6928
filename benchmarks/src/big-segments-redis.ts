// The other side of the Redis benchmarks: the layout of LaunchDarkly's Relay Proxy and SDKs, one record for each context, by ioredis.

import { hash } from "node:crypto";
import type { ChainableCommander, Redis } from "ioredis";
import type { KeyChange } from "./key-changes.js";
import { connectTo } from "./measured-redis.js";

/** A store of that layout. */
export interface BigSegments {
  /** Adds all of `keys` to a segment. */
  add(segment: string, keys: AsyncIterable<readonly string[]>): Promise<void>;
  apply(segment: string, changes: readonly KeyChange[]): Promise<void>;
  /** The segments of a context, as an SDK reads them: excluded ones are `false`, included ones `true`. */
  membership(key: string): Promise<Record<string, boolean>>;
  close(): void;
}

/** How a {@link BigSegments} talks to the server. */
export interface BigSegmentsOptions {
  /** `together`: what is asked in one tick goes in one write, which the SDKs do not ask for. Default `one by one`. */
  readonly asking?: "one by one" | "together" | undefined;
}

const PREFIX = "launchdarkly";
const PIPELINE = 1_000;
// The next is put together while the server works on the one before. More were not faster.
const IN_FLIGHT = 2;

/** Connects to `url`. */
export async function openBigSegments(
  url: string,
  { asking = "one by one" }: BigSegmentsOptions = {},
): Promise<BigSegments> {
  const client = await connectTo(url, { enableAutoPipelining: asking === "together" });

  return {
    async add(segment, keys) {
      const pipelines = createPipelines(client);
      for await (const batch of keys) {
        for (const key of batch) {
          pipelines.open().sadd(recordOf("include", key), segment);
          if (pipelines.isFull()) await pipelines.send();
        }
      }
      await pipelines.end();
    },
    async apply(segment, changes) {
      const pipelines = createPipelines(client);
      for (const { member, change } of changes) {
        if (change === "add") pipelines.open().sadd(recordOf("include", member), segment);
        else pipelines.open().srem(recordOf("include", member), segment);
        if (pipelines.isFull()) await pipelines.send();
      }
      await pipelines.end();
    },
    async membership(key) {
      const included = await client.smembers(recordOf("include", key));
      const excluded = await client.smembers(recordOf("exclude", key));
      const membership: Record<string, boolean> = {};
      for (const segment of excluded) membership[segment] = false;
      for (const segment of included) membership[segment] = true;
      return membership;
    },
    close: () => client.disconnect(),
  };
}

// By the fastest way that Node has.
function recordOf(list: "include" | "exclude", key: string): string {
  return `${PREFIX}:big_segment_${list}:${hash("sha256", key, "base64")}`;
}

/** Commands in pipelines of {@link PIPELINE}, {@link IN_FLIGHT} of them on their way. */
function createPipelines(client: Redis) {
  const onTheirWay: Promise<void>[] = [];
  let pipeline = client.pipeline();

  function send(): void {
    if (pipeline.length > 0) onTheirWay.push(exec(pipeline));
    pipeline = client.pipeline();
  }

  return {
    open: () => pipeline,
    isFull: () => pipeline.length >= PIPELINE,
    async send() {
      send();
      if (onTheirWay.length >= IN_FLIGHT) await onTheirWay.shift();
    },
    async end() {
      send();
      await Promise.all(onTheirWay);
    },
  };
}

async function exec(pipeline: ChainableCommander): Promise<void> {
  const replies = (await pipeline.exec()) ?? [];
  for (const [error] of replies) if (error !== null) throw error;
}
