// Shard records against a plain model: a map from context to its sets.

import { CONTEXT_HASH_BYTES, type ContextHashes, hashAt, hashCount, shardOf } from "@rollcall/core";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createShardChanger } from "./shard-change.js";
import {
  collectWanted,
  contextsOf,
  findContext,
  listNumberAt,
  listsOf,
  membersOf,
  openRecord,
} from "./shard-record.js";

type Model = Map<string, Set<number>>;

const nothing = new Uint8Array();
const none: ReadonlySet<number> = new Set();
const shardBits = fc.integer({ min: 0, max: 24 });
// Few distinct bytes behind the shard, so that contexts meet again and differ late.
const tail = fc.uint8Array({ minLength: CONTEXT_HASH_BYTES, maxLength: CONTEXT_HASH_BYTES }).map((bytes) => {
  return bytes.map((byte, k) => (k === 5 || k === 15 ? byte % 4 : 0));
});
const id = fc.oneof(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 120, max: 20_000 }), fc.constant(0xffff_ffff));
const step = fc.record({
  id,
  members: fc.uniqueArray(fc.tuple(tail, fc.boolean()), { maxLength: 12, selector: ([hash]) => hex(hash) }),
  dropped: fc.uniqueArray(id, { maxLength: 2 }),
  keepEmpty: fc.boolean(),
});

describe("shard records", () => {
  it("hold what a plain map holds after any changes", () => {
    const shards = shardBits.chain((bits) => fc.tuple(fc.constant(bits), fc.integer({ min: 0, max: 2 ** bits - 1 })));
    fc.assert(
      fc.property(shards, fc.array(step, { maxLength: 12 }), ([bits, shard], steps) => {
        const changer = createShardChanger();
        const model: Model = new Map();
        let record: Uint8Array | undefined;
        for (const { id, members, dropped, keepEmpty } of steps) {
          const placed = members.map(([hash, isAdd]) => ({ hash: inShard(hash, shard, bits), isAdd }));
          const gone = new Set(dropped.filter((other) => other !== id));
          const expected = changeModel(model, id, placed, gone, keepEmpty);
          const adds = sorted(placed.filter(({ isAdd }) => isAdd).map(({ hash }) => hash));
          const removes = sorted(placed.filter(({ isAdd }) => !isAdd).map(({ hash }) => hash));
          // The buffer that LMDB reads into is longer than the record.
          const buffer = record === undefined ? undefined : Uint8Array.from([...record, 1, 2, 3]);
          const change = changer.apply(buffer, record?.length ?? 0, {
            shardBits: bits,
            id,
            adds,
            removes,
            dropped: gone,
            keepEmpty,
          });
          expect({ added: change.added, removed: change.removed }).toEqual(expected);
          if (change.changed) record = change.bytes.length === 0 ? undefined : change.bytes.slice();
          changer.recycle();
          expect(read(record, shard, bits)).toEqual(plain(model));
        }
      }),
    );
  });

  it("take over what a context is in elsewhere", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(tail, fc.uniqueArray(id), fc.boolean()), { maxLength: 20 }), id, (entries, set) => {
        const elsewhere: Model = new Map(entries.map(([hash, ids]) => [hex(hash), new Set(ids)]));
        const isAdd = new Map(entries.map(([hash, , add]) => [hex(hash), add]));
        const hashes = [...elsewhere.keys()].map((text) => Uint8Array.from(Buffer.from(text, "hex")));
        const change = createShardChanger().apply(undefined, 0, {
          shardBits: 0,
          id: set,
          adds: sorted(hashes.filter((hash) => isAdd.get(hex(hash)))),
          removes: sorted(hashes.filter((hash) => !isAdd.get(hex(hash)))),
          dropped: none,
          setsElsewhere: (changes, index) =>
            [...(elsewhere.get(hex(hashAt(changes, index))) ?? [])].sort((a, b) => a - b),
          keepEmpty: true,
        });
        // Only contexts that really change enter the record, each with all its sets.
        const model: Model = new Map();
        for (const [text, ids] of elsewhere) {
          if (ids.has(set) === isAdd.get(text)) continue;
          if (isAdd.get(text)) model.set(text, new Set([...ids, set]));
          else model.set(text, new Set([...ids].filter((other) => other !== set)));
        }
        expect(change.added + change.removed).toBe(model.size);
        expect(read(change.bytes.length === 0 ? undefined : change.bytes, 0, 0)).toEqual(plain(model));
      }),
    );
  });

  it("hold what was laid over them", () => {
    const entries = fc.uniqueArray(fc.tuple(tail, fc.uniqueArray(id, { maxLength: 4 })), {
      maxLength: 20,
      selector: ([hash]) => hex(hash),
    });
    fc.assert(
      fc.property(entries, entries, fc.uniqueArray(id, { maxLength: 2 }), (under, over, dropped) => {
        const changer = createShardChanger();
        const gone = new Set(dropped);
        const base = changer.overlay(undefined, 0, 8, overlayOf(under), none);
        const bytes = changer.overlay(base.length === 0 ? undefined : base, base.length, 8, overlayOf(over), gone);
        const model: Model = new Map();
        for (const [hash, ids] of under) model.set(hex(hash), new Set(ids.filter((id) => !gone.has(id))));
        for (const [hash, ids] of over) model.set(hex(hash), new Set(ids));
        for (const [text, ids] of model) if (ids.size === 0) model.delete(text);
        expect(read(bytes.length === 0 ? undefined : bytes, 0, 8)).toEqual(plain(model));
      }),
    );
  });

  it("count lists with more than one byte where there are many", () => {
    const changer = createShardChanger();
    let record: Uint8Array | undefined;
    const model: Model = new Map();
    for (let context = 0; context < 700; context++) {
      const hash = new Uint8Array(CONTEXT_HASH_BYTES);
      new DataView(hash.buffer).setUint32(8, context);
      const change = { shardBits: 0, id: 1_000 + context, adds: hash, removes: nothing, dropped: none };
      record = changer.apply(record, record?.length ?? 0, change).bytes;
      model.set(hex(hash), new Set([1_000 + context]));
    }
    expect(openRecord(record!, record!.length, 0).indexWidth).toBe(2);
    expect(read(record, 0, 0)).toEqual(plain(model));
  });

  it("are refused when they do not add up", () => {
    const changer = createShardChanger();
    const adds = Uint8Array.from({ length: 2 * CONTEXT_HASH_BYTES }, (_, k) => k);
    const { bytes } = changer.apply(undefined, 0, { shardBits: 0, id: 1, adds, removes: nothing, dropped: none });
    for (const broken of [
      bytes.slice(0, -1),
      Uint8Array.from([...bytes, 0]),
      Uint8Array.from([0xf0, ...bytes.slice(1)]),
    ])
      expect(() => openRecord(broken, broken.length, 0)).toThrow(expect.objectContaining({ code: "corrupt_data" }));
  });
});

function changeModel(
  model: Model,
  id: number,
  members: readonly { readonly hash: Uint8Array; readonly isAdd: boolean }[],
  dropped: ReadonlySet<number>,
  keepEmpty: boolean,
) {
  let [added, removed] = [0, 0];
  const before = plain(model);
  for (const { hash, isAdd } of members) {
    const ids = model.get(hex(hash)) ?? new Set<number>();
    if (isAdd && !ids.has(id)) added++;
    if (!isAdd && ids.has(id)) removed++;
    if (isAdd) model.set(hex(hash), ids.add(id));
    else ids.delete(id);
  }
  for (const ids of model.values()) for (const id of dropped) ids.delete(id);
  // What was empty before goes only where something is written at all.
  const isWritten = JSON.stringify(before) !== JSON.stringify(plain(model));
  if (isWritten && !keepEmpty) for (const [text, ids] of model) if (ids.size === 0) model.delete(text);
  return { added, removed };
}

/** Reads a record by every way of reading it, which must agree. */
function read(record: Uint8Array | undefined, shard: number, bits: number) {
  if (record === undefined) return [];
  const parts = openRecord(record, record.length, bits);
  const contexts = contextsOf(record, parts, shard, bits, () => true);
  const lists = listsOf(record, parts);
  const found: [string, number[]][] = [];
  for (let index = 0; index < hashCount(contexts); index++) {
    expect(shardOf(contexts, index, bits)).toBe(shard);
    expect(findContext(record, parts, contexts, index)).toBe(index);
    const ids = lists[listNumberAt(record, parts, index)]!;
    for (const id of ids) {
      const collected: number[] = [];
      collectWanted(record, parts, listNumberAt(record, parts, index), new Set([id]), collected);
      expect(collected).toEqual([id]);
      const members = membersOf(record, parts, shard, bits, id);
      expect(Array.from({ length: hashCount(members) }, (_, k) => hex(hashAt(members, k)))).toContain(
        hex(hashAt(contexts, index)),
      );
    }
    found.push([hex(hashAt(contexts, index)), ids]);
  }
  return found;
}

function plain(model: Model): [string, number[]][] {
  return [...model]
    .map(([text, ids]): [string, number[]] => [text, [...ids].sort((a, b) => a - b)])
    .sort(([a], [b]) => (a < b ? -1 : 1));
}

function overlayOf(entries: readonly (readonly [Uint8Array, readonly number[]])[]) {
  const byHash = new Map(entries.map(([hash, ids]) => [hex(hash), [...ids].sort((a, b) => a - b)]));
  const hashes = sorted(entries.map(([hash]) => hash));
  return { hashes, setsOf: (index: number) => byHash.get(hex(hashAt(hashes, index)))!, from: 0, to: entries.length };
}

function inShard(hash: Uint8Array, shard: number, bits: number): Uint8Array {
  const placed = hash.slice();
  const leading = shard << (24 - bits);
  for (let k = 0; k < 3; k++) placed[k] = leading >>> (16 - 8 * k);
  return placed;
}

function sorted(hashes: readonly Uint8Array[]): ContextHashes {
  return Uint8Array.from(Buffer.concat(hashes.toSorted((a, b) => Buffer.compare(a, b))));
}

function hex(hash: Uint8Array): string {
  return Buffer.from(hash).toString("hex");
}
