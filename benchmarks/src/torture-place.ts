// Where a torture run keeps its segments, made for it or at a URL; told as plain data, so that the writers find it too.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openStore, type SegmentStore } from "@rollcall/core";
import { storeFactory as dynamodb } from "@rollcall/dynamodb";
import { storeFactory as lmdb } from "@rollcall/lmdb";
import { storeFactory as postgres } from "@rollcall/postgres";
import { createRedisStore, storeFactory as redis } from "@rollcall/redis";
import { Cluster } from "ioredis";

/** A URL says it all, but for a Cluster whose nodes know each other by addresses that only they reach. */
export type TorturePlace = { readonly url: string } | { readonly cluster: ClusterPlace };

interface ClusterPlace {
  readonly nodes: readonly Address[];
  readonly natMap: Readonly<Record<string, Address>>;
}

interface Address {
  readonly host: string;
  readonly port: number;
}

/** A place that goes when it is disposed of. */
export interface MadePlace extends AsyncDisposable {
  readonly place: TorturePlace;
}

/** What `--on` can name. Servers are started in containers. */
export const makers = {
  async lmdb(): Promise<MadePlace> {
    const folder = await mkdtemp(join(tmpdir(), "rollcall-torture-"));
    return {
      place: { url: `lmdb:${folder}` },
      [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
    };
  },
  async redis(): Promise<MadePlace> {
    const { startRedisServer } = await import("@rollcall/conformance/containers");
    const server = await startRedisServer();
    return { place: { url: `redis://${server.host}:${server.port}` }, [Symbol.asyncDispose]: () => server.stop() };
  },
  async "redis-cluster"(): Promise<MadePlace> {
    const { startRedisCluster } = await import("@rollcall/conformance/containers");
    const cluster = await startRedisCluster();
    const { nodes, natMap } = cluster;
    return { place: { cluster: { nodes, natMap } }, [Symbol.asyncDispose]: () => cluster.stop() };
  },
  async postgres(): Promise<MadePlace> {
    const { startPostgresServer } = await import("@rollcall/conformance/containers");
    const server = await startPostgresServer();
    const { user, password, host, port, database } = server;
    const url = `postgres://${user}:${encodeURIComponent(password)}@${host}:${port}/${database}`;
    return { place: { url }, [Symbol.asyncDispose]: () => server.stop() };
  },
  async dynamodb(): Promise<MadePlace> {
    const { startDynamoDbServer } = await import("@rollcall/conformance/containers");
    const server = await startDynamoDbServer({ inMemory: true });
    // It takes any; the writers inherit them.
    process.env.AWS_ACCESS_KEY_ID = "torture";
    process.env.AWS_SECRET_ACCESS_KEY = "torture";
    const url = `dynamodb://torture?region=eu-central-1&createTable=true&endpoint=${encodeURIComponent(server.endpoint)}`;
    return { place: { url }, [Symbol.asyncDispose]: () => server.stop() };
  },
} satisfies Record<string, () => Promise<MadePlace>>;

/** A store that is open, and what closes it and whatever it is connected by. */
export interface OpenPlace {
  readonly store: SegmentStore;
  close(): Promise<void>;
}

/** Opens a store there. */
export async function openPlace(place: TorturePlace, environment: string): Promise<OpenPlace> {
  if ("url" in place) {
    const store = await openStore(place.url, { environment, factories: [dynamodb, lmdb, postgres, redis] });
    return { store, close: () => store.close() };
  }
  const { nodes, natMap } = place.cluster;
  const client = new Cluster([...nodes], { natMap: { ...natMap }, retryDelayOnFailover: 0 });
  const store = createRedisStore(client, { environment });
  await store.open();
  return {
    store,
    async close() {
      await store.close();
      client.disconnect();
    },
  };
}
