// Talking to DynamoDB: one request at a time over whatever client there is, bounded in time and number, counted, no error in its own
// words.

import type { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { DynamoDBDocumentClient } from "@aws-sdk/lib-dynamodb";
import { countConsumption, createPace, type HandleState, RollcallError, requireOpen } from "@rollcall/core";
import { isRefusedForLoad, LEFT_OVER, storeError } from "./native-error.js";

/** The most requests under way at once, of reads and of writes. */
export const MOST_REQUESTS = 64;

/** Sends requests to the table. */
export interface Connection {
  /** Sends one that reads. `by` is the method of the client. */
  read<Output>(send: Send<Output>): Promise<Output>;
  /** The same for one that writes. @throws `store_read_only` if the options say so. */
  write<Output>(send: Send<Output>): Promise<Output>;
}

/** Sends one request by `client`. */
type Send<Output> = (client: DynamoDBDocumentClient, options: { readonly abortSignal: AbortSignal }) => Promise<Output>;

/** What DynamoDB tells of what a request consumed. */
interface Capacity {
  readonly CapacityUnits?: number | undefined;
}

/** Wraps `client`, whose own settings stay as they are. */
export function createConnection(
  client: DynamoDBClient,
  options: { readonly environment: string; readonly readOnly: boolean; readonly timeoutMs: number },
): Connection {
  const { environment, readOnly, timeoutMs } = options;
  // From a copy: a document client sets its options into the settings of the client that it is made from.
  const own: DynamoDBClient = Object.assign(Object.create(Object.getPrototypeOf(client)), client, {
    config: { ...client.config },
  });
  const documents = DynamoDBDocumentClient.from(own, { marshallOptions: { removeUndefinedValues: true } });
  const paceOf = () => createPace({ most: MOST_REQUESTS, isRefusedForLoad });
  const [reads, writes] = [paceOf(), paceOf()];

  async function run<Output>(send: Send<Output>, kind: "read" | "write"): Promise<Output> {
    try {
      const output = await send(documents, { abortSignal: AbortSignal.timeout(timeoutMs) });
      count(output, kind);
      requireWhole(output);
      return output;
    } catch (cause) {
      throw storeError(cause);
    }
  }

  return {
    read: (send) => reads.run(() => run(send, "read")),
    async write(send) {
      if (readOnly)
        throw new RollcallError("store_read_only", `the store of environment ${environment} was opened with readOnly`);
      return writes.run(() => run(send, "write"));
    },
  };
}

function count(output: unknown, kind: "read" | "write"): void {
  const { ConsumedCapacity: consumed } = Object(output) as { ConsumedCapacity?: Capacity | readonly Capacity[] };
  if (consumed === undefined) return;
  let units = 0;
  for (const { CapacityUnits = 0 } of Array.isArray(consumed) ? consumed : [consumed as Capacity])
    units += CapacityUnits;
  countConsumption({ readUnits: kind === "read" ? units : 0, writeUnits: kind === "write" ? units : 0 });
}

/** @throws a refusal for load if a batch has left something over: `send` asks for that when it is sent again. */
function requireWhole(output: unknown): void {
  const { UnprocessedKeys, UnprocessedItems } = Object(output) as Readonly<Record<string, object | undefined>>;
  if (Object.keys(UnprocessedKeys ?? UnprocessedItems ?? {}).length === 0) return;
  const cause = Object.assign(new Error("a batch has left something over"), { name: LEFT_OVER });
  throw storeError(cause);
}

/** `connection`, refused before it was opened and after it was closed. */
export function whileOpen(connection: Connection, environment: string, state: HandleState): Connection {
  return {
    async read(send) {
      requireOpen(environment, state);
      return connection.read(send);
    },
    async write(send) {
      requireOpen(environment, state);
      return connection.write(send);
    },
  };
}
