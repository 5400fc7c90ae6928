// A table, a client or a right that is wrong or missing: it ends in a typed error that names the remedy and holds no secret.

import { randomUUID } from "node:crypto";
import { inspect } from "node:util";
import { CreateTableCommand, type DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { DynamoDBDocumentClient, UpdateCommand } from "@aws-sdk/lib-dynamodb";
import { startTcpProxy } from "@rollcall/conformance/containers";
import {
  createRollcall,
  createSegmentReader,
  type EnvironmentName,
  isRollcallError,
  openStore,
  type RollcallErrorCode,
  type SegmentStore,
} from "@rollcall/core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createDynamoDbStore, storeFactory } from "./index.js";
import { itemKeys } from "./item-key.js";
import { admin, clientOf, dropTable, endpointOf, newTable, SECRET, SERVER, urlOf } from "./place.test-setup.js";
import { type Answer, serviceError, startServiceProxy } from "./service-proxy.test-setup.js";
import { createTable } from "./table.js";

const table = newTable();
beforeAll(() => createTable(admin, table, { timeoutMs: 10_000 }));
afterAll(() => dropTable(table));

async function expectRefusal(call: Promise<unknown>, code: RollcallErrorCode, remedy: RegExp): Promise<void> {
  const error = await call.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(isRollcallError(error) ? error.code : error).toBe(code);
  expect((error as Error).message).toMatch(remedy);
  expect(inspect(error, { depth: 6 })).not.toContain(SECRET);
}

async function opened(store: SegmentStore): Promise<SegmentStore> {
  await store.open();
  return store;
}

describe("a table", () => {
  it("that is missing", async () => {
    const store = createDynamoDbStore(admin, { table: newTable() });
    await expectRefusal(store.open(), "invalid_request", /table does not exist.*region.*createTable/);
  });

  it("that is in another region", async () => {
    // DynamoDB Local, as these tests run it, has one region; that of AWS answers as where there is no such table.
    await using proxy = await startServiceProxy(SERVER);
    proxy.act(() => serviceError("ResourceNotFoundException"));
    const store = createDynamoDbStore(clientOf(proxy, { region: "us-east-1" }), { table });
    await expectRefusal(store.open(), "invalid_request", /region/);
  });

  it.each([
    ["of one part", [{ AttributeName: "p", KeyType: "HASH" as const }], "B"],
    [
      "of text",
      [
        { AttributeName: "p", KeyType: "HASH" as const },
        { AttributeName: "s", KeyType: "RANGE" as const },
      ],
      "S",
    ],
    [
      "of other names",
      [
        { AttributeName: "pk", KeyType: "HASH" as const },
        { AttributeName: "sk", KeyType: "RANGE" as const },
      ],
      "B",
    ],
  ])("with a key %s", async (_, KeySchema, type) => {
    const other = newTable();
    await admin.send(
      new CreateTableCommand({
        TableName: other,
        KeySchema,
        AttributeDefinitions: KeySchema.map(({ AttributeName }) => ({ AttributeName, AttributeType: type as "B" })),
        BillingMode: "PAY_PER_REQUEST",
      }),
    );
    const store = createDynamoDbStore(admin, { table: other, createTable: true });
    await expectRefusal(store.open(), "layout_mismatch", /another table|createTable/);
    await dropTable(other);
  });

  it("that is opened for reading where no environment is", async () => {
    const environment = randomUUID();
    const store = createDynamoDbStore(admin, { table, environment, readOnly: true });
    await expectRefusal(store.open(), "store_read_only", /check the names/);
    await store.close();
  });

  it("that is opened for reading takes no write", async () => {
    const environment = randomUUID();
    await (await opened(createDynamoDbStore(admin, { table, environment }))).close();
    const store = await opened(createDynamoDbStore(admin, { table, environment, readOnly: true }));
    await expectRefusal(createRollcall(store).merge("vips", { add: ["ada"] }), "store_read_only", /readOnly/);
  });

  it.each([
    ["a newer layout", "SET layout = :value", 2, /upgrade/],
    ["something else", "SET #name = :value", "somebody's", /another table/],
  ])("that holds %s", async (_, UpdateExpression, value, remedy) => {
    const environment = randomUUID() as EnvironmentName;
    await (await opened(createDynamoDbStore(admin, { table, environment }))).close();
    const change = new UpdateCommand({
      TableName: table,
      Key: itemKeys(environment).environment,
      UpdateExpression,
      ...(UpdateExpression.includes("#") ? { ExpressionAttributeNames: { "#name": "name" } } : {}),
      ExpressionAttributeValues: { ":value": value },
    });
    await DynamoDBDocumentClient.from(clientOf()).send(change);
    await expectRefusal(createDynamoDbStore(admin, { table, environment }).open(), "layout_mismatch", remedy);
  });

  it("is made as it is asked for", async () => {
    const made = newTable();
    const options = {
      provisioned: { readUnits: 7, writeUnits: 9 },
      tags: { team: "growth" },
      deletionProtection: false,
    };
    const store = await opened(createDynamoDbStore(admin, { table: made, createTable: options }));
    const { DescribeTableCommand } = await import("@aws-sdk/client-dynamodb");
    const { Table } = await admin.send(new DescribeTableCommand({ TableName: made }));
    expect(Table?.ProvisionedThroughput).toMatchObject({ ReadCapacityUnits: 7, WriteCapacityUnits: 9 });
    await store.close();
    await dropTable(made);
  });
});

describe("a client", () => {
  it("that resends", async () => {
    const client = clientOf(SERVER, { maxAttempts: 3 });
    await expectRefusal(createDynamoDbStore(client, { table }).open(), "invalid_request", /maxAttempts: 1/);
  });

  it("keeps its own settings, and stays open", async () => {
    const client = clientOf();
    const documents = DynamoDBDocumentClient.from(client, { marshallOptions: { convertEmptyValues: true } });
    const store = await opened(createDynamoDbStore(client, { table, environment: randomUUID() }));
    await store.close();
    expect(documents.config.translateConfig?.marshallOptions).toEqual({ convertEmptyValues: true });
    await expect(admin.config.maxAttempts()).resolves.toBe(1);
  });

  it("without credentials", async () => {
    const credentials = async () => {
      throw Object.assign(new Error("Could not load credentials from any providers"), {
        name: "CredentialsProviderError",
      });
    };
    const client = clientOf(SERVER, { credentials });
    await expectRefusal(createDynamoDbStore(client, { table }).open(), "access_denied", /AWS_PROFILE/);
  });

  it.each([
    ["ExpiredTokenException", /expired; renew/],
    ["UnrecognizedClientException", /correct/],
    ["InvalidSignatureException", /secret.*clock/],
  ])("whose credentials AWS refuses: %s", async (name, remedy) => {
    await using proxy = await startServiceProxy(SERVER);
    proxy.act(() => serviceError(name));
    await expectRefusal(createDynamoDbStore(clientOf(proxy), { table }).open(), "access_denied", remedy);
  });
});

describe("an endpoint", () => {
  it("where nothing listens", async () => {
    const proxy = await startTcpProxy(SERVER);
    const at = { host: proxy.host, port: proxy.port };
    await proxy.close();
    await expectRefusal(createDynamoDbStore(clientOf(at), { table }).open(), "store_unavailable", /host and port/);
  });

  it("whose name nobody knows", async () => {
    const client = clientOf({ host: "no-such-host.invalid", port: 8000 });
    await expectRefusal(createDynamoDbStore(client, { table }).open(), "store_unavailable", /host name|reachable/);
  });

  it("that accepts and never answers", async () => {
    await using proxy = await startTcpProxy(SERVER);
    proxy.freeze();
    const store = storeFactory.createStore(urlOf(table, { at: proxy, more: "&timeoutMs=300" }), {});
    await expectRefusal(store.open(), "store_unavailable", /timeoutMs/);
    await store.close();
  });
});

describe("a missing right", () => {
  /** What is granted on the DynamoDB page, without what only old reports are deleted by. */
  const ACTIONS = ["GetItem", "Query", "BatchGetItem", "PutItem", "UpdateItem", "BatchWriteItem"];

  async function exercise(at: DynamoDBClient, environment: string): Promise<void> {
    const store = await opened(createDynamoDbStore(at, { table, environment }));
    const rollcall = createRollcall(store, { graceMs: 0, retry: { retries: 0 } });
    for (let version = 0; version < 2; version++) await rollcall.replace("vips", { included: ["ada", "grace"] });
    await rollcall.sweep();
    await rollcall.verify();
    const reader = createSegmentReader({ store });
    await reader.isMember("vips", { kind: "user", key: "ada" });
    reader.close();
  }

  const messageOf = (action: string) =>
    `User: arn:aws:iam::123456789012:user/ada is not authorized to perform: dynamodb:${action} on resource: arn:aws:dynamodb:eu-central-1:123456789012:table/x`;
  const denied = (action: string): Answer => ({
    ...serviceError("AccessDeniedException"),
    body: { __type: "com.amazon.coral.service#AccessDeniedException", Message: messageOf(action) },
  });
  const deniedStatement: Answer = {
    status: 200,
    body: { Responses: [{ Error: { Code: "AccessDenied", Message: messageOf("PartiQLInsert") } }] },
  };

  it.each([
    ...ACTIONS.map((action) => [action, action, denied(action)] as const),
    ["PartiQLInsert", "BatchExecuteStatement", denied("PartiQLInsert")] as const,
    // As part of an answer.
    ["PartiQLInsert", "BatchExecuteStatement", deniedStatement] as const,
  ])("%s is named", async (action, refused, answer) => {
    await using proxy = await startServiceProxy(SERVER);
    proxy.act((operation) => (operation === refused ? answer : undefined));
    await expectRefusal(
      exercise(clientOf(proxy), randomUUID()),
      "access_denied",
      new RegExp(`grant.*dynamodb:${action}`),
    );
  });
});

describe("an item", () => {
  it("that would exceed 400 KB is refused, and the segment stays as it is", async () => {
    const environment = randomUUID();
    const store = await opened(createDynamoDbStore(admin, { table, environment }));
    const rollcall = createRollcall(store);
    await rollcall.merge("vips", { add: ["ada"] });
    const tags = Array.from({ length: 100 }, (_, index) => `${index}`);
    await rollcall.editDetails("vips", { tags });
    const segment = await store.getSegment("vips" as never);
    if (segment === undefined) throw new Error("the segment is there");
    const positions = Array.from({ length: 5_000 }, (_, index) => ({
      source: `source-${index}`,
      position: "x".repeat(80),
    }));
    const next = { ...segment, positions, revision: randomUUID() as never };
    await expectRefusal(store.putSegment(next, segment.revision), "store_full", /400 KB; replace the segment/);
    expect((await store.getSegment("vips" as never))?.revision).toBe(segment.revision);
  });
});

describe("a URL", () => {
  it("finds this adapter", async () => {
    const store = await openStore(urlOf(table), { environment: randomUUID(), factories: [storeFactory] });
    expect(await store.listSegments()).toEqual([]);
    await store.close();
  });

  it("with a key in it is refused without showing it", async () => {
    const url = `dynamodb://AKIA:${SECRET}@${table}?endpoint=${endpointOf(SERVER)}`;
    await expectRefusal(openStore(url, { factories: [storeFactory] }), "invalid_request", /credentials do not belong/);
  });
});
