// The peer on DynamoDB: one item for each context, all under one partition key, with the names of its segments in a set; changed in
// transactions of 24 updates and one condition check. It is the layout of stores that predate this one.

import { createHash } from "node:crypto";
import { CreateTableCommand } from "@aws-sdk/client-dynamodb";
import { DynamoDBDocumentClient, PutCommand, TransactWriteCommand } from "@aws-sdk/lib-dynamodb";
import { clientAt } from "./measured-dynamodb.js";
import { segmentKey } from "./segment-loading.js";

const UPDATES = 24;
/** Transactions under way at once: all of them check the same item. */
const AT_ONCE = 4;
const TABLE = "bench_contexts";

/** Write units that AWS charges for a change of one context of up to 1 KB: two for it, and its part of the check. */
export const PEER_WRITE_UNITS = 2 + 2 / UPDATES;

/** Makes the table and answers what adds members of a segment. */
export async function openContextItems(endpoint: string) {
  const client = clientAt(endpoint);
  const documents = DynamoDBDocumentClient.from(client);
  await client.send(
    new CreateTableCommand({
      TableName: TABLE,
      KeySchema: [
        { AttributeName: "namespace", KeyType: "HASH" },
        { AttributeName: "key", KeyType: "RANGE" },
      ],
      AttributeDefinitions: ["namespace", "key"].map((AttributeName) => ({ AttributeName, AttributeType: "S" })),
      BillingMode: "PAY_PER_REQUEST",
    }),
  );
  const lock = { namespace: "metadata", key: "metadata" };
  await documents.send(new PutCommand({ TableName: TABLE, Item: { ...lock, cursor: "1" } }));

  async function addBatch(number: number, keys: readonly string[]): Promise<void> {
    const updates = keys.map((key) => ({
      Update: {
        TableName: TABLE,
        Key: { namespace: "user", key: createHash("sha256").update(key).digest("base64") },
        UpdateExpression: "ADD included :segment",
        ExpressionAttributeValues: { ":segment": new Set([segmentKey(number)]) },
      },
    }));
    const check = {
      ConditionCheck: {
        TableName: TABLE,
        Key: lock,
        ConditionExpression: "#cursor = :cursor",
        ExpressionAttributeNames: { "#cursor": "cursor" },
        ExpressionAttributeValues: { ":cursor": "1" },
      },
    };
    await documents.send(new TransactWriteCommand({ TransactItems: [check, ...updates] }));
  }

  return {
    async add(number: number, keys: AsyncIterable<readonly string[]>): Promise<void> {
      const underWay = new Set<Promise<void>>();
      for await (const batch of keys) {
        for (let from = 0; from < batch.length; from += UPDATES) {
          const adding = addBatch(number, batch.slice(from, from + UPDATES)).finally(() => underWay.delete(adding));
          underWay.add(adding);
          if (underWay.size >= AT_ONCE) await Promise.race(underWay);
        }
      }
      await Promise.all(underWay);
    },
    close: () => client.destroy(),
  };
}
