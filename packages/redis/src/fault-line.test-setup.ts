// Proxies between the clients of the fault tests and their servers.

import type { Address } from "@rollcall/conformance/containers";
import { openInSmallSteps, type RecordingStore } from "./fault-trial.test-setup.js";
import { createRedisStore, type RedisStoreOptions } from "./index.js";

/** Opens a store by URL on the server at `address`. */
export function openAt({ host, port }: Address, options: RedisStoreOptions): Promise<RecordingStore> {
  return openInSmallSteps(createRedisStore(`redis://${host}:${port}`, { timeoutMs: 2_000, ...options }));
}
