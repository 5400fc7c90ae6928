// How blocks are dealt out to scripts: nothing is lost or reordered, and no script gets more than its share.

import { type Block, CONTEXT_HASH_BYTES, type ContextHashes, type EnvironmentName, hashCount } from "@rollcall/core";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type BlockGroup, bufferOf, createPackingRooms, groupBlocks } from "./block-group.js";
import { createRecordKeys } from "./record-key.js";

/** What one script may do at most; other clients wait as long. */
const MOST_MEMBERS = 512;
const MOST_BLOCKS = 256;
/** And the first of a write. */
const MOST_FIRST_BLOCKS = 64;
const SHARD_BITS = 9;

// The longest names there are.
const keys = createRecordKeys("p".repeat(64), "e".repeat(64) as EnvironmentName);
const slots = fc.constantFrom(1, 4, 256);
const size = fc.oneof(
  { weight: 4, arbitrary: fc.integer({ min: 0, max: 20 }) },
  { weight: 1, arbitrary: fc.integer({ min: 240, max: 1_300 }) },
);
const window = fc
  .oneof(
    fc.array(fc.tuple(size, size), { maxLength: 100 }),
    // As a small delta has them: more blocks than two scripts do.
    fc.array(fc.tuple(fc.integer({ min: 0, max: 1 }), fc.integer({ min: 0, max: 1 })), {
      minLength: 400,
      maxLength: 512,
    }),
  )
  .map((sizes) => sizes.map(([adds, removes], shard) => blockOf(shard, adds, removes)))
  .map((blocks) => blocks.filter(({ adds, removes }) => adds.length + removes.length > 0));

describe("groups of blocks", () => {
  it("hold every change once and in order", () => {
    fc.assert(
      fc.property(window, slots, (blocks, count) => {
        const groups = [...groupsOf(blocks, keys.runOf(count, SHARD_BITS))];
        const pieces = groups.flatMap(blocksIn);
        for (const { shard, adds, removes } of blocks) {
          const own = pieces.filter((piece) => piece.shard === shard);
          expect(joined(own.map((piece) => piece.adds)).equals(adds)).toBe(true);
          expect(joined(own.map((piece) => piece.removes)).equals(removes)).toBe(true);
        }
        expect([...new Set(pieces.map(({ shard }) => shard))]).toEqual(blocks.map(({ shard }) => shard));
      }),
    );
  });

  it("stay within the limits of one script, and within one run", () => {
    fc.assert(
      fc.property(window, slots, (blocks, count) => {
        const groups = groupsOf(blocks, keys.runOf(count, SHARD_BITS));
        const [first] = groups;
        if (first !== undefined) expect(blocksIn(first).length).toBeLessThanOrEqual(MOST_FIRST_BLOCKS);
        for (const group of groups) {
          const pieces = blocksIn(group);
          const sizes = pieces.map(({ adds, removes }) => hashCount(adds) + hashCount(removes));
          expect(sizes.reduce((sum, members) => sum + members, 0)).toBeLessThanOrEqual(MOST_MEMBERS);
          expect(pieces.length).toBeLessThanOrEqual(MOST_BLOCKS);
          // HMGET of a script takes at least one field.
          expect(Math.min(...sizes)).toBeGreaterThan(0);
          for (const { shard } of pieces) expect(keys.runOf(count, SHARD_BITS)(shard)).toBe(group.run);
        }
        // And are no more than that makes needful: each is full, the last of its run, or does not fit beside the next.
        const members = blocks.reduce((sum, { adds, removes }) => sum + hashCount(adds) + hashCount(removes), 0);
        const runs = new Set(groups.map(({ run }) => run)).size;
        const most = 1 + runs + blocks.length / MOST_BLOCKS + members / (MOST_MEMBERS / 2);
        expect(groups.length).toBeLessThanOrEqual(most);
      }),
    );
  });

  it.each([
    ["a block of exactly as much as a script does", [[512, 0]], [[512]]],
    ["one more", [[513, 0]], [[256, 256], [1]]],
    ["adds and removes together", [[300, 300]], [[512], [88]]],
    [
      "a block that does not fit beside the one before",
      [
        [500, 0],
        [13, 0],
      ],
      [[500], [13]],
    ],
    [
      "blocks that just fit",
      [
        [500, 0],
        [6, 6],
      ],
      [[500, 12]],
    ],
    ["64 blocks", Array(64).fill([1, 0]), [Array(64).fill(1)]],
    ["65 blocks, for the first script is to leave soon", Array(65).fill([1, 0]), [Array(64).fill(1), [1]]],
    ["as many as two scripts do", Array(320).fill([1, 0]), [Array(64).fill(1), Array(256).fill(1)]],
    ["one more block", Array(321).fill([1, 0]), [Array(64).fill(1), Array(256).fill(1), [1]]],
    ["no block", [], []],
  ] as [string, [number, number][], number[][]][])("%s", (_, sizes, expected) => {
    const blocks = sizes.map(([adds, removes], shard) => blockOf(shard, adds, removes));
    const groups = [...groupsOf(blocks, keys.runOf(1, SHARD_BITS))];
    expect(
      groups.map((group) => blocksIn(group).map(({ adds, removes }) => hashCount(adds) + hashCount(removes))),
    ).toEqual(expected);
  });

  it.each([
    [
      "one run after the other",
      [0, 1, 510, 511],
      [
        [0, 1],
        [510, 511],
      ],
    ],
    ["and a run anew where blocks come in no order", [0, 511, 1, 510], [[0], [511], [1], [510]]],
  ])("hold %s", (_, shards, expected) => {
    const blocks = shards.map((shard) => blockOf(shard, 1, 0));
    const groups = [...groupsOf(blocks, keys.runOf(2, SHARD_BITS))];
    expect(groups.map((group) => blocksIn(group).map(({ shard }) => shard))).toEqual(expected);
    for (const group of groups)
      for (const { shard } of blocksIn(group)) expect(keys.runOf(2, SHARD_BITS)(shard)).toBe(group.run);
  });
});

describe("rooms", () => {
  it("are used again once given back, and never for two writes at once", () => {
    const { take, giveBack } = createPackingRooms();
    const [first, second] = [take([blockOf(0, 100, 0)]), take([blockOf(0, 100, 0)])];
    first.fill(1);
    second.fill(2);
    expect(first.every((byte) => byte === 1)).toBe(true);
    giveBack(first);
    expect(take([blockOf(0, 1, 0)])).toBe(first);
    expect(take([blockOf(0, 1, 0)])).not.toBe(first);
  });

  it("are not kept where a block of uncommon size needed them", () => {
    const { take, giveBack } = createPackingRooms();
    const large = take([blockOf(0, 40_000, 0)]);
    giveBack(large);
    expect(take([blockOf(0, 1, 0)])).not.toBe(large);
  });

  it("hold what needs more than the one given back", () => {
    const { take, giveBack } = createPackingRooms();
    giveBack(take([blockOf(0, 1, 0)]));
    const blocks = [blockOf(0, 1_000, 0)];
    const room = take(blocks);
    const groups = [...groupBlocks(blocks, keys.runOf(1, SHARD_BITS), room)];
    expect(groups.flatMap(blocksIn).reduce((sum, { adds }) => sum + hashCount(adds), 0)).toBe(1_000);
  });
});

describe("a group", () => {
  it("is refused where its room does not hold it", () => {
    const blocks = [blockOf(0, 10, 0)];
    const room = Buffer.alloc(10 * CONTEXT_HASH_BYTES);
    expect(() => [...groupBlocks(blocks, keys.runOf(1, SHARD_BITS), room)]).toThrow(RangeError);
  });
});

describe("a buffer of hashes", () => {
  it("is a view on the same bytes", () => {
    const hashes = hashesOf(1, 0, 4).subarray(CONTEXT_HASH_BYTES, 3 * CONTEXT_HASH_BYTES);
    const buffer = bufferOf(hashes);
    expect(buffer.equals(hashes)).toBe(true);
    hashes[0] = 99;
    expect(buffer[0]).toBe(99);
  });
});

const rooms = createPackingRooms();

/** The groups, made in a room that was used before. */
function groupsOf(blocks: readonly Block[], runOf: Parameters<typeof groupBlocks>[1]): BlockGroup[] {
  const room = rooms.take(blocks);
  const groups = Array.from(groupBlocks(blocks, runOf, room), ({ run, packed }) => ({
    run,
    packed: Buffer.from(packed),
  }));
  rooms.giveBack(room);
  return groups;
}

/** A block whose hashes tell where they belong and stand. */
function blockOf(shard: number, adds: number, removes: number): Block {
  return { shard, adds: hashesOf(shard, 0, adds), removes: hashesOf(shard, 1, removes) };
}

function hashesOf(shard: number, list: number, count: number): ContextHashes {
  const hashes = Buffer.alloc(count * CONTEXT_HASH_BYTES);
  for (let number = 0; number < count; number++) {
    hashes[number * CONTEXT_HASH_BYTES] = shard;
    hashes[number * CONTEXT_HASH_BYTES + 1] = list;
    hashes.writeUInt32BE(number, number * CONTEXT_HASH_BYTES + 4);
  }
  return new Uint8Array(hashes);
}

/** The blocks of a group, read as the script reads them. */
function blocksIn({ run, packed }: BlockGroup): Block[] {
  const blocks: Block[] = [];
  for (let at = 0; at < packed.length; ) {
    const hashes = at + 8 + packed.readUInt8(at);
    const removes = hashes + packed.readUInt16BE(at + 4) * CONTEXT_HASH_BYTES;
    const end = removes + packed.readUInt16BE(at + 6) * CONTEXT_HASH_BYTES;
    const name = packed.toString("latin1", at + 8, hashes);
    expect(name.startsWith(run.base)).toBe(true);
    const shard = Number(name.slice(run.base.length));
    expect(packed.readUIntBE(at + 1, 3)).toBe(shard - run.firstShard);
    blocks.push({ shard, adds: packed.subarray(hashes, removes), removes: packed.subarray(removes, end) });
    at = end;
  }
  return blocks;
}

function joined(pieces: readonly ContextHashes[]): Buffer {
  return Buffer.concat(pieces.map(bufferOf));
}
