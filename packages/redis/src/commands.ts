// Commands and scripts, as they go over a client of ioredis: one server's, or a Cluster's.

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
  disconnect(reconnect?: boolean): void;
  callBuffer(command: string, ...args: Argument[]): Promise<unknown>;
  pipeline(): unknown;
  on(event: ClientEvent, listener: (error: Error) => void): unknown;
  off(event: ClientEvent, listener: (error: Error) => void): unknown;
}

type ClientEvent = "error" | "ready" | "close" | "end" | "-node";

/** The part of a `Cluster` that a single server's client has not. */
interface ClusterClient extends RedisClient {
  nodes(role: "master" | "all"): ClusterNode[];
  refreshSlotsCache(done: () => void): void;
}

/** A node of a Cluster, and what it owes replies to. */
interface ClusterNode extends RedisClient {
  readonly commandQueue: { readonly length: number };
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

/** Either. */
export type Call = ScriptCall | Command;

/**
 * Sends commands in one round trip: an array in one packet, from another iterable each as soon as it is made, so that the server works on one while
 * the next is made. Answers every reply or error, in order; rejects only for what hit all of them.
 */
export function sendCommands(client: RedisClient, commands: Iterable<Command>): Promise<unknown[]> {
  const isPacket = Array.isArray(commands) && commands.length > 1 && !client.isCluster;
  return isPacket ? pipelined(client, commands) : oneByOne(client, commands);
}

async function pipelined(client: RedisClient, commands: readonly Command[]): Promise<unknown[]> {
  const pipeline = client.pipeline() as Pipeline;
  for (const command of commands) pipeline.callBuffer(...(command as [string, ...Argument[]]));
  const replies = (await pipeline.exec()) ?? [];
  return replies.map(([error, reply]) => error ?? reply);
}

// A Cluster's client follows MOVED, ASK and TRYAGAIN for a command on its own, and not for a part of a pipeline.
function oneByOne(client: RedisClient, commands: Iterable<Command>): Promise<unknown[]> {
  const send = ([name, ...args]: Command) => client.callBuffer(name, ...args).catch((error) => error);
  return Promise.all(Array.from(commands, send));
}

/** Whether it is the client of a Cluster. */
export function isCluster(client: RedisClient): client is ClusterClient {
  return client.isCluster;
}

/** Whether a call is one of a script. */
export function isScript(call: Call): call is ScriptCall {
  return "script" in call;
}

/** What is sent for a call: a script by its digest, which Redis may have forgotten. */
export function commandOf(call: Call): Command {
  if (!isScript(call)) return call;
  const { script, keys, args } = call;
  return ["evalsha", script.sha1, keys.length, ...keys, ...args];
}

/** A script by its text, which makes it known. */
export function byText({ script, keys, args }: ScriptCall): Command {
  return ["eval", script.text, keys.length, ...keys, ...args];
}

/** Whether Redis did not know a script, and so has not run it. */
export function isForgotten(reply: unknown): boolean {
  return reply instanceof Error && reply.message.startsWith("NOSCRIPT");
}
