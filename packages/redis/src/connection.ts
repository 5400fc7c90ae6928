// Talking to Redis: each exchange bounded in time, no error in Redis's own words, and nothing taken from a server that is not the one
// that was opened.

import { handleNotOpen, isRollcallError, RollcallError } from "@rollcall/core";
import {
  byText,
  type Call,
  type Command,
  commandOf,
  isCluster,
  isForgotten,
  isScript,
  type RedisClient,
  type ScriptCall,
  sendCommands,
} from "./commands.js";
import { createDeadline } from "./deadline.js";
import { type LastError, storeError } from "./native-error.js";

/** How a connection waits. */
export interface ConnectionOptions {
  readonly environment: string;
  /** Whether the client was made for this connection alone. */
  readonly ownsClient: boolean;
  /** Whether {@link Connection.write} is refused. */
  readonly readOnly: boolean;
  /** How long one exchange may take. */
  readonly timeoutMs: number;
  /** How many replicas must confirm a write, and how long that may take. */
  readonly minReplicas: number;
  readonly replicaTimeoutMs: number;
  /** Throws if the server is not the one that was opened. Called before anything else goes over a new connection. */
  requireSameServer(send: Connection["send"]): Promise<void>;
}

/** Exchanges with the database. Replies are in the order of what was sent. */
export interface Connection {
  /** Connects, unless the client does so by itself. */
  open(): Promise<void>;
  /** Ends the connection too if the client was made for it. */
  close(): void;
  /** How often a connection was lost. What was learned of a server's data before may not be so after it. */
  readonly losses: number;
  /**
   * Sends commands, and runs scripts, that read: in one round trip, two where the server has forgotten a script.
   * @throws the worst error among the replies.
   */
  send(calls: readonly Call[]): Promise<unknown[]>;
  /**
   * Sends one command that reads, in the fewest steps: the lookup of one context spends as long in code as on the wire. Sends nothing and answers
   * `undefined` where something has to be looked after first; {@link Connection.send} does that.
   */
  sendAtOnce(command: Command): Promise<unknown> | undefined;
  /**
   * The same for what writes, and waits for as many replicas as the options say. Calls of an iterable that is no array go out one by one, each when it
   * is made, unless there is something to wait for.
   * @throws `store_read_only` if the options say so; `store_unavailable` if too few replicas confirmed.
   */
  write(calls: Iterable<Call>): Promise<unknown[]>;
  /**
   * Does `work`, which only reads, by the `send` that it gets, and again if a connection was lost meanwhile: a server without its data may
   * have answered.
   */
  steadily<T>(work: (send: Connection["send"]) => Promise<T>): Promise<T>;
  /** Whether writes wait for replicas. */
  readonly confirms: boolean;
  /** `INFO` of the server, or of each primary of the Cluster. */
  info(): Promise<string[]>;
}

/** How often what was read is read again because a connection was lost meanwhile. */
const MOST_READS = 5;

/** Wraps `client`. */
export function createConnection(client: RedisClient, options: ConnectionOptions): Connection {
  const { environment, ownsClient, readOnly, timeoutMs, minReplicas, replicaTimeoutMs } = options;
  const confirms = minReplicas > 0 && !readOnly;
  const lastError: LastError = { error: undefined };
  const { within, giveUpAll } = createDeadline(timeoutMs, reconnect);
  /** Whether it has answered before: from then on a client that has ended was ended by its owner. */
  let hasAnswered = false;
  /** Whether what answers is known to be the server that was opened. */
  let isChecked = false;
  let losses = 0;
  let checking: Promise<void> | undefined;
  const onError = (error: Error) => {
    lastError.error = error;
  };
  const onReady = () => {
    lastError.error = undefined;
  };
  const onLoss = () => {
    isChecked = false;
    losses++;
  };
  client.on("error", onError);
  client.on("ready", onReady);
  client.on("close", onLoss);
  // A Cluster's client that has ended may leave calls without an answer.
  client.on("end", giveUpAll);
  // A node of a Cluster.
  client.on("-node", onLoss);

  /** A connection that says nothing may be dead without a word. That of a client of the caller's is his to end. */
  function reconnect(): void {
    if (!ownsClient) return;
    if (isCluster(client)) {
      for (const node of client.nodes("all")) if (node.commandQueue.length > 0) node.disconnect();
    } else if (client.status === "ready" || client.status === "connect") {
      // While it connects, its own limits hold: to be interrupted then may end it.
      client.disconnect(true);
    }
  }

  /** Nothing to wait for if the server is known. */
  function checkServer(): Promise<void> | undefined {
    // The event of a lost connection comes a moment after the status.
    if (client.status !== "ready") isChecked = false;
    if (isChecked) return undefined;
    checking ??= untilChecked().finally(() => {
      checking = undefined;
    });
    return checking;
  }

  /** Connects a client that does not do so by itself, or has given up. */
  async function connect(): Promise<void> {
    if (client.status !== "wait" && !(ownsClient && client.status === "end")) return;
    try {
      await within(client.connect());
    } catch (cause) {
      throw storeError(cause, lastError);
    }
  }

  async function untilChecked(): Promise<void> {
    while (!isChecked) {
      const before = losses;
      try {
        await connect();
        await options.requireSameServer(sendNow);
      } catch (error) {
        // A replica, or a server that is not there yet: the next connection may lead to another one.
        if (isRollcallError(error, "store_unavailable")) reconnect();
        throw error;
      }
      isChecked = losses === before;
    }
  }

  async function steadily<T>(work: (send: Connection["send"]) => Promise<T>): Promise<T> {
    for (let reads = 0; reads < MOST_READS; reads++) {
      const check = checkServer();
      if (check !== undefined) await check;
      const before = losses;
      const found = await work(sendNow);
      if (losses === before) return found;
    }
    throw new RollcallError("store_unavailable", "Redis: the connection breaks again and again; repeat");
  }

  /** Every reply or error, in order; rejects only for what hit all of them. */
  async function exchange(commands: Iterable<Command>, to: RedisClient = client): Promise<unknown[]> {
    // Before anything is sent: what fails later may have taken effect.
    if (isClosed()) throw handleNotOpen(environment, "closed");
    requirePrimary();
    try {
      const replies = await within(sendCommands(to, commands));
      hasAnswered ||= replies.some((reply) => !(reply instanceof Error));
      return replies;
    } catch (cause) {
      throw storeError(cause, lastError);
    }
  }

  function isClosed(): boolean {
    if (ownsClient) return false;
    // A Cluster's client may stay at any status when its owner closes it, and then lets commands wait for good.
    if ("manuallyClosing" in client && client.manuallyClosing === true) return true;
    return client.status === "end" && (hasAnswered || lastError.error === undefined);
  }

  // Without a connection to any primary ioredis asks replicas, which lag behind.
  function requirePrimary(): void {
    if (!isCluster(client) || client.status !== "ready" || client.nodes("master").length > 0) return;
    client.refreshSlotsCache(() => {});
    throw noPrimary();
  }

  function sendAtOnce(command: Command): Promise<unknown> {
    const before = losses;
    return within(client.callBuffer(...command)).then(
      (reply) => (losses === before ? reply : steadily(async (send) => (await send([command]))[0])),
      (cause) => {
        throw storeError(cause, lastError);
      },
    );
  }

  function requireReplies(replies: readonly unknown[]): unknown[] {
    const errors = replies.filter((reply) => reply instanceof Error).map((error) => storeError(error, lastError));
    // What may have taken effect decides what the caller may believe.
    const worst = errors.find(({ code }) => code === "store_unavailable") ?? errors[0];
    if (worst !== undefined) throw worst;
    return [...replies];
  }

  /** Of a server that is known. `behind` goes out behind each exchange; the replies to it are the last ones. */
  async function sendNow(calls: readonly Call[], behind: readonly Command[] = []): Promise<unknown[]> {
    return settle(calls, await exchange([...calls.map(commandOf), ...behind]), behind);
  }

  /** Sends each call when it is made. */
  async function sendAsMade(calls: Iterable<Call>): Promise<unknown[]> {
    const made: Call[] = [];
    function* commands() {
      for (const call of calls) {
        made.push(call);
        yield commandOf(call);
      }
    }
    return settle(made, await exchange(commands()));
  }

  /** The replies to `calls` and to what went out behind them. */
  async function settle(
    calls: readonly Call[],
    replies: unknown[],
    behind: readonly Command[] = [],
  ): Promise<unknown[]> {
    const forgotten = calls.flatMap((call, index) => (isScript(call) && isForgotten(replies[index]) ? [index] : []));
    if (forgotten.length > 0) {
      // A script that Redis does not know has not run. EVAL runs it and makes it known.
      const again = await exchange([...forgotten.map((index) => byText(calls[index] as ScriptCall)), ...behind]);
      forgotten.forEach((index, position) => {
        replies[index] = again[position];
      });
      replies.push(...again.slice(forgotten.length));
    }
    return requireReplies(replies);
  }

  // WAIT speaks of what the server had written when its own connection sent the command before, so it must not come over another one.
  async function sendAndWait(calls: readonly Call[]): Promise<unknown[]> {
    const wait: Command = ["wait", minReplicas, replicaTimeoutMs];
    if (!isCluster(client)) {
      // In one pipeline: it takes one connection, and fails with it.
      const replies = await sendNow(calls, [wait]);
      requireConfirmed(replies.splice(calls.length));
      return replies;
    }
    const primaries = client.nodes("master");
    const replies = await sendNow(calls);
    // A connection to a node of a Cluster is not made again, so the same object is the same connection.
    const isNew = client.nodes("master").some((node) => !primaries.includes(node));
    if (isNew)
      throw new RollcallError("store_unavailable", "Redis: the Cluster got another primary during a write; repeat it");
    const confirmed = await Promise.all(primaries.map((node) => exchange([wait], node)));
    requireConfirmed(requireReplies(confirmed.flat()));
    return replies;
  }

  function requireConfirmed(counts: readonly unknown[]): void {
    const least = Math.min(...counts.map(Number));
    if (counts.length > 0 && least >= minReplicas) return;
    throw new RollcallError(
      "store_unavailable",
      `Redis: ${least} of ${minReplicas} replicas confirmed a write within ${replicaTimeoutMs} ms; check the replicas, then repeat`,
    );
  }

  return {
    confirms,
    get losses() {
      return losses;
    },
    async open() {
      await connect();
      // ioredis chooses the database too, and says nothing where the user may not.
      const { db = 0 } = client.options as { readonly db?: number };
      if (db !== 0) await sendNow([["select", db]]);
    },
    close() {
      client.off("error", onError);
      client.off("ready", onReady);
      client.off("close", onLoss);
      client.off("end", giveUpAll);
      client.off("-node", onLoss);
      if (!ownsClient) return;
      client.on("error", () => {});
      client.disconnect();
      // Not every call that a client of a Cluster has under way hears of that.
      giveUpAll();
    },
    send: (calls) => steadily((send) => send(calls)),
    sendAtOnce: (command) =>
      isChecked && client.status === "ready" && !client.isCluster ? sendAtOnce(command) : undefined,
    async write(calls) {
      if (readOnly)
        throw new RollcallError("store_read_only", `the store of environment ${environment} was opened with readOnly`);
      const check = checkServer();
      if (check !== undefined) await check;
      if (confirms) return sendAndWait([...calls]);
      return Array.isArray(calls) ? sendNow(calls) : sendAsMade(calls);
    },
    steadily,
    async info() {
      // A Cluster's client does not know the nodes yet.
      if (client.status !== "ready") await sendNow([["info"]]);
      const servers = isCluster(client) ? client.nodes("master") : [client];
      if (servers.length === 0) throw noPrimary();
      const replies = await Promise.all(servers.map((server) => exchange([["info"]], server)));
      // Nobody should learn of a missing right after a write.
      if (confirms) for (const server of servers) requireReplies(await exchange([["wait", 0, 1]], server));
      return replies.map((reply) => String(requireReplies(reply)[0]));
    },
  };
}

function noPrimary(): RollcallError {
  return new RollcallError("store_unavailable", "Redis: no primary of the Cluster is connected; repeat");
}
