// What writers leave behind whose requests arrive after their set was dropped: found by the trace that a dropped set leaves for an hour.

import { randomUUID } from "node:crypto";
import { DynamoDBDocumentClient, GetCommand, PutCommand, QueryCommand, UpdateCommand } from "@aws-sdk/lib-dynamodb";
import {
  contextHash,
  type EnvironmentName,
  type Fence,
  type MemberSet,
  type SegmentKey,
  type SegmentStore,
  shardOf,
} from "@rollcall/core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createDynamoDbStore } from "./index.js";
import { fenceMark, type ItemKey, itemKeys, shortened } from "./item-key.js";
import { admin, dropTable, newTable } from "./place.test-setup.js";

const HOUR_MS = 3_600_000;
const table = newTable();
const environment = randomUUID() as string as EnvironmentName;
const keys = itemKeys(environment);
const documents = DynamoDBDocumentClient.from(admin);
const ada = contextHash("ada") ?? new Uint8Array();
const fence: Fence = { segmentKey: "beta" as SegmentKey, generation: 1, holder: "writer", token: 1 };
let store: SegmentStore;

beforeAll(async () => {
  store = createDynamoDbStore(admin, { table, environment, createTable: true });
  await store.open();
});
afterAll(async () => {
  await store.close();
  await dropTable(table);
});

/** A set that has had a member. */
async function setWithAda(): Promise<MemberSet> {
  const set = await store.allocateMemberSet(8, fence);
  await store.writeBlocks(set, [{ shard: shardOf(ada, 0, 8), adds: ada, removes: new Uint8Array() }], fence);
  return set;
}

const blockKey = (set: MemberSet) => keys.block(set, shardOf(ada, 0, set.shardBits));

/** What an insert does that arrives now. */
async function arriveLate(set: MemberSet): Promise<void> {
  const m = new Set(shortened(ada, set.shardBits));
  await documents.send(new PutCommand({ TableName: table, Item: { ...blockKey(set), f: fenceMark(fence).mark, m } }));
}

async function isThere(Key: ItemKey): Promise<boolean> {
  return (await documents.send(new GetCommand({ TableName: table, Key, ConsistentRead: true }))).Item !== undefined;
}

async function hasPages(set: MemberSet): Promise<boolean> {
  const { p } = keys.pages(set.id, 0);
  const query = { KeyConditionExpression: "p = :p", ExpressionAttributeValues: { ":p": p }, ConsistentRead: true };
  const { Items = [] } = await documents.send(new QueryCommand({ TableName: table, ...query }));
  return Items.length > 0;
}

/** Has the set been dropped so long ago. */
async function age(set: MemberSet, ms: number): Promise<void> {
  await documents.send(
    new UpdateCommand({
      TableName: table,
      Key: keys.set(set.id),
      UpdateExpression: "SET dropped = :then",
      ConditionExpression: "attribute_exists(emptied)",
      ExpressionAttributeValues: { ":then": Date.now() - ms },
    }),
  );
}

describe("a block that arrives after its set was dropped", () => {
  it("is removed by a repeat of the drop", async () => {
    const set = await setWithAda();
    await store.dropMemberSets([set]);
    await arriveLate(set);
    await store.dropMemberSets([set]);
    expect(await isThere(blockKey(set))).toBe(false);
  });

  it("is removed with the trace by the first drop of another set an hour later", async () => {
    const set = await setWithAda();
    await store.dropMemberSets([set]);
    await arriveLate(set);
    await age(set, HOUR_MS + 60_000);
    await store.dropMemberSets([await setWithAda()]);
    expect(await isThere(blockKey(set))).toBe(false);
    expect(await isThere(keys.set(set.id))).toBe(false);
    expect(await hasPages(set)).toBe(false);
  });

  it("stays, and the trace with it, as long as more may arrive; neither is listed", async () => {
    const set = await setWithAda();
    await store.dropMemberSets([set]);
    await arriveLate(set);
    await age(set, HOUR_MS - 60_000);
    await store.dropMemberSets([await setWithAda()]);
    expect(await isThere(blockKey(set))).toBe(true);
    expect(await isThere(keys.set(set.id))).toBe(true);
    expect((await store.listMemberSets()).map(({ id }) => id)).not.toContain(set.id);
  });
});
