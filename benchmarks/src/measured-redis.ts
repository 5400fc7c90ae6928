// The Redis server that a benchmark measures, the same one for both sides: in a container of its own, or the user's.

import { randomBytes } from "node:crypto";
import { BlockList } from "node:net";
import { networkInterfaces } from "node:os";
import { Redis, type RedisOptions } from "ioredis";
import type { RunOptions } from "./benchmark.js";

/** A server that holds nothing but what a benchmark puts there. */
export interface MeasuredRedis {
  readonly url: string;
  /** What the figures were measured on, for the notes. */
  readonly description: string;
  /** A client for what is in neither side's time. */
  readonly admin: Redis;
  /** Removes everything. */
  empty(): Promise<void>;
}

/** Runs `work` with a server. @throws if the user's server is not empty. */
export async function withRedis<T>(
  { redisUrl, onProgress }: RunOptions,
  work: (server: MeasuredRedis) => Promise<T>,
): Promise<T> {
  if (redisUrl !== undefined) return withServerAt(redisUrl, "the server given, as it is configured", work);
  onProgress("starting a server");
  // Only here: who measures something else does without it.
  const { redisImage, startRedisServer } = await import("@rollcall/conformance/containers");
  await using server = await startRedisServer();
  const login = { username: "bench", password: randomBytes(16).toString("hex") };
  await server.cli("acl", "setuser", login.username, "on", `>${login.password}`, "~*", "&*", "+@all");
  const { address, way } = await shortestWay({ ...login, host: server.host, port: server.port });
  // Awaited here: the server must not be gone before the work has ended.
  return await withServerAt(urlOf(address), `in a container of ${redisImage()}, without persistence, ${way}`, work);
}

async function withServerAt<T>(url: string, what: string, work: (server: MeasuredRedis) => Promise<T>): Promise<T> {
  const admin = await connectTo(url);
  try {
    if (/^db\d+:/m.test(await admin.info("keyspace")))
      throw new Error(
        "the server is not empty; a benchmark removes everything that is on it, so give it one of its own",
      );
    const empty = async () => {
      await admin.flushall("SYNC");
    };
    const version = field(await admin.info("server"), "redis_version");
    try {
      return await work({ url, description: `Redis ${version}, ${what}`, admin, empty });
    } finally {
      // Where it fails the connection is gone, and the error of the work itself tells why.
      await empty().catch(() => {});
    }
  } finally {
    admin.disconnect();
  }
}

/**
 * Docker passes on what comes to a published port of the loopback address through a process of its own, which would take a third
 * core and slow down whoever sends more. So where the container's own address is on a bridge of this machine, and the same
 * server answers there, both sides connect to that.
 */
async function shortestWay(published: Address): Promise<{ readonly address: Address; readonly way: string }> {
  const own = await ask(published, (client) => client.client("INFO"));
  const [, host = "", port = ""] = / laddr=([\d.]+):(\d+)/.exec(own) ?? [];
  const direct = { ...published, host, port: Number(port) };
  const runId = await runIdAt(published);
  if (runId !== undefined && isOnBridge(host) && (await runIdAt(direct)) === runId)
    return { address: direct, way: "reached at the container's own address" };
  return { address: published, way: "reached through Docker's proxy" };
}

/**
 * Where a server is, and a login that this one server knows: the engine gives the address of a container that has ended to the next
 * one, which then must not take what was meant for the first.
 */
interface Address {
  readonly host: string;
  readonly port: number;
  readonly username: string;
  readonly password: string;
}

function urlOf({ host, port, username, password }: Address): string {
  return `redis://${username}:${password}@${host}:${port}`;
}

function isOnBridge(address: string): boolean {
  return Object.values(networkInterfaces())
    .flatMap((interfaces) => interfaces ?? [])
    .filter(({ family, internal }) => family === "IPv4" && !internal)
    .some(({ cidr }) => {
      const [network = "", bits = ""] = cidr?.split("/") ?? [];
      const list = new BlockList();
      list.addSubnet(network, Number(bits));
      return list.check(address);
    });
}

async function runIdAt(address: Address): Promise<string | undefined> {
  const info = await ask(address, (client) => client.info("server")).catch(() => "");
  return field(info, "run_id") || undefined;
}

async function ask(address: Address, question: (client: Redis) => Promise<unknown>): Promise<string> {
  const client = await connectTo(urlOf(address));
  try {
    return String(await question(client));
  } finally {
    client.disconnect();
  }
}

/** A client that never connects again: a server that is lost ends the measurement. */
export async function connectTo(url: string, options: RedisOptions = {}): Promise<Redis> {
  const client = new Redis(url, { ...options, connectTimeout: 2_000, lazyConnect: true, retryStrategy: () => null });
  // connect() and the commands fail with "Connection is closed"; the reason comes by this event.
  let reason: Error | undefined;
  client.on("error", (error: Error) => {
    reason = error;
  });
  try {
    await client.connect();
  } catch (error) {
    throw reason ?? error;
  }
  return client;
}

/** Another database of the server at `url`. Databases share no table of keys. @throws if the server has none, or this user no right to it. */
export async function databaseBeside(url: string): Promise<string> {
  const beside = new URL(url);
  const database = Number(beside.pathname.slice(1)) === 1 ? 2 : 1;
  beside.pathname = `/${database}`;
  const client = await connectTo(beside.href);
  try {
    // ioredis, when it connects, says nothing of a refusal.
    await client.select(database);
  } finally {
    client.disconnect();
  }
  return beside.href;
}

/** Memory that the server of `client` has allocated, in bytes. */
export async function usedBytesOf(client: Redis): Promise<number> {
  return Number(field(await client.info("memory"), "used_memory"));
}

/** A field of an `INFO`. */
function field(info: string, name: string): string {
  return new RegExp(`^${name}:(.*?)\\r?$`, "m").exec(info)?.[1] ?? "";
}
