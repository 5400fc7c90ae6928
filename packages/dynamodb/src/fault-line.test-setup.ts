// How the fault tests reach their servers. Their places are environments of one table.

import type { Address } from "@rollcall/conformance/containers";
import type { FaultHarness } from "@rollcall/conformance/faults";
import { createDynamoDbStore } from "./index.js";
import { newTable, urlOf } from "./place.test-setup.js";

/** How the suites of faults that every server can have reach `server`. */
export function reaching(server: () => Address): FaultHarness {
  const table = newTable();
  return {
    server,
    createStore: (at, { place, timeoutMs }) =>
      createDynamoDbStore(urlOf(table, { at }), { environment: place, timeoutMs }),
  };
}
