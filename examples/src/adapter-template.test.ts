// The template keeps every promise of the port.

import { conformance } from "@rollcall/conformance";
import { createTemplateDatabase, createTemplateStore } from "./adapter-template.js";

conformance(
  "the adapter template",
  {
    async createDatabase() {
      const database = createTemplateDatabase();
      return { createStore: (environment) => createTemplateStore(database, { environment }) };
    },
  },
  // Its database copies everything for each transaction: a full number of random runs would take minutes.
  { runs: 20, scaleMembers: 20_000 },
);
