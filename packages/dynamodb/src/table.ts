// Opening: the table, which is made on request, and the environment's records in it.

import {
  CreateTableCommand,
  DescribeTableCommand,
  type DynamoDBClient,
  UpdateContinuousBackupsCommand,
} from "@aws-sdk/client-dynamodb";
import { GetCommand, TransactWriteCommand } from "@aws-sdk/lib-dynamodb";
import { decodeEnvironment, encodeEnvironment, newEnvironment, RollcallError, systemClock } from "@rollcall/core";
import type { Connection } from "./connection.js";
import type { ItemKeys } from "./item-key.js";
import { cancellationCodes, storeError } from "./native-error.js";
import type { TableOptions } from "./store-options.js";

/** The layout that this version reads and writes. */
const LAYOUT = 1;
/** How long a table that is being made is waited for. */
const LONGEST_WAIT_MS = 300_000;
const NOT_ACTIVE = "DynamoDB: the table was made and is not active yet; open the store again";

/** Makes the table unless it is there, and resolves when it takes requests. */
export async function createTable(
  client: DynamoDBClient,
  table: string,
  options: TableOptions & { readonly timeoutMs: number },
): Promise<void> {
  const within = () => ({ abortSignal: AbortSignal.timeout(options.timeoutMs) });
  const { provisioned, tags = {}, pointInTimeRecovery = false, deletionProtection = false } = options;
  try {
    await client.send(
      new CreateTableCommand({
        TableName: table,
        KeySchema: [
          { AttributeName: "p", KeyType: "HASH" },
          { AttributeName: "s", KeyType: "RANGE" },
        ],
        AttributeDefinitions: ["p", "s"].map((name) => ({ AttributeName: name, AttributeType: "B" as const })),
        ...(provisioned === undefined
          ? { BillingMode: "PAY_PER_REQUEST" as const }
          : {
              BillingMode: "PROVISIONED" as const,
              ProvisionedThroughput: {
                ReadCapacityUnits: provisioned.readUnits,
                WriteCapacityUnits: provisioned.writeUnits,
              },
            }),
        ...(Object.keys(tags).length === 0
          ? {}
          : { Tags: Object.entries(tags).map(([Key, Value]) => ({ Key, Value })) }),
        DeletionProtectionEnabled: deletionProtection,
      }),
      within(),
    );
  } catch (cause) {
    // It is there, or somebody else is making it.
    if (!(cause instanceof Error && cause.name === "ResourceInUseException")) throw storeError(cause);
  }
  try {
    const deadline = performance.now() + LONGEST_WAIT_MS;
    const describe = new DescribeTableCommand({ TableName: table });
    while ((await client.send(describe, within())).Table?.TableStatus !== "ACTIVE") {
      if (performance.now() > deadline) throw new RollcallError("store_unavailable", NOT_ACTIVE);
      await systemClock.sleep(1_000);
    }
    if (pointInTimeRecovery) {
      const on = { PointInTimeRecoverySpecification: { PointInTimeRecoveryEnabled: true } };
      await client.send(new UpdateContinuousBackupsCommand({ TableName: table, ...on }), within());
    }
  } catch (cause) {
    throw storeError(cause);
  }
}

/** Makes sure that the environment is there, and makes it unless `readOnly`. @throws whatever stands in the way, by its name. */
export async function openEnvironment(
  connection: Connection,
  options: {
    readonly environment: string;
    readonly table: string;
    readonly readOnly: boolean;
    readonly keys: ItemKeys;
  },
): Promise<void> {
  const { environment, table, readOnly, keys } = options;
  const read = () =>
    connection.read((client, call) =>
      client.send(new GetCommand({ TableName: table, Key: keys.environment, ConsistentRead: true }), call),
    );
  let { Item: found } = await read();
  if (found === undefined) {
    if (readOnly)
      throw new RollcallError(
        "store_read_only",
        `DynamoDB: there is no environment ${environment} in table ${table}; check the names, or open it for writing once to make it`,
      );
    await makeEnvironment(connection, options);
    found = (await read()).Item;
  }
  const { layout, name, record } = found ?? {};
  if (typeof layout === "number" && layout > LAYOUT)
    throw new RollcallError(
      "layout_mismatch",
      `DynamoDB: environment ${environment} has layout ${layout}, this version reads ${LAYOUT}; upgrade @rollcall/dynamodb`,
    );
  if (layout !== LAYOUT || name !== environment || typeof record !== "string")
    throw new RollcallError(
      "layout_mismatch",
      `DynamoDB: what stands in table ${table} where environment ${environment} would be is not Rollcall's; use another table`,
    );
  decodeEnvironment(record);
}

async function makeEnvironment(
  connection: Connection,
  { environment, table, keys }: Parameters<typeof openEnvironment>[1],
): Promise<void> {
  const made = newEnvironment();
  const item = { layout: LAYOUT, name: environment, revision: made.revision, record: encodeEnvironment(made) };
  const condition = { TableName: table, ConditionExpression: "attribute_not_exists(p)" };
  try {
    await connection.write((client, call) =>
      client.send(
        new TransactWriteCommand({
          ReturnConsumedCapacity: "TOTAL",
          TransactItems: [
            { Put: { ...condition, Item: { ...keys.environment, ...item } } },
            { Put: { ...condition, Item: { ...keys.lastSet, id: 0 } } },
            ...keys.epochs.map((key) => ({ Put: { ...condition, Item: { ...key, epoch: made.revision } } })),
          ],
        }),
        call,
      ),
    );
  } catch (error) {
    const { cause } = error as { readonly cause?: unknown };
    // Somebody else made it meanwhile.
    if (!cancellationCodes(cause).includes("ConditionalCheckFailed")) throw error;
  }
}
