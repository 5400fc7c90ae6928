// The DynamoDB Local that a benchmark measures, the same one for both sides, in a container of its own.

import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import type { RunOptions } from "./benchmark.js";

/** A server without any table. */
export interface MeasuredDynamoDb {
  readonly endpoint: string;
  /** What the figures were measured on, for the notes. */
  readonly description: string;
}

/** A client for `endpoint`. DynamoDB Local takes any credentials. */
export function clientAt(endpoint: string): DynamoDBClient {
  return new DynamoDBClient({
    endpoint,
    region: "eu-central-1",
    maxAttempts: 1,
    credentials: { accessKeyId: "benchmark", secretAccessKey: "benchmark" },
    requestHandler: { httpAgent: { maxSockets: 128, keepAlive: true } },
  });
}

/** Runs `work` with a server that keeps its data in memory. */
export async function withDynamoDb<T>(
  { onProgress }: RunOptions,
  work: (server: MeasuredDynamoDb) => Promise<T>,
): Promise<T> {
  onProgress("starting a server");
  // Only here: who measures something else does without it.
  const { dynamoDbImage, startDynamoDbServer } = await import("@rollcall/conformance/containers");
  await using server = await startDynamoDbServer({ inMemory: true });
  const description = `DynamoDB Local in a container of ${dynamoDbImage()}, in memory. It is no measure of the speed of AWS; both sides had the same one`;
  // Awaited here: the server must not be gone before the work has ended.
  return await work({ endpoint: server.endpoint, description });
}
