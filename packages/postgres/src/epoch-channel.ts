// Being told when the epoch moves: NOTIFY in the transaction that moves it, LISTEN on a connection of its own. A pooler may give a
// session to others after each transaction: where one is met, nothing is listened to.

import { createHash } from "node:crypto";
import { handleNotOpen } from "@rollcall/core";
import { storeError } from "./native-error.js";

/** What a notification of an environment's epoch is sent to: letters, digits and `_`, and the same wherever the schema has that name. */
export function channelOf(schema: string, environment: string): string {
  const place = createHash("sha256")
    .update(JSON.stringify([schema, environment]))
    .digest("hex");
  return `rollcall_${place.slice(0, 32)}`;
}

/** A client of pg that is not connected yet. */
interface ListeningClient {
  /** As the server, or a pooler in its place, has said. */
  readonly processID?: unknown;
  readonly connection?: { readonly stream: { destroy(): void } };
  connect(): Promise<unknown>;
  query(query: {
    readonly text: string;
    readonly query_timeout: number;
  }): Promise<{ readonly rows: readonly unknown[] }>;
  on(event: "error", listener: (error: Error) => void): unknown;
  on(event: "notification" | "end", listener: () => void): unknown;
  unref?(): void;
  end(): Promise<void>;
}

/** What is needed of a `Pool` of pg, to connect as it does without taking one of its connections. */
export interface ClientSource {
  readonly Client: new (options: object) => ListeningClient;
  readonly options: object;
  readonly ending?: boolean;
}

/** `client`, if it is a pool. */
export function clientSource(client: object): ClientSource | undefined {
  const { Client, options } = client as Partial<ClientSource>;
  return typeof Client === "function" && typeof options === "object" && options !== null
    ? (client as ClientSource)
    : undefined;
}

/** How long a connection that listens is silent before the network is asked whether it is there. */
const KEEP_ALIVE_MS = 30_000;
/** How long the end of a connection may take before it is cut. */
const END_MS = 2_000;

/** Listens as `watchEpoch` of the port does. One that no longer listens has no connection. */
export async function listenOn(
  channel: string,
  options: {
    readonly source: ClientSource;
    readonly environment: string;
    readonly timeoutMs: number;
    readonly onMoved: () => void;
    readonly signal: AbortSignal;
  },
): Promise<void> {
  const { source, environment, timeoutMs, onMoved, signal } = options;
  if (signal.aborted) return;
  if (source.ending === true) throw handleNotOpen(environment, "closed");
  const client = new source.Client(optionsOf(source, timeoutMs));
  let [isConnected, isOver] = [false, false];
  const tell = () => {
    if (!isOver) onMoved();
  };
  try {
    await new Promise<void>((resolve, reject) => {
      // It stays until the client is gone: an error that nobody hears ends the process.
      client.on("error", reject);
      client.on("end", () => reject(new Error("Connection terminated unexpectedly")));
      client.on("notification", tell);
      signal.addEventListener("abort", () => resolve(), { once: true });
      connect(client)
        .then(() => {
          isConnected = true;
          return begin(client, channel, timeoutMs);
        })
        .then((listens) => (listens ? tell() : resolve()), reject);
    });
  } catch (cause) {
    throw storeError(cause, environment);
  } finally {
    isOver = true;
    // To a server that still waits for the password a good-bye would be a wrong one.
    if (!isConnected) client.connection?.stream.destroy();
    await end(client);
  }
}

/** The pool's own, and a bound on each wait. By descriptors, so that a password stays as hidden as the pool keeps it. */
function optionsOf({ options }: ClientSource, timeoutMs: number): object {
  const bounds = { connectionTimeoutMillis: timeoutMs, keepAlive: true, keepAliveInitialDelayMillis: KEEP_ALIVE_MS };
  return Object.defineProperties(
    {},
    { ...Object.getOwnPropertyDescriptors(options), ...Object.getOwnPropertyDescriptors(bounds) },
  );
}

async function connect(client: ListeningClient): Promise<void> {
  const connected = client.connect();
  client.unref?.();
  await connected;
  // TLS has put another socket in the place of the first.
  client.unref?.();
}

/** Answers `false`, and leaves nothing behind, where it is no server that answers. */
async function begin(client: ListeningClient, channel: string, timeoutMs: number): Promise<boolean> {
  const { rows } = await client.query({ text: "SELECT pg_backend_pid() AS pid", query_timeout: timeoutMs });
  // A pooler makes up the number that it gives to its clients. It would take LISTEN, and leave its connection listening for nobody.
  const [row] = rows as readonly { readonly pid: unknown }[];
  if (client.processID !== Number(row?.pid)) return false;
  await client.query({ text: `LISTEN "${channel}"`, query_timeout: timeoutMs });
  return true;
}

async function end(client: ListeningClient): Promise<void> {
  // The timer also keeps the process until then: the connection itself does not.
  let timer: NodeJS.Timeout | undefined;
  const cut = new Promise<void>((resolve) => {
    timer = setTimeout(() => {
      client.connection?.stream.destroy();
      resolve();
    }, END_MS);
  });
  // What it says at its end changes nothing.
  await Promise.race([client.end().catch(() => {}), cut]);
  clearTimeout(timer);
}
