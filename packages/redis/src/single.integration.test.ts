// Every promise of the port on one server, by URL.
import { randomUUID } from "node:crypto";
import { conformance } from "@rollcall/conformance";
import { inject } from "vitest";
import { createRedisStore } from "./index.js";

const { host, port } = inject("redisServer");

conformance("@rollcall/redis on one server", {
  async createDatabase() {
    const prefix = randomUUID();
    return { createStore: (environment) => createRedisStore(`redis://${host}:${port}`, { environment, prefix }) };
  },
});
