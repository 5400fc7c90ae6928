// The servers that the integration tests share, each started once. Tests that break a server start one of their own.

import { startRedisCluster, startRedisSentinel, startRedisServer } from "@rollcall/conformance/containers";
import type { TestProject } from "vitest/node";

type Server = Awaited<ReturnType<typeof startRedisServer>>;
type Sentinel = Awaited<ReturnType<typeof startRedisSentinel>>;
type Cluster = Awaited<ReturnType<typeof startRedisCluster>>;

declare module "vitest" {
  interface ProvidedContext {
    readonly redisServer: Pick<Server, "host" | "port" | "tlsPort" | "ca" | "wrongCa">;
    readonly redisSentinel: Pick<Sentinel, "sentinels" | "name" | "natMap">;
    readonly redisCluster: Pick<Cluster, "nodes" | "natMap">;
  }
}

/** The user of the tests with rights of its own: what the Redis page says that suffices. */
export const SYNCER = { username: "syncer", password: "s3cret/with@signs" };

/** Runs of each property where another file has run a hundred on the same kind of server. */
export const FEWER_RUNS = 20;

export default async function startServers(project: TestProject): Promise<() => Promise<void>> {
  const [server, sentinel, cluster] = await Promise.all([
    startRedisServer(),
    startRedisSentinel(),
    startRedisCluster(),
  ]);
  await server.cli("acl", "setuser", SYNCER.username, "on", `>${SYNCER.password}`, ...syncerRights("secure."));
  const { host, port, tlsPort, ca, wrongCa } = server;
  project.provide("redisServer", { host, port, tlsPort, ca, wrongCa });
  project.provide("redisSentinel", { sentinels: sentinel.sentinels, name: sentinel.name, natMap: sentinel.natMap });
  project.provide("redisCluster", { nodes: cluster.nodes, natMap: cluster.natMap });
  return async () => {
    await Promise.all([server.stop(), sentinel.stop(), cluster.stop()]);
  };
}

/**
 * What a process that syncs needs under keys that begin with `prefix`: the line of the Redis page. CLUSTER is for a Cluster, SELECT for
 * another database than 0, WAIT for `minReplicas`.
 */
export function syncerRights(prefix: string): string[] {
  return [`~${prefix}*`, `~{${prefix}*`, ...SYNCER_COMMANDS];
}

const SYNCER_COMMANDS: readonly string[] = [
  "+info",
  "+wait",
  "+get",
  "+hget",
  "+hmget",
  "+hkeys",
  "+hset",
  "+hsetnx",
  "+hdel",
  "+hincrby",
  "+lrange",
  "+lpush",
  "+ltrim",
  "+eval",
  "+evalsha",
  "+exists",
  "+hscan",
  "+getrange",
  "+setbit",
  "+cluster|slots",
  "+cluster|info",
  "+select",
];
