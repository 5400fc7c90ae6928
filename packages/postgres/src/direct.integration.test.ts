// Every promise of the port on one server, through a pool of the caller's.
import { conformance } from "@rollcall/conformance";
import pg from "pg";
import { createPostgresStore } from "./index.js";
import { dropSchema, newSchema, SERVER } from "./place.test-setup.js";

const pool = new pg.Pool({ ...SERVER, max: 20 });

conformance("@rollcall/postgres on one server", {
  async createDatabase() {
    const schema = newSchema();
    return {
      createStore: (environment) => createPostgresStore(pool, { environment, schema }),
      dispose: () => dropSchema(schema),
    };
  },
});
