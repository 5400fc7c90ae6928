// The store in memory, in both ways of fencing.

import { createMemoryDatabase, createMemoryStore } from "@rollcall/core";
import type { Harness } from "./harness.js";
import { conformance } from "./vitest-suite.js";

for (const fencing of ["set", "block"] as const) {
  const harness: Harness = {
    async createDatabase() {
      const database = createMemoryDatabase();
      return { createStore: (environment) => createMemoryStore({ database, environment, fencing }) };
    },
  };
  conformance(`memory, fencing by ${fencing}`, harness);
}
