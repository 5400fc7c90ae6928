// What a client must be before members are entrusted to it.

import { RollcallError } from "@rollcall/core";
import type { RedisClient } from "./commands.js";

/**
 * Checks that `client` never sends a write twice by itself, for a lost reply may have been a success and only core knows whether
 * to repeat; that it reads from primaries; that it follows slots that move; and that it answers numbers as such and leaves keys as they are.
 * @throws `invalid_request` that names the option.
 */
export function requireFitClient(client: RedisClient): void {
  const options = client.options as {
    readonly autoResendUnfulfilledCommands?: boolean;
    readonly stringNumbers?: boolean;
    readonly retryDelayOnFailover?: number;
    readonly clusterNodeRetryStrategy?: unknown;
    readonly scaleReads?: unknown;
    readonly enableAutoPipelining?: boolean;
    readonly keyPrefix?: string;
    readonly redisOptions?: { readonly stringNumbers?: boolean; readonly keyPrefix?: string };
  };
  if (options.stringNumbers === true || options.redisOptions?.stringNumbers === true)
    throw unfit("answers numbers as text", "stringNumbers: false");
  if (options.keyPrefix || options.redisOptions?.keyPrefix)
    throw unfit(
      "puts a keyPrefix before keys, but not before those in scripts",
      "no keyPrefix, and give option prefix",
    );
  const resends = "sends writes again when a connection is lost, which can undo a later sync";
  if (!client.isCluster) {
    if (options.autoResendUnfulfilledCommands !== false)
      throw unfit(resends, "autoResendUnfulfilledCommands: false and maxRetriesPerRequest: 0");
    return;
  }
  if ("startupNodes" in client && Array.isArray(client.startupNodes) && client.startupNodes.length === 0)
    throw unfit("knows no node of the Cluster", "the address of at least one");
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
