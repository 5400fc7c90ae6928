// The names of keys: no two things share one, what one script touches is in one slot, and slots are shared out evenly.

import { type EnvironmentName, environmentNameSchema, type SegmentKey } from "@rollcall/core";
import keySlot from "cluster-key-slot";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createRecordKeys, slotTags } from "./record-key.js";

const CLUSTER_SLOTS = 16_384;
const POWERS = Array.from({ length: 11 }, (_, power) => 2 ** power);

// Few letters, so that one name often begins with another.
const name = fc.stringMatching(/^[a.]{1,4}$/);
const base = fc.tuple(name, name);
const slotCount = fc.constantFrom(...POWERS);
const shardBits = fc.integer({ min: 0, max: 24 });
const place = fc
  .tuple(slotCount, shardBits)
  .chain(([slots, bits]) => fc.tuple(fc.constant(slots), fc.constant(bits), fc.nat(2 ** bits - 1)));

describe("the keys of two environments", () => {
  it("are never the same, nor begin with what all keys of the other begin with", () => {
    fc.assert(
      fc.property(base, base, place, (one, other, where) => {
        fc.pre(one.join(":") !== other.join(":"));
        const [prefix, environment] = one;
        const beginnings = [`{${prefix}:${environment}}:`, `${prefix}:${environment}:{`];
        for (const key of allKeys(...one, ...where)) expect(beginsWith(key, beginnings)).toBe(true);
        for (const key of allKeys(...other, ...where)) expect(beginsWith(key, beginnings)).toBe(false);
      }),
      {
        examples: [
          [
            ["rollcall", "prod"],
            ["rollcall", "prod.eu"],
            [256, 8, 3],
          ],
        ],
      },
    );
  });

  it("stay apart because no name holds what stands between names", () => {
    for (const separator of [":", "{", "}"])
      expect(environmentNameSchema.safeParse(`prod${separator}eu`).success).toBe(false);
  });
});

describe("the keys of one environment", () => {
  it.each([1, 4, 256, 1_024])("are all different with %i slots", (slots) => {
    const keys = keysOf("rollcall", "default");
    const all = new Set<string>();
    let count = 0;
    for (const bits of [0, 1, 7, 8, 11]) {
      for (const { used } of keys.runs(slots, bits)) {
        all.add(used);
        count += 1;
      }
      for (let shard = 0; shard < 2 ** bits; shard++) {
        const { shard: key, overflow } = keys.shardKeys(slots, bits, shard);
        all.add(key).add(overflow);
        count += 2;
      }
    }
    const fences = new Set(keys.runs(slots, 24).map((run) => run.fences));
    expect(fences.size).toBe(slots);
    const segments = ["fences", "used", "overflow", "registry"].map((segment) => keys.history(segment as SegmentKey));
    const rest = [keys.registry, keys.segments, keys.sets, ...segments, ...fences];
    for (const key of rest) all.add(key);
    expect(all.size).toBe(count + rest.length);
  });

  it("of one shard are in one slot of a Cluster, and it is the one of its run", () => {
    fc.assert(
      fc.property(base, place, ([prefix, environment], [slots, bits, shard]) => {
        const keys = keysOf(prefix, environment);
        const { run, shard: key, overflow } = keys.shardKeys(slots, bits, shard);
        const runs = keys.runs(slots, bits);
        const index = runs.indexOf(run);
        expect(index).toBeGreaterThanOrEqual(0);
        expect(run.firstShard).toBeLessThanOrEqual(shard);
        expect(runs[index + 1]?.firstShard ?? 2 ** bits).toBeGreaterThan(shard);
        expect(new Set([run.fences, run.used, key, overflow].map(keySlot)).size).toBe(1);
        // Shards in the order of their numbers lie in slots in their order.
        const [first, last] = [(index / runs.length) * CLUSTER_SLOTS, ((index + 1) / runs.length) * CLUSTER_SLOTS];
        expect(keySlot(key)).toBeGreaterThanOrEqual(Math.floor(first));
        expect(keySlot(key)).toBeLessThan(Math.ceil(last));
      }),
    );
  });

  it("of the registry are in one slot", () => {
    fc.assert(
      fc.property(base, name, ([prefix, environment], segment) => {
        const { registry, segments, sets, history } = keysOf(prefix, environment);
        expect(new Set([registry, segments, sets, history(segment as SegmentKey)].map(keySlot)).size).toBe(1);
      }),
    );
  });

  it("guard sets of any size by the same fences where they share a slot", () => {
    const keys = keysOf("rollcall", "default");
    for (const slots of POWERS) {
      const all = new Set(keys.runs(slots, 24).map(({ fences }) => fences));
      for (let bits = 0; bits <= 24; bits++) {
        const fences = keys.runs(slots, bits).map((run) => run.fences);
        expect(new Set(fences).size).toBe(Math.min(slots, 2 ** bits));
        expect(fences.filter((key) => !all.has(key))).toEqual([]);
      }
    }
  });
});

describe("slot tags", () => {
  it.each(POWERS)("%i of them lie one in each equal part of the Cluster's slots", (count) => {
    const tags = slotTags(count);
    const parts = Array.from(tags, (tag) => Math.floor(keySlot(tag) / (CLUSTER_SLOTS / count)));
    expect(parts).toEqual(Array.from({ length: count }, (_, part) => part));
    // What stands around a tag does not count.
    for (const tag of tags) expect(keySlot(`rollcall:production:{${tag}}:8:3:overflow`)).toBe(keySlot(tag));
  });

  it("never change: data is found by them", () => {
    expect(slotTags(1)).toEqual(["0"]);
    expect(slotTags(8)).toEqual(["3", "b", "2", "c", "1", "d", "0", "a"]);
  });

  it("are hashed as the Cluster specification says", () => {
    // The check value that the specification gives for CRC-16/XMODEM.
    expect(keySlot("123456789")).toBe(0x31c3);
  });
});

function keysOf(prefix: string, environment: string) {
  return createRecordKeys(prefix, environment as EnvironmentName);
}

function allKeys(prefix: string, environment: string, slots: number, bits: number, shard: number): string[] {
  const { registry, segments, sets, history, shardKeys } = keysOf(prefix, environment);
  const { run, shard: key, overflow } = shardKeys(slots, bits, shard);
  return [registry, segments, sets, history("people" as SegmentKey), run.fences, run.used, key, overflow];
}

function beginsWith(key: string, beginnings: readonly string[]): boolean {
  return beginnings.some((beginning) => key.startsWith(beginning));
}
