// Proxies between the clients of the fault tests and their servers.

import type { Address, TcpProxy } from "@rollcall/conformance/containers";
import { openInSmallSteps, type RecordingStore } from "./fault-trial.test-setup.js";
import { createRedisStore, type RedisStoreOptions } from "./index.js";

/** Opens a store by URL on the server at `address`. */
export function openAt({ host, port }: Address, options: RedisStoreOptions): Promise<RecordingStore> {
  return openInSmallSteps(createRedisStore(`redis://${host}:${port}`, { timeoutMs: 2_000, ...options }));
}

/** From now on requests take effect and nobody hears of it: so a fault meets calls that were done and not answered. */
export function swallowReplies(proxy: TcpProxy): void {
  proxy.onReply(() => "swallow");
}

/** Ends that, and resets the connections whose replies are missing. */
export async function forgetSwallowed(proxy: TcpProxy): Promise<void> {
  proxy.cut();
  await proxy.resume();
}
