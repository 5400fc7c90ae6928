// How sorted changes are cut into blocks and windows: what an adapter may rely on, however the changes come.

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { CONTEXT_HASH_BYTES, type ContextHashes, hashAt, hashCount, shardOf } from "./context-hashes.js";
import { createEngine } from "./engine.js";
import type { HeldLease } from "./lease.js";
import { createMemoryStore } from "./memory-store.js";
import type { SegmentKey } from "./names.js";
import type { MemberSet } from "./segment.js";
import { writeMembers } from "./set-writer.js";
import type { SortedChanges } from "./sorter.js";
import type { Block, Fence, SegmentStore, StoreCapabilities } from "./store.js";

type Window = StoreCapabilities["window"];

const fence: Fence = { segmentKey: "audience" as SegmentKey, generation: 1, holder: "writer", token: 1 };

/** A store in memory that tells of each write what it is asked for, before it does it. */
async function watchedStore(shardBits: number, window: Window, onWrite: (blocks: readonly Block[]) => void) {
  const memory = createMemoryStore();
  await memory.open();
  const set = await memory.allocateMemberSet(shardBits, fence);
  const store: SegmentStore = {
    ...memory,
    capabilities: { ...memory.capabilities, window },
    writeBlocks(written, blocks, by) {
      onWrite(blocks);
      return memory.writeBlocks(written, blocks, by);
    },
  };
  return { store, set };
}

function write(store: SegmentStore, set: MemberSet, chunks: AsyncIterable<SortedChanges>) {
  const lease = { fence, signal: new AbortController().signal } as HeldLease;
  return writeMembers(createEngine(store, {}), lease, set, chunks);
}

interface Change {
  readonly hash: string;
  readonly isAdd: boolean;
}

/** As the sorter yields them, cut at any record. */
function chunkOf(changes: readonly Change[]): SortedChanges {
  const packed = (isAdd: boolean) =>
    new Uint8Array(
      Buffer.from(changes.flatMap((change) => (change.isAdd === isAdd ? change.hash : [])).join(""), "hex"),
    );
  return { adds: packed(true), removes: packed(false), records: changes.length };
}

function hexes(hashes: ContextHashes): string[] {
  return Array.from({ length: hashCount(hashes) }, (_, index) => Buffer.from(hashAt(hashes, index)).toString("hex"));
}

// Few values of each byte, so that shards of every size hold one hash, several, and many.
const byte = fc.constantFrom(0x00, 0x01, 0x7f, 0x80, 0xff);
const hash = fc
  .array(byte, { minLength: CONTEXT_HASH_BYTES, maxLength: CONTEXT_HASH_BYTES })
  .map((bytes) => Buffer.from(bytes).toString("hex"));
const changes = fc
  .uniqueArray(fc.record({ hash, isAdd: fc.boolean() }), { selector: (change) => change.hash, maxLength: 60 })
  .map((all) => all.toSorted((a, b) => (a.hash < b.hash ? -1 : 1)));
const cuts = fc.array(fc.integer({ min: 0, max: 12 }), { maxLength: 30 });
const limits = fc.record({
  maxMembers: fc.integer({ min: 1, max: 20 }),
  maxBlocks: fc.integer({ min: 1, max: 6 }),
  concurrency: fc.integer({ min: 1, max: 3 }),
});

describe("blocks", () => {
  it("hold every change once, each shard in one of them, in order, whatever chunks the changes come in", async () => {
    const property = fc.asyncProperty(
      changes,
      cuts,
      limits,
      fc.constantFrom(0, 1, 9, 24),
      async (all, sizes, window, shardBits) => {
        const written: Block[][] = [];
        const { store, set } = await watchedStore(shardBits, window, (blocks) => written.push([...blocks]));
        const chunks: SortedChanges[] = [];
        let at = 0;
        for (const size of [...sizes, all.length]) {
          chunks.push(chunkOf(all.slice(at, at + size)));
          at += size;
        }
        async function* stream() {
          yield* chunks;
        }
        await write(store, set, stream());

        const blocks = written.flat();
        const shards = blocks.map(({ shard }) => shard);
        expect(shards).toEqual([...new Set(shards)].toSorted((a, b) => a - b));
        for (const { shard, adds, removes } of blocks)
          for (const list of [adds, removes])
            for (let index = 0; index < hashCount(list); index++) expect(shardOf(list, index, shardBits)).toBe(shard);
        const listed = (isAdd: boolean) => all.filter((change) => change.isAdd === isAdd).map((change) => change.hash);
        expect(blocks.flatMap(({ adds }) => hexes(adds))).toEqual(listed(true));
        expect(blocks.flatMap(({ removes }) => hexes(removes))).toEqual(listed(false));
        for (const ofOne of written) {
          const members = ofOne.reduce((sum, { adds, removes }) => sum + hashCount(adds) + hashCount(removes), 0);
          expect(ofOne.length).toBeGreaterThan(0);
          expect(ofOne.length).toBeLessThanOrEqual(window.maxBlocks);
          if (ofOne.length > 1) expect(members).toBeLessThanOrEqual(window.maxMembers);
        }
      },
    );
    await fc.assert(property, { numRuns: 500 });
  });

  it("leave in the first window before the next changes are asked for", async () => {
    const events: string[] = [];
    const window = { maxMembers: 100, maxBlocks: 2, concurrency: 2 };
    const { store, set } = await watchedStore(8, window, (blocks) => {
      events.push(`write ${blocks.map(({ shard }) => shard)}`);
    });
    async function* stream() {
      for (const shards of [
        [1, 2, 3, 4],
        [5, 6],
      ]) {
        events.push(`chunk ${shards}`);
        const hashOf = (shard: number) =>
          shard
            .toString(16)
            .padStart(2, "0")
            .padEnd(2 * CONTEXT_HASH_BYTES, "0");
        yield chunkOf(shards.map((shard) => ({ hash: hashOf(shard), isAdd: true })));
      }
    }
    const { added } = await write(store, set, stream());
    expect(added).toBe(6);
    expect(events).toEqual(["chunk 1,2,3,4", "write 1,2", "chunk 5,6", "write 3,4", "write 5,6"]);
  });
});
