// Which shards of a set may have a block, so that a scan and a drop need not ask for all that there could be: noted before the first
// block of a page is written, sixteen shards to a page, up to 1,024 pages to an item.

import { DeleteCommand, GetCommand, UpdateCommand } from "@aws-sdk/lib-dynamodb";
import type { MemberSet } from "@rollcall/core";
import type { Connection } from "./connection.js";
import { bigEndian, type ItemKey, numberIn } from "./item-key.js";
import { type Item, type Place, partition, queryAll } from "./registry.js";

const SHARDS_PER_PAGE = 16;
const PAGES_PER_ITEM = 1_024;
/** Items of which this handle remembers the pages. A page stays noted as long as its set is there. */
const MOST_REMEMBERED = 1_024;

/** The pages of all sets of an environment. */
export interface UsedPages {
  /** Makes sure that the pages of these shards are noted. Answers which shards are on pages that were not: these have no block, unless somebody is at it now. */
  note(set: MemberSet, shards: Iterable<number>): Promise<(shard: number) => boolean>;
  /** The shards of all pages that are noted, in order. */
  shardsOf(set: MemberSet): Promise<Iterable<number>>;
  /** Removes the notes of a set of which nothing is left. */
  forget(set: MemberSet): Promise<void>;
}

export function createUsedPages(connection: Connection, { table, keys }: Place): UsedPages {
  const { read, write } = connection;
  const base = { TableName: table, ReturnConsumedCapacity: "TOTAL" as const };
  const remembered = new Map<string, Promise<Set<number>>>();

  async function notedPages(Key: ItemKey): Promise<Set<number>> {
    const get = new GetCommand({ ...base, Key, ConsistentRead: true });
    return pagesIn((await read((client, call) => client.send(get, call))).Item);
  }

  /** Answers those of `pages` that were not noted before. */
  async function notePages(set: MemberSet, item: number, pages: ReadonlySet<number>): Promise<readonly number[]> {
    const name = `${set.id}/${item}`;
    const Key = keys.pages(set.id, item);
    // One reading for all windows that begin at once, and one set, which all of them see grow.
    let reading = remembered.get(name);
    if (reading === undefined) {
      if (remembered.size >= MOST_REMEMBERED) remembered.clear();
      reading = notedPages(Key);
      remembered.set(name, reading);
      reading.catch(() => remembered.delete(name));
    }
    const known = await reading;
    const missing = [...pages].filter((page) => !known.has(page));
    if (missing.length === 0) return [];
    const add = new UpdateCommand({
      ...base,
      Key,
      UpdateExpression: "ADD pages :pages",
      ExpressionAttributeValues: { ":pages": new Set(missing.map((page) => bigEndian(page, 2))) },
    });
    await write((client, call) => client.send(add, call));
    for (const page of missing) known.add(page);
    return missing;
  }

  const itemsOf = (set: MemberSet) => queryAll(connection, { ...base, ...partition(keys.pages(set.id, 0).p) });

  return {
    async note(set, shards) {
      const items = new Map<number, Set<number>>();
      for (const shard of shards) {
        const page = pageOf(shard);
        const item = Math.floor(page / PAGES_PER_ITEM);
        items.set(item, (items.get(item) ?? new Set()).add(page % PAGES_PER_ITEM));
      }
      const missing = new Set<number>();
      await Promise.all(
        Array.from(items, async ([item, pages]) => {
          for (const page of await notePages(set, item, pages)) missing.add(item * PAGES_PER_ITEM + page);
        }),
      );
      return (shard) => missing.has(pageOf(shard));
    },
    async shardsOf(set) {
      const items = await itemsOf(set);
      return shardsIn(items, 2 ** set.shardBits);
    },
    async forget(set) {
      for (const { p, s } of await itemsOf(set)) {
        const gone = new DeleteCommand({ ...base, Key: { p, s } });
        await write((client, call) => client.send(gone, call));
      }
    },
  };
}

function pageOf(shard: number): number {
  return Math.floor(shard / SHARDS_PER_PAGE);
}

function pagesIn(item: Item | undefined): Set<number> {
  return new Set(Array.from((item?.pages ?? []) as Iterable<Uint8Array>, numberIn));
}

function* shardsIn(items: readonly Item[], shards: number): Generator<number> {
  for (const item of items) {
    const before = numberIn(item.s as Uint8Array) * PAGES_PER_ITEM;
    for (const page of [...pagesIn(item)].sort((a, b) => a - b)) {
      const first = (before + page) * SHARDS_PER_PAGE;
      for (let shard = first; shard < Math.min(first + SHARDS_PER_PAGE, shards); shard++) yield shard;
    }
  }
}
