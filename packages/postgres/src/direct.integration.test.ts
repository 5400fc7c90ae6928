// Every promise of the port on one server, by URL.
import { conformance } from "@rollcall/conformance";
import { createPostgresStore } from "./index.js";
import { dropSchema, newSchema, urlOf } from "./place.test-setup.js";

conformance("@rollcall/postgres on one server", {
  async createDatabase() {
    const schema = newSchema();
    return {
      createStore: (environment) => createPostgresStore(urlOf(schema), { environment }),
      dispose: () => dropSchema(schema),
    };
  },
});
