// A conformance harness on clients that the caller made, and closes.

import { randomUUID } from "node:crypto";
import type { Harness } from "@rollcall/conformance";
import { createRedisStore, type RedisClient } from "./index.js";

/** Each handle has a client of its own, as in a process of its own. */
export function clientHarness(createClient: () => RedisClient): Harness {
  return {
    async createDatabase() {
      const prefix = randomUUID();
      const clients: RedisClient[] = [];
      return {
        createStore(environment) {
          const client = createClient();
          clients.push(client);
          return createRedisStore(client, { environment, prefix });
        },
        async dispose() {
          for (const client of clients) client.disconnect();
        },
      };
    },
  };
}
