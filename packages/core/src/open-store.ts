// From a URL to an opened store: the scheme names the adapter package, which is looked for where the user installed it.

import { loadFactory } from "./adapter-package.js";
import { RollcallError } from "./errors.js";
import { memoryStoreFactory } from "./memory-store.js";
import { type SegmentStore, STORE_PORT_VERSION, type StoreFactory, type StoreOptions } from "./store.js";

/** Options of {@link openStore}. */
export interface OpenStoreOptions extends StoreOptions {
  /** Used before any package that is installed. Default: none. */
  readonly factories?: readonly StoreFactory[] | undefined;
}

/** What is installed for a scheme: the adapter package, and the database client that it takes from the user. */
const ADAPTERS: ReadonlyMap<string, { readonly name: string; readonly client: string }> = new Map(
  Object.entries({
    lmdb: { name: "@rollcall/lmdb", client: "lmdb" },
    redis: { name: "@rollcall/redis", client: "ioredis" },
    rediss: { name: "@rollcall/redis", client: "ioredis" },
    postgres: { name: "@rollcall/postgres", client: "pg" },
    postgresql: { name: "@rollcall/postgres", client: "pg" },
    dynamodb: { name: "@rollcall/dynamodb", client: "@aws-sdk/client-dynamodb @aws-sdk/lib-dynamodb" },
  }),
);

/**
 * Opens the store that `url` names: `memory:`, `lmdb:`, `redis:`, `rediss:`, `postgres:`, `postgresql:`, `dynamodb:`, or the
 * scheme of any package called `rollcall-store-<scheme>`. What follows a `+` in the scheme is the adapter's. The package
 * is looked for from the working directory first, then from this one.
 * @throws `invalid_request` if the URL has no scheme or an unknown one; `adapter_not_found` if the adapter, or something
 * that it needs, is not installed or does not fit; whatever {@link SegmentStore.open} throws.
 */
export async function openStore(url: string, options: OpenStoreOptions = {}): Promise<SegmentStore> {
  const { factories = [], ...storeOptions } = options;
  const scheme = schemeOf(url);
  const factory =
    [...factories, memoryStoreFactory].find(({ schemes }) => schemes.includes(scheme)) ??
    (await findStoreFactory(scheme));
  const store = factory.createStore(url, storeOptions);
  const { portVersion } = store.capabilities as { readonly portVersion: unknown };
  if (portVersion !== STORE_PORT_VERSION) {
    throw new RollcallError(
      "adapter_not_found",
      `the adapter for ${scheme}: speaks version ${String(portVersion)} of the store port, and this @rollcall/core speaks ${STORE_PORT_VERSION}; install versions of the two that match`,
    );
  }
  try {
    await store.open();
  } catch (error) {
    // Whatever it had opened by then must not keep the process alive; the first error is the one that tells.
    await store.close().catch(() => {});
    throw error;
  }
  return store;
}

// Never shows the URL: it may hold a password.
function schemeOf(url: string): string {
  const scheme = /^([a-z][a-z0-9.-]*)(?:\+[a-z0-9.+-]*)?:/i.exec(url)?.[1]?.toLowerCase();
  if (scheme === undefined) {
    throw new RollcallError("invalid_request", "a store is named by a URL, for instance lmdb:./rollcall-data");
  }
  if (scheme.length === 1) {
    throw new RollcallError(
      "invalid_request",
      "a store is named by a URL, and this looks like a path with a drive letter; write lmdb: in front of it",
    );
  }
  return scheme;
}

/** The factory of the adapter that is installed for `scheme`. @throws `invalid_request` and `adapter_not_found` as {@link openStore}. */
export async function findStoreFactory(scheme: string): Promise<StoreFactory> {
  const adapter = ADAPTERS.get(scheme);
  const name = adapter?.name ?? `rollcall-store-${scheme}`;
  const factory = await loadFactory(name);
  if (factory === undefined) {
    if (adapter === undefined) {
      throw new RollcallError(
        "invalid_request",
        `unknown store scheme ${scheme}: and no package ${name} is installed; known are memory, ${[...ADAPTERS.keys()].join(", ")}`,
      );
    }
    throw new RollcallError(
      "adapter_not_found",
      `no adapter for ${scheme}: is installed; run: npm install ${name} ${adapter.client}`,
    );
  }
  if (factory.schemes.includes(scheme)) return factory;
  throw new RollcallError(
    "adapter_not_found",
    `package ${name} serves ${factory.schemes.join(", ")} and not ${scheme}; install a version that does`,
  );
}
