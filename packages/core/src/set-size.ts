// How large the environment and its sets are, and into how many shards a set is cut.

import type { Engine } from "./engine.js";

interface Estimate {
  known: Promise<number> | undefined;
  largestSeen: number;
}

// One estimate for each engine; it only grows, and a restart learns it again from the registry.
const estimates = new WeakMap<Engine, Estimate>();

/** The leading bits by which a set of `members` members is cut, as the adapter sees fit for this environment. */
export async function chooseShardBits(engine: Engine, members: number): Promise<number> {
  return engine.store.chooseShardBits({ members, contexts: await knownContexts(engine, members) });
}

/** The same of what is only planned, or an upper bound: nothing is remembered of it. */
export async function plannedShardBits(engine: Engine, members: number): Promise<number> {
  return engine.store.chooseShardBits({ members, contexts: Math.max(members, await knownContexts(engine, 0)) });
}

async function knownContexts(engine: Engine, members: number): Promise<number> {
  const estimate = estimates.get(engine) ?? { known: undefined, largestSeen: 0 };
  estimates.set(engine, estimate);
  estimate.largestSeen = Math.max(estimate.largestSeen, members);
  estimate.known ??= learnContexts(engine);
  try {
    return Math.max(estimate.largestSeen, await estimate.known);
  } catch (error) {
    estimate.known = undefined;
    throw error;
  }
}

async function learnContexts({ store, options, retrying }: Engine): Promise<number> {
  const [environment, segments] = await Promise.all([
    retrying(() => store.getEnvironment()),
    retrying(() => store.listSegments()),
  ]);
  const expected = Math.max(options.expectedContexts ?? 0, environment.expectedContexts ?? 0);
  const sizes = segments.map((segment) => Math.max(segment.included.count.value, segment.excluded.count.value));
  return sizes.reduce((largest, size) => Math.max(largest, size), expected);
}
