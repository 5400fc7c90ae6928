// The names of all keys of one environment, and the hash tags that tie what one script touches to one slot of a Cluster.

import type { EnvironmentName, SegmentKey } from "@rollcall/core";
import keySlot from "cluster-key-slot";

/** Slots of a Redis Cluster (Redis Cluster specification, "Key distribution model"). */
const CLUSTER_SLOTS = 16_384;

/** Neighbouring shards that share a slot, and what they share in it. */
export interface Run {
  /** HASH: member set id to its fence. */
  readonly fences: string;
  /** Bitmap: which shards of this run may have members; bit 0 is the first. Each that has any must be in it, or no scan finds them. */
  readonly used: string;
  /** A key that is never there. */
  readonly absent: string;
  /** What the names of its shards start with. */
  readonly base: string;
  readonly firstShard: number;
}

/** Where one shard is. */
interface ShardKeys {
  readonly run: Run;
  /** HASH: the rest of a context hash to the ids of its sets. */
  readonly shard: string;
  /** HASH: the same for the contexts whose ids do not fit there. */
  readonly overflow: string;
}

/** The keys of one environment. */
export interface RecordKeys {
  /** HASH with the fields `layout`, `environment`, `epoch` and `lastSet`. */
  readonly registry: string;
  /** HASH: segment key to segment record. */
  readonly segments: string;
  /** HASH: member set id to the set and its fence, from allocation until its drop is complete. */
  readonly sets: string;
  /** LIST of sync reports, newest first. */
  history(segment: SegmentKey): string;
  /** The runs of the shards of `shardBits`, in an environment that was made with `slots` of them. */
  runs(slots: number, shardBits: number): readonly Run[];
  /** What finds the run of a shard of `shardBits`. */
  runOf(slots: number, shardBits: number): (shard: number) => Run;
  /** Where that shard is. */
  shardKeys(slots: number, shardBits: number, shard: number): ShardKeys;
}

/**
 * The keys of `environment` under `prefix`. Neither can hold `{` or `:`, so no name is the beginning of another. The registry is in
 * one slot; shards are dealt out to as many as the environment was made with, in runs of neighbours.
 */
export function createRecordKeys(prefix: string, environment: EnvironmentName): RecordKeys {
  const base = `${prefix}:${environment}`;
  const registry = `{${base}}`;
  /** By slots and size, as one number: every lookup asks. */
  const known = new Map<number, readonly Run[]>();

  function runs(slots: number, shardBits: number): readonly Run[] {
    const name = slots * 32 + shardBits;
    let found = known.get(name);
    if (found === undefined) {
      found = makeRuns(slots, shardBits);
      known.set(name, found);
    }
    return found;
  }

  function makeRuns(slots: number, shardBits: number): Run[] {
    const tags = slotTags(slots);
    const shards = 2 ** shardBits;
    const count = Math.min(slots, shards);
    return Array.from({ length: count }, (_, index) => {
      const place = `${base}:{${tags[(index * slots) / count]}}`;
      return {
        fences: `${place}:fences`,
        used: `${place}:${shardBits}:used`,
        absent: `${place}:absent`,
        base: `${place}:${shardBits}:`,
        firstShard: (index * shards) / count,
      };
    });
  }

  function runOf(slots: number, shardBits: number): (shard: number) => Run {
    const all = runs(slots, shardBits);
    const shardsPerRun = 2 ** shardBits / all.length;
    // Never out of range: a shard's number is below 2 to the power of shardBits.
    return (shard) => all[Math.floor(shard / shardsPerRun)] as Run;
  }

  return {
    registry: `${registry}:registry`,
    segments: `${registry}:segments`,
    sets: `${registry}:sets`,
    history: (segment) => `${registry}:history:${segment}`,
    runs,
    runOf,
    shardKeys(slots, shardBits, shard) {
      const run = runOf(slots, shardBits)(shard);
      const key = run.base + shard;
      return { run, shard: key, overflow: `${key}:overflow` };
    },
  };
}

/** A tag for each of `count` equal runs of the Cluster's slots, always the same ones. */
export function slotTags(count: number): readonly string[] {
  const tags: string[] = [];
  for (let number = 0, missing = count; missing > 0; number++) {
    const tag = number.toString(36);
    const run = Math.floor((keySlot(tag) * count) / CLUSTER_SLOTS);
    if (tags[run] !== undefined) continue;
    tags[run] = tag;
    missing--;
  }
  return tags;
}
