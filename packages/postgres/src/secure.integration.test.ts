// Every promise of the port over TLS, as a role who may create nothing and has no right but those that the PostgreSQL page names.
import { conformance } from "@rollcall/conformance";
import { storeFactory } from "./index.js";
import { caFile, dropSchema, SERVER, schemaFor, urlOf } from "./place.test-setup.js";
import { FEWER_RUNS, SYNCER } from "./servers.test-setup.js";

const more = `&sslrootcert=${caFile(SERVER.ca)}`;
async function createDatabase() {
  const schema = await schemaFor(SYNCER.user);
  return {
    createStore: (environment: string) => storeFactory.createStore(urlOf(schema, { ...SYNCER, more }), { environment }),
    dispose: () => dropSchema(schema),
  };
}

conformance("@rollcall/postgres over TLS with rights", { createDatabase }, { runs: FEWER_RUNS });
