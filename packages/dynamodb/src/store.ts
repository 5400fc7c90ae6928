// The store on DynamoDB: one item for each block of a member set, changed by one conditional write. The layout is in item-key.ts.
// Some 430 lines: DynamoDB keeps no record of what a set consists of, charges for each reading, and lets late writes in; so fences, the
// shards in use, and sets that are dropped in steps and forgotten later are all here.

import type { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import {
  BatchGetCommand,
  type BatchGetCommandInput,
  BatchWriteCommand,
  type BatchWriteCommandInput,
  DeleteCommand,
  GetCommand,
  PutCommand,
  UpdateCommand,
  type UpdateCommandInput,
} from "@aws-sdk/lib-dynamodb";
import {
  type Block,
  type ContextHashes,
  type EnvironmentName,
  environmentNameSchema,
  type Fence,
  type HandleState,
  hashCount,
  type MemberSet,
  type MemberSetId,
  missingRecord,
  opening,
  parseName,
  refusedByFence,
  requireFence,
  type SegmentKey,
  type SegmentStore,
  STORE_PORT_VERSION,
  type StoreCapabilities,
  type StoredMemberSet,
} from "@rollcall/core";
import { chunksOf, forEach, KEYS_PER_READ, KEYS_PER_WRITE } from "./batch.js";
import { insertBlocks, MOST_INSERTED } from "./block-inserts.js";
import { clientFor, requireSingleAttempts } from "./client.js";
import { createConnection, MOST_REQUESTS, whileOpen } from "./connection.js";
import { estimateSync } from "./cost.js";
import {
  chooseShardBits,
  fenceMark,
  type ItemKey,
  itemKeys,
  numberIn,
  restored,
  setSortKey,
  shardIn,
  shortened,
} from "./item-key.js";
import { filterOf, type ShardQuestion, shardQuestions } from "./member-lookup.js";
import { isConditionFailure, isTableMissing } from "./native-error.js";
import { causeOf, createRegistry, type Item, partition, queryAll } from "./registry.js";
import { type DynamoDbStoreOptions, settingsOf } from "./store-options.js";
import { parseStoreUrl } from "./store-url.js";
import { createTable, openEnvironment } from "./table.js";
import { createUsedPages } from "./used-pages.js";

const CAPABILITIES: StoreCapabilities = {
  portVersion: STORE_PORT_VERSION,
  fencing: "block",
  window: { maxMembers: 8_192, maxBlocks: 256, concurrency: 4 },
  maxLookup: 1_024,
  countsConsumption: true,
};

/** Batches that a scan or a drop has under way at once. */
const BATCHES_AT_ONCE = 8;
/** How long a request may be under way: AWS takes a signature for minutes. Then some. */
const LATE_WRITES_MS = 3_600_000;

/**
 * A store in a table of DynamoDB: by `client`, a `DynamoDBClient` of the AWS SDK that was made with `maxAttempts: 1` and stays the caller's
 * to destroy; or by a URL (see {@link storeFactory}), for which a client is made and destroyed with the store.
 * @throws `invalid_request` if an option or the URL is not valid.
 */
export function createDynamoDbStore(client: DynamoDBClient | string, options: DynamoDbStoreOptions = {}): SegmentStore {
  const url = typeof client === "string" ? parseStoreUrl(client) : undefined;
  const settings = settingsOf(options, url?.options ?? {});
  const environment = parseName(environmentNameSchema, settings.environment, "the environment") as EnvironmentName;
  const { table, lookups, newTable, readOnly } = settings;
  const own = url === undefined ? undefined : clientFor(url, settings.timeoutMs);
  const target = own ?? (client as DynamoDBClient);
  const connection = createConnection(target, { ...settings, environment });
  const state: HandleState = { opened: false, closed: false };
  const guarded = whileOpen(connection, environment, state);
  const { read, write } = guarded;
  const keys = itemKeys(environment);
  const isStrong = lookups === "strong";
  const pages = createUsedPages(guarded, { environment, table, keys });
  const base = { TableName: table, ReturnConsumedCapacity: "TOTAL" as const };

  async function prepare(): Promise<void> {
    await requireSingleAttempts(target);
    const place = { environment, table, readOnly, keys };
    try {
      await openEnvironment(connection, place);
    } catch (error) {
      if (!isTableMissing(error) || newTable === undefined || readOnly) throw error;
      await createTable(target, table, { ...newTable, timeoutMs: settings.timeoutMs });
      await openEnvironment(connection, place);
    }
  }

  async function update(input: Omit<UpdateCommandInput, "TableName">): Promise<Item> {
    const command = new UpdateCommand({ ...base, ...input });
    const { Attributes = {} } = await write((client, call) => client.send(command, call));
    return Attributes;
  }

  async function recordOf(set: MemberSet): Promise<SetRecord | undefined> {
    const get = new GetCommand({ ...base, Key: keys.set(set.id), ConsistentRead: true });
    const { Item } = await read((client, call) => client.send(get, call));
    return Item === undefined ? undefined : setRecord(Item);
  }

  /** Checks the fence of the set, and raises it. */
  async function admit(set: MemberSet, fence: Fence): Promise<void> {
    const present = await recordOf(set);
    if (!requireFence(set, present?.fence, fence)) return;
    try {
      await update({
        Key: keys.set(set.id),
        UpdateExpression: "SET fence_token = :token, fence_holder = :holder",
        ConditionExpression: `attribute_not_exists(dropped) AND segment_key = :segment AND generation = :generation
          AND (fence_token < :token OR fence_token = :token AND fence_holder = :holder)`,
        ExpressionAttributeValues: {
          ":token": fence.token,
          ":holder": fence.holder,
          ":segment": fence.segmentKey,
          ":generation": fence.generation,
        },
      });
    } catch (error) {
      if (!isConditionFailure(causeOf(error))) throw error;
      // Somebody came in between, and the record tells why this writer is refused; or that he may try again.
      await admit(set, fence);
    }
  }

  /** Adds to a block or removes from it, and answers how many that changed. */
  async function change(set: MemberSet, shard: number, fence: Fence, verb: "ADD" | "DELETE", hashes: ContextHashes) {
    if (hashes.length === 0) return 0;
    const { mark, token } = fenceMark(fence);
    const members = shortened(hashes, set.shardBits);
    try {
      const before = await update({
        Key: keys.block(set, shard),
        UpdateExpression: `SET f = :mark ${verb} m :members`,
        ConditionExpression: "attribute_not_exists(f) OR f < :token OR f = :mark",
        ExpressionAttributeValues: { ":mark": mark, ":token": token, ":members": new Set(members) },
        ReturnValues: "UPDATED_OLD",
      });
      const present = new Set(Array.from(membersIn(before), text));
      const shared = members.filter((member) => present.has(text(member))).length;
      return verb === "ADD" ? members.length - shared : shared;
    } catch (error) {
      throw isConditionFailure(causeOf(error)) ? refusedByFence(set, fence, "newer") : error;
    }
  }

  /** The blocks with these keys that are there, in any order. */
  async function getBlocks(wanted: readonly ItemKey[], consistent: boolean): Promise<StoredBlock[]> {
    const items: Item[] = [];
    await forEach(chunksOf(wanted, KEYS_PER_READ), BATCHES_AT_ONCE, async (Keys) => {
      const reading = { ConsistentRead: consistent, ProjectionExpression: "p, s, m" };
      let asked: BatchGetCommandInput["RequestItems"] = { [table]: { Keys, ...reading } };
      await read(async (client, call) => {
        const batch = new BatchGetCommand({ RequestItems: asked, ReturnConsumedCapacity: "TOTAL" });
        const output = await client.send(batch, call);
        items.push(...(output.Responses?.[table] ?? []));
        asked = output.UnprocessedKeys;
        return output;
      });
    });
    return items.map(storedBlock);
  }

  async function deleteBlocks(gone: Iterable<ItemKey>): Promise<void> {
    await forEach(chunksOf(gone, KEYS_PER_WRITE), BATCHES_AT_ONCE, async (chunk) => {
      const requests = chunk.map(({ p, s }) => ({ DeleteRequest: { Key: { p, s } } }));
      let asked: BatchWriteCommandInput["RequestItems"] = { [table]: requests };
      await write(async (client, call) => {
        const batch = new BatchWriteCommand({ RequestItems: asked, ReturnConsumedCapacity: "TOTAL" });
        const output = await client.send(batch, call);
        asked = output.UnprocessedItems;
        return output;
      });
    });
  }

  /** What late writers left behind in a set that was dropped. */
  async function deleteLeftBehind(set: MemberSet): Promise<void> {
    for await (const step of keysOf(set)) await deleteBlocks(await getBlocks(step, true));
  }

  /** Removes the fence, and answers the record, if there is one. */
  async function markDropped(set: MemberSet): Promise<SetRecord | undefined> {
    try {
      return setRecord(
        await update({
          Key: keys.set(set.id),
          UpdateExpression: "SET dropped = :now",
          ConditionExpression: "attribute_exists(p)",
          ExpressionAttributeValues: { ":now": Date.now() },
          ReturnValues: "ALL_NEW",
        }),
      );
    } catch (error) {
      if (isConditionFailure(causeOf(error))) return undefined;
      throw error;
    }
  }

  async function dropSet(asked: MemberSet): Promise<void> {
    const record = await markDropped(asked);
    if (record === undefined) return;
    const { set, isEmptied } = record;
    if (isEmptied) return deleteLeftBehind(set);
    for await (const step of keysOf(set)) await deleteBlocks(step);
    const emptied = { Key: keys.set(set.id), UpdateExpression: "SET emptied = :yes" };
    await update({ ...emptied, ExpressionAttributeValues: { ":yes": true } });
  }

  /** Forgets sets that were dropped so long ago that no request of a writer can be under way any more. */
  async function forgetDropped(): Promise<void> {
    const records = await listRecords();
    for (const record of records) {
      if (!record.isEmptied || Date.now() - record.droppedAt < LATE_WRITES_MS) continue;
      await deleteLeftBehind(record.set);
      await pages.forget(record.set);
      const gone = new DeleteCommand({ ...base, Key: keys.set(record.set.id) });
      await write((client, call) => client.send(gone, call));
    }
  }

  async function listRecords(): Promise<SetRecord[]> {
    return (await queryAll(guarded, { ...base, ...partition(keys.sets) })).map(setRecord);
  }

  async function nextSetId(): Promise<MemberSetId> {
    try {
      const { id } = await update({
        Key: keys.lastSet,
        UpdateExpression: "ADD id :one",
        ConditionExpression: "attribute_exists(p)",
        ExpressionAttributeValues: { ":one": 1 },
        ReturnValues: "UPDATED_NEW",
      });
      return Number(id) as MemberSetId;
    } catch (error) {
      throw isConditionFailure(causeOf(error)) ? missingRecord(environment) : error;
    }
  }

  async function blocksFor(question: ShardQuestion): Promise<StoredBlock[]> {
    const { shardBits, shard, first, last } = question;
    const filter = filterOf(question);
    const items = await queryAll(guarded, {
      ...base,
      ConsistentRead: isStrong,
      KeyConditionExpression: "p = :p AND s BETWEEN :first AND :last",
      ProjectionExpression: "p, s, m",
      FilterExpression: filter?.FilterExpression,
      ExpressionAttributeValues: {
        ":p": keys.shard(shardBits, shard),
        ":first": setSortKey(first),
        ":last": setSortKey(last),
        ...filter?.values,
      },
    });
    return items.map(storedBlock);
  }

  /** The keys that blocks of the set may have, as many at a time as are read at once. */
  async function* keysOf(set: MemberSet): AsyncGenerator<ItemKey[]> {
    const shards = await pages.shardsOf(set);
    for (const step of chunksOf(shards, KEYS_PER_READ * BATCHES_AT_ONCE))
      yield step.map((shard) => keys.block(set, shard));
  }

  return {
    ...createRegistry(guarded, { environment, table, keys }),
    environment,
    capabilities: CAPABILITIES,

    open: opening(environment, state, prepare),
    async close() {
      state.closed = true;
      own?.destroy();
    },

    async allocateMemberSet(shardBits, fence) {
      for (;;) {
        const id = await nextSetId();
        const item = { ...keys.set(id), bits: shardBits, ...fenceItem(fence) };
        const put = new PutCommand({ ...base, Item: item, ConditionExpression: "attribute_not_exists(p)" });
        try {
          await write((client, call) => client.send(put, call));
          return { id, shardBits };
        } catch (error) {
          // The number is in use: somebody has set the counter back by hand.
          if (!isConditionFailure(causeOf(error))) throw error;
        }
      }
    },
    chooseShardBits,
    estimateSync,
    raiseFence: admit,
    async writeBlocks(set, blocks, fence) {
      await admit(set, fence);
      const isOnNewPage = await pages.note(
        set,
        blocks.map(({ shard }) => shard),
      );
      const total = { added: 0, removed: 0 };
      const isNew = ({ shard, adds, removes }: Block) =>
        removes.length === 0 && hashCount(adds) <= MOST_INSERTED && isOnNewPage(shard);
      const { mark } = fenceMark(fence);
      const fresh = blocks.filter(isNew).map((block) => {
        const members = shortened(block.adds, set.shardBits);
        total.added += members.length;
        return { ...keys.block(set, block.shard), mark, members, block };
      });
      const present = await insertBlocks(guarded, table, fresh);
      for (const { members } of present) total.added -= members.length;
      const known = [...present.map(({ block }) => block), ...blocks.filter((block) => !isNew(block))];
      await forEach(known, MOST_REQUESTS, async ({ shard, adds, removes }) => {
        const added = await change(set, shard, fence, "ADD", adds);
        const removed = await change(set, shard, fence, "DELETE", removes);
        total.added += added;
        total.removed += removed;
      });
      return total;
    },
    async findMemberSets(hashes, among) {
      const found: MemberSetId[][] = Array.from({ length: hashCount(hashes) }, () => []);
      const questions = shardQuestions(hashes, among);
      const single = questions.filter(({ byQuery }) => !byQuery);
      const byShard = new Map(questions.map((question) => [placeOf(question), question]));
      const note = ({ shardBits, shard, id, members }: StoredBlock) => {
        const question = byShard.get(placeOf({ shardBits, shard }));
        if (question?.ids.has(id) !== true) return;
        const present = new Set(members.map(text));
        for (const { place, member } of question.hashes) if (present.has(text(member))) found[place]?.push(id);
      };
      const wanted = single.flatMap(({ ids, shardBits, shard }) =>
        Array.from(ids, (id) => keys.block({ id, shardBits }, shard)),
      );
      await Promise.all([
        getBlocks(wanted, isStrong).then((blocks) => blocks.forEach(note)),
        forEach(
          questions.filter(({ byQuery }) => byQuery),
          MOST_REQUESTS,
          async (question) => (await blocksFor(question)).forEach(note),
        ),
      ]);
      return found;
    },
    async *scanMembers(set) {
      for await (const step of keysOf(set)) {
        for (const { shard, members } of await getBlocks(step, true))
          if (members.length > 0) yield restored(members, set, shard);
      }
    },
    async dropMemberSets(sets) {
      for (const set of sets) await dropSet(set);
      if (sets.length > 0) await forgetDropped();
    },
    async listMemberSets() {
      const records = await listRecords();
      return records
        .filter(({ isEmptied }) => !isEmptied)
        .map(({ set, fence }): StoredMemberSet => (fence === undefined ? set : { ...set, fence }));
    },
  };
}

/** What is known of a member set. */
interface SetRecord {
  readonly set: MemberSet;
  /** Absent once a drop has begun. */
  readonly fence: Fence | undefined;
  readonly droppedAt: number;
  /** Whether a drop has deleted its blocks. It stays a while as a trace, by which blocks of late writers are found. */
  readonly isEmptied: boolean;
}

function fenceItem({ segmentKey, generation, token, holder }: Fence): Item {
  return { segment_key: segmentKey, generation, fence_token: token, fence_holder: holder };
}

function setRecord({ s, bits, dropped, emptied, ...item }: Item): SetRecord {
  const fence = {
    segmentKey: String(item.segment_key) as SegmentKey,
    generation: Number(item.generation),
    token: Number(item.fence_token),
    holder: String(item.fence_holder),
  };
  return {
    set: { id: numberIn(s as Uint8Array) as MemberSetId, shardBits: Number(bits) },
    fence: dropped === undefined ? fence : undefined,
    droppedAt: Number(dropped ?? Number.POSITIVE_INFINITY),
    isEmptied: emptied === true,
  };
}

/** A block as it is stored. */
interface StoredBlock extends ItemKey {
  readonly shardBits: number;
  readonly shard: number;
  readonly id: MemberSetId;
  /** See {@link shortened}. */
  readonly members: readonly Uint8Array[];
}

function storedBlock(item: Item): StoredBlock {
  const { p, s } = item as unknown as ItemKey;
  return { p, s, ...shardIn(p), id: numberIn(s) as MemberSetId, members: membersIn(item) };
}

function membersIn({ m }: Item): Uint8Array[] {
  return Array.from((m ?? []) as Iterable<Uint8Array>);
}

function placeOf({ shardBits, shard }: { readonly shardBits: number; readonly shard: number }): string {
  return `${shardBits}/${shard}`;
}

/** Bytes as a key of a set. */
function text(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
}
