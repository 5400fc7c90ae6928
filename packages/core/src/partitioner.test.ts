// The partitioner: order, last words and memory, held against plain maps; and what it leaves on disk.

import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createHashWriter } from "./context-hash.js";
import {
  CONTEXT_HASH_BYTES,
  type ContextHashes,
  compareHashes,
  concatHashes,
  hashAt,
  hashCount,
} from "./context-hashes.js";
import { createPartitioner, type Partitioner } from "./partitioner.js";
import { ADD, REMOVE } from "./sorter.js";

const write = createHashWriter("key", undefined);

async function collect(partitioner: Partitioner) {
  const result = { adds: [] as string[], removes: [] as string[], records: 0 };
  for await (const chunk of partitioner.chunks()) {
    for (const list of ["adds", "removes"] as const) {
      for (let i = 0; i < hashCount(chunk[list]); i++)
        result[list].push(Buffer.from(hashAt(chunk[list], i)).toString("hex"));
    }
    result.records += chunk.records;
  }
  return result;
}

function hashOf(key: string): string {
  const target = Buffer.alloc(CONTEXT_HASH_BYTES);
  write(key, target, 0);
  return target.toString("hex");
}

/** What the partitioner must yield: the last word on each key, in order of hash. */
function model(entries: readonly (readonly [string, number])[]) {
  const last = new Map(entries.map(([key, change]) => [hashOf(key), change]));
  const of = (change: number) =>
    [...last]
      .filter(([, value]) => value === change)
      .map(([hash]) => hash)
      .sort();
  return { adds: of(ADD), removes: of(REMOVE), records: entries.length };
}

async function append(partitioner: Partitioner, entries: Iterable<readonly [string, number]>): Promise<void> {
  for (const [key, change] of entries) {
    // Not by `expect`, which costs more than what is tested.
    if (partitioner.append(key, write, change) !== undefined) throw new Error(`refused ${key}`);
    if (partitioner.overLimit) await partitioner.spill();
  }
}

describe("partitioner", () => {
  test("yields the last word on each key in order of hash", async () => {
    const entry = fc.tuple(
      fc.integer({ min: 0, max: 200 }).map((n) => `k${n}`),
      fc.constantFrom(ADD, REMOVE),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(entry, { maxLength: 1_000 }), async (entries) => {
        const partitioner = createPartitioner();
        await append(partitioner, entries);
        expect(partitioner.count).toBe(entries.length);
        expect(await collect(partitioner)).toEqual(model(entries));
      }),
    );
  });

  test.each([
    ["in memory", undefined, false, 0],
    ["spilled", 1, true, 0],
    ["spilled, the rest too", 1, true, 1],
    ["spilled, and again with nothing left", 1, true, 2],
  ])("keeps order over many runs, %s", async (_name, memoryLimitBytes, spilled, lastSpills) => {
    const tempDir = await mkdtemp(join(tmpdir(), "partitioner-test-"));
    const entries = Array.from(
      { length: 300_000 },
      (_, i) => [`k${(i * 7919) % 190_000}`, i % 3 === 0 ? REMOVE : ADD] as const,
    );
    const partitioner = createPartitioner({ memoryLimitBytes, tempDir });
    await append(partitioner, entries);
    expect(partitioner.spilled).toBe(spilled);
    for (let time = 0; time < lastSpills; time++) await partitioner.spill();
    const { adds, removes, records } = await collect(partitioner);
    const expected = model(entries);
    expect(records).toBe(expected.records);
    // As one string: a deep comparison of so many takes minutes.
    expect(adds.join() === expected.adds.join()).toBe(true);
    expect(removes.join() === expected.removes.join()).toBe(true);
    await partitioner.dispose();
    expect(await readdir(tempDir)).toEqual([]);
    await rm(tempDir, { recursive: true });
  });

  test("has no name on disk while it is spilled, so that a killed process leaves nothing", async () => {
    const tempDir = await mkdtemp(join(tmpdir(), "partitioner-test-"));
    const partitioner = createPartitioner({ memoryLimitBytes: 1, tempDir });
    await append(
      partitioner,
      Array.from({ length: 70_000 }, (_, i) => [`k${i}`, ADD] as const),
    );
    expect(partitioner.spilled).toBe(true);
    if (process.platform !== "win32") expect(await readdir(tempDir)).toEqual([]);
    await partitioner.dispose();
    await rm(tempDir, { recursive: true });
  });

  // 60,000 records wait for one sort, in many slices; once spilled only the partition of the key named often has several.
  test.each([
    ["in memory", 0],
    ["spilled", 300_000],
  ])("keeps the last word on a key also where its records lie in two slices, %s", async (_, more) => {
    const entries: [string, number][] = [];
    for (let i = 0; i < 50_000; i++) entries.push([`k${(i * 7919) % 12_289}`, i % 3 === 0 ? REMOVE : ADD]);
    // Of more than a slice has, so that one holds nothing else.
    for (let i = 0; i < 10_000; i++) entries.push(["often", i === 9_999 ? REMOVE : ADD]);
    for (let i = 0; i < more; i++) entries.push([`once-${i}`, ADD]);
    const partitioner = createPartitioner({ memoryLimitBytes: 4_000_000 });
    await append(partitioner, entries);
    expect(partitioner.spilled).toBe(more > 0);
    expect(await collect(partitioner)).toEqual(model(entries));
    await partitioner.dispose();
  });

  test("sorts digests that were made to collide in their first bytes", async () => {
    const partitioner = createPartitioner();
    const hashes = Array.from({ length: 70_000 }, (_, i) => {
      const hash = Buffer.alloc(CONTEXT_HASH_BYTES, 7);
      hash.writeUInt32BE((i * 7919) % 65_000, CONTEXT_HASH_BYTES - 4);
      return hash;
    });
    partitioner.appendHashes(Buffer.concat(hashes), ADD);
    const chunks: ContextHashes[] = [];
    for await (const { adds } of partitioner.chunks()) chunks.push(adds);
    expect(chunks.length).toBeGreaterThan(1);
    const sorted = concatHashes(chunks);
    expect(hashCount(sorted)).toBe(65_000);
    for (let i = 1; i < hashCount(sorted); i++)
      if (compareHashes(sorted, i - 1, sorted, i) >= 0) throw new Error(`unsorted at ${i}`);
  });

  test("says which folder cannot take temporary files", async () => {
    const partitioner = createPartitioner({ memoryLimitBytes: 1, tempDir: "/nonexistent-folder" });
    const entries = Array.from({ length: 70_000 }, (_, i) => [`k${i}`, ADD] as const);
    await expect(append(partitioner, entries)).rejects.toMatchObject({ code: "invalid_request" });
  });
});
