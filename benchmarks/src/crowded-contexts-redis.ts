// What contexts in very many segments cost on Redis, and that those beside them, in the same records, cost no more for it.

import type { Redis } from "ioredis";
import { keyOf, streamKeys } from "./audience.js";
import { connectTo, usedBytesOf } from "./measured-redis.js";
import { age, withRollcall } from "./rollcall-redis.js";

export interface Crowd {
  readonly url: string;
  /** Contexts in one segment. */
  readonly contexts: number;
  /** Of these, how many are in further segments, and in how many. */
  readonly crowded: number;
  readonly segments: number;
}

export interface CrowdedBytes {
  /** Bytes per context in one segment, before any is in more. */
  readonly before: number;
  /** The same while some are in many, without what is kept for these apart. */
  readonly beside: number;
  /** What all of it together costs more, for each context in many segments. */
  readonly perCrowded: number;
}

/** Measures on an empty server. */
export async function crowdedContexts({ url, contexts, crowded, segments }: Crowd): Promise<CrowdedBytes> {
  const observer = await connectTo(url);
  // All over the environment, so that as many records as can be have one of them.
  const step = Math.floor(contexts / crowded);
  const keys = Array.from({ length: crowded }, (_, i) => keyOf(i * step));
  const bytes = await withRollcall(url, { expectedContexts: contexts }, async (environment) => {
    const { rollcall } = environment;
    await rollcall.initialize();
    await age(environment);
    const empty = await usedBytesOf(observer);
    await rollcall.replace("everyone", { included: streamKeys(0, contexts).keys });
    const ordinary = await usedBytesOf(observer);
    for (let number = 0; number < segments; number++) await rollcall.replace(`crowd-${number}`, { included: keys });
    return { empty, ordinary, all: await usedBytesOf(observer) };
  });
  const apart = await bytesApart(observer);
  observer.disconnect();
  return {
    before: (bytes.ordinary - bytes.empty) / contexts,
    beside: (bytes.all - apart - bytes.empty) / contexts,
    perCrowded: (bytes.all - bytes.ordinary) / crowded,
  };
}

/** Bytes of the records in which the adapter keeps contexts apart that are in too many sets. */
async function bytesApart(client: Redis): Promise<number> {
  let bytes = 0;
  for await (const names of client.scanStream({ match: "rollcall:*:overflow", count: 1_000 })) {
    const pipeline = client.pipeline();
    for (const name of new Set<string>(names)) pipeline.call("memory", "usage", name);
    for (const [error, size] of (await pipeline.exec()) ?? []) {
      if (error !== null) throw error;
      bytes += Number(size);
    }
  }
  if (bytes === 0) throw new Error("no context is kept apart: this measures nothing");
  return bytes;
}
