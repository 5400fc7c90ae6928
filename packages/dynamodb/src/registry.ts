// The records of one environment: itself, its segments, their history, and what is known of its member sets. What must change
// together is one transaction, which costs two write units for each KB.

import {
  BatchWriteCommand,
  GetCommand,
  QueryCommand,
  type QueryCommandInput,
  TransactWriteCommand,
  UpdateCommand,
} from "@aws-sdk/lib-dynamodb";
import {
  decodeEnvironment,
  decodeReport,
  decodeSegment,
  encodeEnvironment,
  encodeSegment,
  HISTORY_LIMIT,
  isRollcallError,
  missingRecord,
  revisionConflict,
  type SegmentKey,
  type StoreRecords,
  type SyncReport,
} from "@rollcall/core";
import { chunksOf, KEYS_PER_WRITE } from "./batch.js";
import type { Connection } from "./connection.js";
import { EPOCH_PREFIX, type ItemKey, type ItemKeys, tokenBytes } from "./item-key.js";
import { cancellationCodes, isConditionFailure } from "./native-error.js";

/** An item as it comes back. */
export type Item = Readonly<Record<string, unknown>>;

/** Items of the history after which the old ones are removed, by chance: so that not every sync reads all of it. */
const HISTORY_SLACK = 20;
/** Characters of reports that go into one item, which may have 400 KB. */
const MOST_REPORT_TEXT = 200_000;

/** What of one table is needed for its records. */
export interface Place {
  readonly environment: string;
  readonly table: string;
  readonly keys: ItemKeys;
}

/** The registry in `table`. */
export function createRegistry(connection: Connection, { environment, table, keys }: Place): StoreRecords {
  const { read, write } = connection;
  const base = { TableName: table, ReturnConsumedCapacity: "TOTAL" as const };

  async function getRecord(key: ItemKey): Promise<string | undefined> {
    const get = new GetCommand({ ...base, Key: key, ConsistentRead: true, ...RECORD_ONLY });
    const { Item } = await read((client, call) => client.send(get, call));
    return Item === undefined ? undefined : String(Item.record);
  }

  async function trimHistory(key: SegmentKey): Promise<void> {
    const ofSegment = { ...partition(keys.history(key)), ScanIndexForward: false, ProjectionExpression: "p, s" };
    const items = await queryAll(connection, { ...base, ...ofSegment });
    const old = items.slice(HISTORY_LIMIT).map(({ p, s }) => ({ DeleteRequest: { Key: { p, s } } }));
    for (const chunk of chunksOf(old, KEYS_PER_WRITE)) {
      // What it leaves over goes with the next trim.
      const batch = new BatchWriteCommand({ ReturnConsumedCapacity: "TOTAL", RequestItems: { [table]: chunk } });
      await write((client, call) => client.send(batch, call));
    }
  }

  return {
    async getEnvironment() {
      const record = await getRecord(keys.environment);
      if (record === undefined) throw missingRecord(environment);
      return decodeEnvironment(record);
    },
    async putEnvironment(next, expectedRevision) {
      const update = new UpdateCommand({
        ...base,
        Key: keys.environment,
        UpdateExpression: "SET revision = :next, #record = :record",
        ConditionExpression: "revision = :expected",
        ExpressionAttributeNames: RECORD_ONLY.ExpressionAttributeNames,
        ExpressionAttributeValues: {
          ":next": next.revision,
          ":record": encodeEnvironment(next),
          ":expected": expectedRevision,
        },
      });
      try {
        await write((client, call) => client.send(update, call));
      } catch (error) {
        throw isConditionFailure(causeOf(error)) ? revisionConflict("the environment record") : error;
      }
    },
    async getSegment(key) {
      const record = await getRecord(keys.segment(key));
      return record === undefined ? undefined : decodeSegment(record);
    },
    async listSegments() {
      const items = await queryAll(connection, { ...base, ...partition(keys.segments), ...RECORD_ONLY });
      return items.map(({ record }) => decodeSegment(String(record)));
    },
    async putSegment(next, expectedRevision, { reports = [] } = {}) {
      const { key, revision } = next;
      // Before the write: what fails after it would say that there was none.
      if (reports.length > 0 && Math.random() * HISTORY_SLACK < 1) await trimHistory(key);
      const expected =
        expectedRevision === undefined
          ? { ConditionExpression: "attribute_not_exists(p)" }
          : {
              ConditionExpression: "revision = :expected",
              ExpressionAttributeValues: { ":expected": expectedRevision },
            };
      const transaction = new TransactWriteCommand({
        ReturnConsumedCapacity: "TOTAL",
        TransactItems: [
          {
            Put: {
              TableName: table,
              Item: { ...keys.segment(key), revision, record: encodeSegment(next) },
              ...expected,
            },
          },
          // Not a counter: a table that was restored from a backup would count through numbers that readers have seen.
          {
            Update: {
              TableName: table,
              Key: keys.epoch(key),
              UpdateExpression: "SET epoch = :epoch",
              ConditionExpression: "attribute_exists(p)",
              ExpressionAttributeValues: { ":epoch": revision },
            },
          },
          ...historyItems(reports).map((texts) => ({
            Put: {
              TableName: table,
              Item: { p: keys.history(key), s: historySortKey(next.lease.token), reports: texts },
            },
          })),
        ],
      });
      try {
        await write((client, call) => client.send(transaction, call));
      } catch (error) {
        const [ofSegment, ofEpoch] = cancellationCodes(causeOf(error));
        if (ofSegment === "ConditionalCheckFailed") throw revisionConflict(`segment ${key}`);
        if (ofEpoch === "ConditionalCheckFailed") throw missingRecord(environment);
        throw error;
      }
      return undefined;
    },
    async getEpoch() {
      const { KeyConditionExpression, ExpressionAttributeValues } = partition(keys.environment.p);
      const epochs = await queryAll(connection, {
        ...base,
        ConsistentRead: true,
        KeyConditionExpression: `${KeyConditionExpression} AND begins_with(s, :prefix)`,
        ExpressionAttributeValues: { ...ExpressionAttributeValues, ":prefix": EPOCH_PREFIX },
      });
      if (epochs.length === 0) throw missingRecord(environment);
      return epochs.map(({ epoch }) => String(epoch)).join(" ");
    },

    async getHistory(key) {
      const newest = { ...partition(keys.history(key)), ScanIndexForward: false, Limit: HISTORY_LIMIT };
      const items = await queryAll(connection, { ...base, ...newest }, HISTORY_LIMIT);
      const reports = items.flatMap((item) => (item.reports as string[]).toReversed());
      return reports.slice(0, HISTORY_LIMIT).map(decodeReport);
    },
  };
}

const RECORD_ONLY = { ProjectionExpression: "#record", ExpressionAttributeNames: { "#record": "record" } };

/** The condition of a Query for all of one partition. */
export function partition(p: Uint8Array) {
  return { KeyConditionExpression: "p = :p", ExpressionAttributeValues: { ":p": p } as Record<string, unknown> };
}

/** All items that a Query finds, page by page, or the first `most`. */
export async function queryAll(
  { read }: Connection,
  query: QueryCommandInput,
  most = Number.POSITIVE_INFINITY,
): Promise<Item[]> {
  const items: Item[] = [];
  let from: QueryCommandInput["ExclusiveStartKey"];
  do {
    const page = new QueryCommand({
      ConsistentRead: true,
      ...query,
      ...(from === undefined ? {} : { ExclusiveStartKey: from }),
    });
    const { Items = [], LastEvaluatedKey } = await read((client, call) => client.send(page, call));
    items.push(...Items);
    from = LastEvaluatedKey;
  } while (from !== undefined && items.length < most);
  return items.slice(0, most);
}

/** The reports of one write in as few items as may be, the newest last: most often it is one report. */
function historyItems(reports: readonly SyncReport[]): string[][] {
  const items: string[][] = [];
  let left = 0;
  for (const report of reports.slice(-HISTORY_LIMIT)) {
    const text = JSON.stringify(report);
    left -= text.length;
    if (left < 0) {
      items.push([]);
      left = MOST_REPORT_TEXT - text.length;
    }
    items.at(-1)?.push(text);
  }
  return items;
}

let written = 0;

/** In the order of the lease's tokens, and for one token in that of the clock and of this process. */
function historySortKey(token: number): Uint8Array {
  written = (written + 1) % 2 ** 32;
  const order = Buffer.alloc(16);
  order.writeUIntBE(Date.now(), 0, 6);
  order.writeUInt32BE(written, 6);
  crypto.getRandomValues(order.subarray(10));
  return Buffer.concat([tokenBytes(token), order]);
}

/** The native error in an error of the adapter. */
export function causeOf(error: unknown): unknown {
  return isRollcallError(error) ? error.cause : undefined;
}
