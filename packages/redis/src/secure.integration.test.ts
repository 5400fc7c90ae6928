// Every promise of the port over TLS, as a user who has no right but those that the Redis page names.
import { randomUUID } from "node:crypto";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { conformance } from "@rollcall/conformance";
import { inject } from "vitest";
import { storeFactory } from "./index.js";
import { FEWER_RUNS, SYNCER } from "./servers.test-setup.js";

const { host, tlsPort, ca } = inject("redisServer");
const caFile = join(mkdtempSync(join(tmpdir(), "rollcall-redis-")), "ca.pem");
writeFileSync(caFile, ca);
const login = `${SYNCER.username}:${encodeURIComponent(SYNCER.password)}`;

conformance(
  "@rollcall/redis over TLS with rights",
  {
    async createDatabase() {
      const url = `rediss://${login}@${host}:${tlsPort}?prefix=secure.${randomUUID()}&ca=${encodeURIComponent(caFile)}`;
      return { createStore: (environment) => storeFactory.createStore(url, { environment }) };
    },
  },
  { runs: FEWER_RUNS },
);
