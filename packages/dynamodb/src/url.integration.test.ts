// Every promise of the port in a provisioned table that was there before, by URL.
import { conformance } from "@rollcall/conformance";
import { storeFactory } from "./index.js";
import { admin, dropTable, newTable, urlOf } from "./place.test-setup.js";
import { FEWER_RUNS } from "./servers.test-setup.js";
import { createTable } from "./table.js";

async function createDatabase() {
  const table = newTable();
  await createTable(admin, table, { timeoutMs: 10_000, provisioned: { readUnits: 100, writeUnits: 100 } });
  return {
    createStore: (environment: string) => storeFactory.createStore(urlOf(table), { environment }),
    dispose: () => dropTable(table),
  };
}

conformance("@rollcall/dynamodb by URL", { createDatabase }, { runs: FEWER_RUNS });
