// The kinds of servers as a test reaches them with a client of either ioredis, and users with rights of their own on them.

import { randomBytes, randomUUID } from "node:crypto";
import type { Address } from "@rollcall/conformance/containers";
import { Cluster, Redis } from "ioredis";
import { Cluster as Cluster6, Redis as Redis6 } from "ioredis-6";
import { inject } from "vitest";
import type { RedisClient } from "./index.js";

/** With whom a client logs in. */
interface Login {
  readonly username: string;
  readonly password: string;
}

/** A client as its owner has it. */
export interface OwnedClient extends RedisClient {
  quit(): Promise<unknown>;
}

/** Servers of one kind. */
export interface Deployment {
  readonly name: string;
  /** A client that nothing is wrong with, but perhaps its login. */
  connect(login?: Login): OwnedClient;
  /** Makes a user with these rights on every server. */
  createUser(rights: readonly string[]): Promise<Login>;
}

/** What keeps a client from sending a write twice. */
export const NO_RESENDING = { autoResendUnfulfilledCommands: false, maxRetriesPerRequest: 0 } as const;

const { host, port } = inject("redisServer");
const { sentinels, name, natMap } = inject("redisSentinel");
const { nodes, natMap: clusterMap } = inject("redisCluster");

/** The primary and the replica that the Sentinel watches. */
export const SENTINEL_DATA = Object.values(natMap).filter((server) => server.port !== sentinels[0]?.port);

/** One server, which nobody else may know. */
export function singleAt(server: Address): Deployment {
  return {
    name: "one server",
    connect: (login) => new Redis({ ...server, ...login, ...NO_RESENDING }),
    createUser: (rights) => createUser([server], rights),
  };
}

export const SINGLE: Deployment = singleAt({ host, port });

const SINGLE_6: Deployment = {
  ...SINGLE,
  name: "one server, ioredis 6",
  connect: (login) => new Redis6({ host, port, ...login, ...NO_RESENDING }),
};

export const SENTINEL: Deployment = {
  name: "behind a Sentinel",
  connect: (login) => new Redis({ sentinels: [...sentinels], name, natMap, ...login, ...NO_RESENDING }),
  createUser: (rights) => createUser(SENTINEL_DATA, rights),
};

export const CLUSTER: Deployment = {
  name: "a Cluster",
  connect: (login) =>
    new Cluster([...nodes], { natMap: clusterMap, retryDelayOnFailover: 0, redisOptions: { ...login } }),
  createUser: (rights) => createUser(nodes, rights),
};

const CLUSTER_6: Deployment = {
  ...CLUSTER,
  name: "a Cluster, ioredis 6",
  connect: (login) =>
    new Cluster6([...nodes], { natMap: clusterMap, retryDelayOnFailover: 0, redisOptions: { ...login } }),
};

/** Each kind that a client of a user's may be for. */
export const DEPLOYMENTS: readonly Deployment[] = [SINGLE, SINGLE_6, SENTINEL, CLUSTER, CLUSTER_6];

/** What a process that only reads needs under keys that begin with `prefix`: the other line of the Redis page. */
export function readerRights(prefix: string): string[] {
  const commands = ["+info", "+hget", "+hmget", "+hkeys", "+eval", "+evalsha", "+cluster|slots", "+cluster|info"];
  return [`~${prefix}*`, `~{${prefix}*`, ...commands];
}

async function createUser(servers: readonly Address[], rights: readonly string[]): Promise<Login> {
  const login = { username: `user-${randomUUID()}`, password: randomBytes(12).toString("base64") };
  for (const server of servers) {
    const admin = new Redis({ ...server, ...NO_RESENDING });
    await admin.call("acl", "setuser", login.username, "on", `>${login.password}`, ...rights);
    admin.disconnect();
  }
  return login;
}
