// The ioredis client for a URL.

import { readFileSync } from "node:fs";
import { RollcallError } from "@rollcall/core";
import { Cluster, Redis, type RedisOptions } from "ioredis";
import type { RedisClient } from "./commands.js";
import { parseStoreUrl } from "./store-url.js";

/** A client for `url`, not yet connected, that never sends a command twice and lets none wait for a server that is silent. */
export function clientFor(url: string, timeoutMs: number): RedisClient {
  const { tls, mode, username, password, hosts, name, database, parameters } = parseStoreUrl(url);
  const secure = tls ? { tls: tlsOptions(parameters) } : {};
  const common: RedisOptions = {
    ...secure,
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    connectTimeout: timeoutMs,
    autoResendUnfulfilledCommands: false,
    // Without it ioredis leaves commands that were on their way when the connection broke without an answer.
    maxRetriesPerRequest: 0,
    // 1: reconnect, and do not send the command again. Redis 6.2 puts words of its own before what a script met.
    reconnectOnError: (error) => (/\bREADONLY /.test(error.message) ? 1 : false),
    connectionName: "rollcall",
    lazyConnect: true,
  };
  if (mode === "cluster")
    return new Cluster([...hosts], {
      redisOptions: common,
      lazyConnect: true,
      // Greater than 0 would send a command again whose reply was lost.
      retryDelayOnFailover: 0,
      // By default the host names are resolved first, and a certificate names hosts, not addresses.
      ...(tls ? { dnsLookup: (host: string, found: (error: null, address: string) => void) => found(null, host) } : {}),
      slotsRefreshTimeout: timeoutMs,
    });
  if (mode === "single") return new Redis({ ...common, ...hosts[0], db: database });
  const sentinelUsername = parameters.get("sentinelUsername");
  const sentinelPassword = parameters.get("sentinelPassword");
  return new Redis({
    ...common,
    sentinels: [...hosts],
    name: name ?? "",
    sentinelCommandTimeout: timeoutMs,
    db: database,
    ...(sentinelUsername === null ? {} : { sentinelUsername }),
    ...(sentinelPassword === null ? {} : { sentinelPassword }),
    ...(tls ? { sentinelTLS: tlsOptions(parameters), enableTLSForSentinelMode: true } : {}),
  });
}

function tlsOptions(parameters: URLSearchParams): { readonly ca?: Buffer } {
  const file = parameters.get("ca");
  if (file === null) return {};
  try {
    return { ca: readFileSync(file) };
  } catch (cause) {
    throw new RollcallError("invalid_request", `the file ${file} of ca= cannot be read; name a PEM file`, { cause });
  }
}
