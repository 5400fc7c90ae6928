// How the fault tests reach their servers, with and without proxies between.

import { type Address, type NatMap, startTcpProxy, type TcpProxy } from "@rollcall/conformance/containers";
import {
  type FaultHarness,
  type FaultStoreOptions,
  openInSmallSteps,
  type RecordingStore,
} from "@rollcall/conformance/faults";
import { createRedisStore, type RedisStoreOptions } from "./index.js";

/** Opens a store by URL on the server at `address`. */
export function openAt(address: Address, options: RedisStoreOptions): Promise<RecordingStore> {
  return openInSmallSteps(storeAt(address, { timeoutMs: 2_000, ...options }));
}

/** How the suites of faults that every server can have reach `server`. */
export function reaching(server: () => Address): FaultHarness {
  const createStore = (address: Address, { place, timeoutMs }: FaultStoreOptions) =>
    storeAt(address, { prefix: place, timeoutMs });
  return { server, createStore };
}

function storeAt({ host, port }: Address, options: RedisStoreOptions) {
  return createRedisStore(`redis://${host}:${port}`, options);
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
