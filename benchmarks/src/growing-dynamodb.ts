// Our side of what grows on DynamoDB. Ten million members are more than DynamoDB Local holds in a sensible time, so a stub takes the inserts of
// blocks and says that all went well; all else goes to the server.

import { randomUUID } from "node:crypto";
import { Readable } from "node:stream";
import type { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { createDynamoDbStore } from "@rollcall/dynamodb";
import type { Growing } from "./growth.js";
import { clientAt } from "./measured-dynamodb.js";
import { withEnvironment } from "./open-environment.js";
import { timedReplaces } from "./timed-replaces.js";

/** Milliseconds for a `replace` into an empty environment, from its first key to its acknowledgement by stub and server. */
export async function firstReplace({ url, members, memoryLimitBytes }: Growing): Promise<number> {
  const client = clientAt(url);
  const taken = takeInserts(client);
  try {
    const store = createDynamoDbStore(client, { environment: randomUUID(), createTable: true, timeoutMs: 60_000 });
    const options = { expectedContexts: members, memoryLimitBytes };
    const [first] = await withEnvironment(store, options, ({ rollcall }) => timedReplaces(rollcall, members, 1));
    if (taken.requests === 0) throw new Error("no insert came to the stub");
    return first ?? Number.NaN;
  } finally {
    client.destroy();
  }
}

/** From now on batches of statements that `client` sends are answered here. */
function takeInserts(client: DynamoDBClient): { readonly requests: number } {
  const taken = { requests: 0 };
  const { requestHandler } = client.config;
  const stub: typeof requestHandler = Object.create(requestHandler, {
    handle: {
      async value(...[request, options]: Parameters<typeof requestHandler.handle>) {
        if (!String(request.headers["x-amz-target"]).endsWith(".BatchExecuteStatement"))
          return requestHandler.handle(request, options);
        taken.requests++;
        const statements = String(request.body).split('"Statement":').length - 1;
        const answer = JSON.stringify({ Responses: Array.from({ length: statements }, () => ({})) });
        const headers = { "content-type": "application/x-amz-json-1.0" };
        return { response: { statusCode: 200, headers, body: Readable.from([Buffer.from(answer)]) } };
      },
    },
  });
  client.config.requestHandler = stub;
  return taken;
}
