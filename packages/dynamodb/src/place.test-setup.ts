// Tables of a test's own on the shared server, and clients and URLs that reach them.

import { randomUUID } from "node:crypto";
import { DeleteTableCommand, DynamoDBClient, type DynamoDBClientConfig } from "@aws-sdk/client-dynamodb";
import type { Address } from "@rollcall/conformance/containers";
import { inject } from "vitest";

export const SERVER = inject("dynamoDbServer");

// DynamoDB Local takes any; the SDK finds them where it looks first.
process.env.AWS_ACCESS_KEY_ID = "AKIALOCALTEST";
process.env.AWS_SECRET_ACCESS_KEY = "s3cret/of+the+tests";
process.env.AWS_REGION = "eu-central-1";

/** What no error may show. */
export const SECRET = process.env.AWS_SECRET_ACCESS_KEY;

export function endpointOf({ host, port }: Address): string {
  return `http://${host}:${port}`;
}

/** A client of the tests, that does not resend. */
export function clientOf(at: Address = SERVER, config: DynamoDBClientConfig = {}): DynamoDBClient {
  return new DynamoDBClient({ endpoint: endpointOf(at), maxAttempts: 1, ...config });
}

/** Who makes and removes what tests need. One for each file. */
export const admin = clientOf();

/** The URL of `table`, which is made if it is not there. */
export function urlOf(table: string, { at = SERVER, more = "" }: { at?: Address; more?: string } = {}): string {
  return `dynamodb://${table}?endpoint=${encodeURIComponent(endpointOf(at))}&createTable=true${more}`;
}

/** A name that no other test uses. */
export function newTable(): string {
  return `test_${randomUUID()}`;
}

export async function dropTable(table: string): Promise<void> {
  await admin.send(new DeleteTableCommand({ TableName: table }));
}
