// The factory that `openStore` finds by URL scheme.

import type { StoreFactory } from "@rollcall/core";
import { createRedisStore } from "./store.js";

/**
 * The factory for
 * - `redis://[user:password@]host[:port][/database]`: one server;
 * - `redis+sentinel://[user:password@]host[:port],…/name[/database]`: the primary that the Sentinels call `name`;
 * - `redis+cluster://[user:password@]host[:port],…`: a Redis Cluster, found by any of its nodes;
 *
 * and `rediss` for each of them over TLS. Parameters: `prefix`, `readOnly`, `slots`, `minReplicas`, `replicaTimeoutMs`, `timeoutMs`, `allowEviction`
 * as in the options of {@link createRedisStore}; `ca`, a PEM file with the authority that signed the server's certificate; `sentinelUsername` and
 * `sentinelPassword`. User and password are percent-encoded.
 */
export const storeFactory: StoreFactory = {
  schemes: ["redis", "rediss"],
  createStore(url, options) {
    return createRedisStore(url, options);
  },
};
