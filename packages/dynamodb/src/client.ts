// The client of the AWS SDK: made for a URL, or the caller's own, which must not resend.

import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { RollcallError } from "@rollcall/core";
import type { DynamoDbUrl } from "./store-url.js";

/** A client for what `url` names, on whose requests nobody waits longer than `timeoutMs`. It connects when it is first used. */
export function clientFor({ region, endpoint }: DynamoDbUrl, timeoutMs: number): DynamoDBClient {
  return new DynamoDBClient({
    ...(region === undefined ? {} : { region }),
    ...(endpoint === undefined ? {} : { endpoint }),
    // Retries are core's: what is sent again later would undo what came in between.
    maxAttempts: 1,
    requestHandler: { connectionTimeout: timeoutMs, httpAgent: AGENT, httpsAgent: AGENT },
  });
}

const AGENT = { maxSockets: 128, keepAlive: true };

/** @throws `invalid_request` if `client` sends a request again by itself. */
export async function requireSingleAttempts({ config }: DynamoDBClient): Promise<void> {
  if ((await config.maxAttempts()) === 1) return;
  throw new RollcallError(
    "invalid_request",
    "DynamoDB: the client sends requests again by itself, which would undo what came in between; make it with maxAttempts: 1",
  );
}
