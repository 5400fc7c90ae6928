// Talking to Redis: commands and scripts over whatever client there is, each exchange bounded in time, no error in Redis's own words.

import { handleNotOpen, RollcallError } from "@rollcall/core";
import { type LastError, storeError } from "./native-error.js";
import type { Script } from "./script.js";

/** An argument as Redis takes it. */
export type Argument = string | number | Buffer;

/** A command with its arguments. */
export type Command = readonly [name: string, ...args: Argument[]];

/**
 * What is needed of a client: a `Redis` or a `Cluster` of ioredis 5 or 6. It must not resend a write whose reply was lost:
 * see {@link requireFitClient}.
 */
export interface RedisClient {
  readonly status: string;
  readonly options: object;
  readonly isCluster: boolean;
  connect(): Promise<unknown>;
  disconnect(): void;
  callBuffer(command: string, ...args: Argument[]): Promise<unknown>;
  pipeline(): unknown;
  on(event: ClientEvent, listener: (error: Error) => void): unknown;
  off(event: ClientEvent, listener: (error: Error) => void): unknown;
}

type ClientEvent = "error" | "ready" | "close" | "-node";

/** The part of a `Cluster` that a single server's client has not. */
interface ClusterClient extends RedisClient {
  nodes(role: "master"): RedisClient[];
}

interface Pipeline {
  callBuffer(command: string, ...args: Argument[]): unknown;
  exec(): Promise<[error: Error | null, reply: unknown][] | null>;
}

/** A script to run. */
export interface ScriptCall {
  readonly script: Script;
  readonly keys: readonly string[];
  readonly args: readonly Argument[];
}

type Call = ScriptCall | Command;

/** How a connection waits. */
export interface ConnectionOptions {
  readonly environment: string;
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
  close(options: { readonly disconnect: boolean }): void;
  /** Sends commands in one round trip. @throws the first error among the replies. */
  send(commands: readonly Command[]): Promise<unknown[]>;
  /** Runs scripts in one round trip, two where the server has forgotten them. @throws as {@link Connection.send}. */
  run(calls: readonly ScriptCall[]): Promise<unknown[]>;
  /**
   * The same for scripts and commands that write, and waits for as many replicas as the options say.
   * @throws `store_read_only` if the options say so; `store_unavailable` if too few replicas confirmed.
   */
  write(calls: readonly Call[]): Promise<unknown[]>;
  /** `INFO` of the server, or of each primary of the Cluster. */
  info(): Promise<string[]>;
}

/** Wraps `client`. */
export function createConnection(client: RedisClient, options: ConnectionOptions): Connection {
  const lastError: LastError = { error: undefined };
  const remember = (error: Error) => {
    lastError.error = error;
  };
  const forget = () => {
    lastError.error = undefined;
  };
  /** Whether what answers is known to be the server that was opened. */
  let isKnown = false;
  let losses = 0;
  let meeting: Promise<void> | undefined;
  const lose = () => {
    isKnown = false;
    losses++;
  };
  client.on("error", remember);
  client.on("ready", forget);
  client.on("close", lose);
  // A node of a Cluster.
  client.on("-node", lose);

  /** The event of a lost connection comes a moment after the status. */
  function meet(): Promise<void> | undefined {
    if (client.status !== "ready") isKnown = false;
    if (isKnown) return undefined;
    meeting ??= introduce().finally(() => {
      meeting = undefined;
    });
    return meeting;
  }

  async function introduce(): Promise<void> {
    while (!isKnown) {
      const before = losses;
      await options.requireSameServer(sendNow);
      isKnown = losses === before;
    }
  }

  /** Every reply or error, in order; rejects only for what hit all of them. */
  async function exchange(commands: readonly Command[], to: RedisClient = client): Promise<unknown[]> {
    const work = commands.length > 1 && !client.isCluster ? pipelined(to, commands) : oneByOne(to, commands);
    try {
      return await within(work, `no reply within ${options.timeoutMs} ms`);
    } catch (cause) {
      throw failure(cause);
    }
  }

  /** An exchange that is given up may still take effect: that is what `store_unavailable` says. */
  async function within<T>(work: Promise<T>, silence: string): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const deadline = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(silence)), options.timeoutMs);
    });
    work.catch(() => {});
    try {
      return await Promise.race([work, deadline]);
    } finally {
      clearTimeout(timer);
    }
  }

  function failure(cause: unknown): RollcallError {
    // ioredis ends an idle client of the owner without a word; later commands then fail like those of a lost connection.
    if (client.status === "end" && lastError.error === undefined) return handleNotOpen(options.environment, "closed");
    return storeError(cause, lastError);
  }

  function requireReplies(replies: readonly unknown[]): unknown[] {
    const errors = replies.filter((reply) => reply instanceof Error).map(failure);
    // What may have taken effect decides what the caller may believe.
    const worst = errors.find(({ code }) => code === "store_unavailable") ?? errors[0];
    if (worst !== undefined) throw worst;
    return [...replies];
  }

  const sendNow = async (commands: readonly Command[]) => requireReplies(await exchange(commands));

  /** `behind` goes out behind each exchange; the replies to it are the last ones. */
  async function runAll(calls: readonly Call[], behind: readonly Command[] = []): Promise<unknown[]> {
    await meet();
    const replies = await exchange([...calls.map((call) => (isScript(call) ? byDigest(call) : call)), ...behind]);
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

  // WAIT speaks of the writes of its own connection only, so it must not come over one that was made after them.
  async function writeAndWait(calls: readonly Call[]): Promise<unknown[]> {
    const { minReplicas, replicaTimeoutMs } = options;
    const wait: Command = ["wait", minReplicas, replicaTimeoutMs];
    if (!isCluster(client)) {
      // In one pipeline: it takes one connection, and fails with it.
      const replies = await runAll(calls, [wait]);
      requireConfirmed(replies.splice(calls.length));
      return replies;
    }
    const primaries = client.nodes("master");
    const replies = await runAll(calls);
    // A connection to a node of a Cluster is not made again, so the same object is the same connection.
    const isNew = client.nodes("master").some((node) => !primaries.includes(node));
    if (isNew)
      throw new RollcallError("store_unavailable", "Redis: the Cluster got another primary during a write; repeat it");
    const confirmed = await Promise.all(primaries.map((node) => exchange([wait], node)));
    requireConfirmed(requireReplies(confirmed.flat()));
    return replies;
  }

  function requireConfirmed(counts: readonly unknown[]): void {
    const { minReplicas, replicaTimeoutMs } = options;
    const least = Math.min(...counts.map(Number));
    if (least >= minReplicas) return;
    throw new RollcallError(
      "store_unavailable",
      `Redis: ${least} of ${minReplicas} replicas confirmed a write within ${replicaTimeoutMs} ms; check the replicas, then repeat`,
    );
  }

  return {
    async open() {
      try {
        if (client.status === "wait") await within(client.connect(), `no connection within ${options.timeoutMs} ms`);
      } catch (cause) {
        throw storeError(cause, lastError);
      }
      // ioredis chooses the database too, and says nothing where the user may not.
      const { db = 0 } = client.options as { readonly db?: number };
      if (db !== 0) await sendNow([["select", db]]);
    },
    close({ disconnect }) {
      client.off("error", remember);
      client.off("ready", forget);
      client.off("close", lose);
      client.off("-node", lose);
      if (!disconnect) return;
      client.on("error", () => {});
      client.disconnect();
    },
    async send(commands) {
      const meeting = meet();
      if (meeting !== undefined) await meeting;
      return sendNow(commands);
    },
    run: (calls) => runAll(calls),
    async write(calls) {
      const { environment, minReplicas, readOnly } = options;
      if (readOnly)
        throw new RollcallError("store_read_only", `the store of environment ${environment} was opened with readOnly`);
      return minReplicas > 0 ? writeAndWait(calls) : runAll(calls);
    },
    async info() {
      const servers = isCluster(client) ? client.nodes("master") : [client];
      const replies = await Promise.all(servers.map((server) => exchange([["info"]], server)));
      return replies.map((reply) => String(requireReplies(reply)[0]));
    },
  };
}

async function pipelined(client: RedisClient, commands: readonly Command[]): Promise<unknown[]> {
  const pipeline = client.pipeline() as Pipeline;
  for (const command of commands) pipeline.callBuffer(...(command as [string, ...Argument[]]));
  const replies = (await pipeline.exec()) ?? [];
  return replies.map(([error, reply]) => error ?? reply);
}

// A Cluster's client follows MOVED, ASK and TRYAGAIN for a command on its own, and not for a part of a pipeline.
function oneByOne(client: RedisClient, commands: readonly Command[]): Promise<unknown[]> {
  return Promise.all(commands.map(([name, ...args]) => client.callBuffer(name, ...args).catch((error) => error)));
}

function isCluster(client: RedisClient): client is ClusterClient {
  return client.isCluster;
}

function isScript(call: Call): call is ScriptCall {
  return "script" in call;
}

function byDigest({ script, keys, args }: ScriptCall): Command {
  return ["evalsha", script.sha1, keys.length, ...keys, ...args];
}

function byText({ script, keys, args }: ScriptCall): Command {
  return ["eval", script.text, keys.length, ...keys, ...args];
}

function isForgotten(reply: unknown): boolean {
  return reply instanceof Error && reply.message.startsWith("NOSCRIPT");
}

/**
 * Checks that `client` never sends a write twice by itself, for a lost reply may have been a success and only core knows whether
 * to repeat; that it reads from primaries; and that it follows slots that move. @throws `invalid_request` that names the option.
 */
export function requireFitClient(client: RedisClient): void {
  const options = client.options as {
    readonly autoResendUnfulfilledCommands?: boolean;
    readonly retryDelayOnFailover?: number;
    readonly clusterNodeRetryStrategy?: unknown;
    readonly scaleReads?: unknown;
    readonly enableAutoPipelining?: boolean;
  };
  const resends = "sends writes again when a connection is lost, which can undo a later sync";
  if (!client.isCluster) {
    if (options.autoResendUnfulfilledCommands !== false)
      throw unfit(resends, "autoResendUnfulfilledCommands: false and maxRetriesPerRequest: 0");
    return;
  }
  if (options.retryDelayOnFailover !== 0) throw unfit(resends, "retryDelayOnFailover: 0");
  if (typeof options.clusterNodeRetryStrategy === "function") throw unfit(resends, "no clusterNodeRetryStrategy");
  if (options.scaleReads !== undefined && options.scaleReads !== "master")
    throw unfit("reads from replicas, which lag behind what was acknowledged", 'scaleReads: "master"');
  if (options.enableAutoPipelining === true)
    throw unfit("does not follow a slot that moves for commands that it joined", "enableAutoPipelining: false");
}

function unfit(what: string, remedy: string): RollcallError {
  return new RollcallError("invalid_request", `the ioredis client ${what}; make it with ${remedy}`);
}
