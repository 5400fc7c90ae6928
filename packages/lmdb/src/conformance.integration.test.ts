// Every promise of the port, on folders in memory where that is possible: the suite commits thousands of times.
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { conformance } from "@rollcall/conformance";
import { createLmdbStore } from "./index.js";

conformance("@rollcall/lmdb", {
  async createDatabase() {
    const folder = await mkdtemp(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "rollcall-lmdb-"));
    return {
      createStore: (environment) => createLmdbStore(folder, { environment }),
      dispose: () => rm(folder, { recursive: true }),
    };
  },
});
