// Proxies between the clients of the fault tests and their servers.

import { type Address, type NatMap, startTcpProxy, type TcpProxy } from "@rollcall/conformance/containers";
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

/** A proxy before each of several servers. */
export interface ProxiedServers extends AsyncDisposable {
  /** From the addresses by which the servers know each other to the proxies. */
  readonly natMap: NatMap;
  readonly proxies: readonly TcpProxy[];
}

/** Puts a proxy before each server of `natMap`. */
export async function proxyServers(natMap: NatMap): Promise<ProxiedServers> {
  const proxies = await Promise.all(Object.values(natMap).map(startTcpProxy));
  const addresses = proxies.map(({ host, port }) => ({ host, port }));
  return {
    proxies,
    natMap: Object.fromEntries(Object.keys(natMap).map((name, index) => [name, addresses[index] as Address])),
    async [Symbol.asyncDispose]() {
      await Promise.all(proxies.map((proxy) => proxy.close()));
    },
  };
}
