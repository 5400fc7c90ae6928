// What a server must be before anything is kept on it.

import { RollcallError } from "@rollcall/core";

/** The oldest release whose HASH commands, ACL and script effects are what the adapter relies on. */
const LEAST_VERSION = [6, 2] as const;

/** Checks one server's `INFO`. @throws `invalid_request`, `store_read_only`. */
export function requireFitServer(
  info: string,
  expected: { readonly cluster: boolean; readonly allowEviction: boolean },
): void {
  const field = (name: string) => new RegExp(`^${name}:(.*?)\\r?$`, "m").exec(info)?.[1] ?? "";
  if (field("redis_mode") === "sentinel")
    throw new RollcallError(
      "invalid_request",
      "the server is a Sentinel; use redis+sentinel: with the name of the primary, or give a client the option sentinels",
    );
  const version = serverVersion(info);
  if (version[0] < LEAST_VERSION[0] || (version[0] === LEAST_VERSION[0] && version[1] < LEAST_VERSION[1]))
    throw new RollcallError(
      "invalid_request",
      `the server is Redis ${field("redis_version")}; Rollcall needs ${LEAST_VERSION.join(".")} or later, or Valkey`,
    );
  if (field("cluster_enabled") === "1" && !expected.cluster)
    throw new RollcallError(
      "invalid_request",
      "the server is part of a Redis Cluster; use redis+cluster: or a Cluster client",
    );
  if (field("role") !== "master")
    throw new RollcallError("store_read_only", "the server is a replica; connect to the primary, or by Sentinel");
  const policy = field("maxmemory_policy");
  if (policy.startsWith("allkeys-") && !expected.allowEviction)
    throw new RollcallError(
      "invalid_request",
      `the server evicts any key when memory is short (maxmemory-policy ${policy}), which would lose members without a word; set noeviction, or pass allowEviction: true`,
    );
}

/** Checks what is said over a new connection. @throws `store_unavailable` if the server is a replica now. */
export function requireNoReplica(replication: string): void {
  if (/^role:slave/m.test(replication))
    throw new RollcallError(
      "store_unavailable",
      "Redis: the server became a replica; repeat when the client has found the new primary",
    );
}

/** Major and minor version of the server, as it tells clients of Redis. */
function serverVersion(info: string): readonly [major: number, minor: number] {
  const [, major = "0", minor = "0"] = /^redis_version:(\d+)\.(\d+)/m.exec(info) ?? [];
  return [Number(major), Number(minor)];
}
