// The factory that `openStore` finds by URL scheme.

import type { StoreFactory } from "@rollcall/core";
import { monthlyCosts } from "./cost.js";
import { createDynamoDbStore } from "./store.js";

/**
 * The factory for `dynamodb://[table]`. Parameters: `region` and `endpoint` of the client; `readOnly`, `createTable`, `lookups` and
 * `timeoutMs` as in the options of {@link createDynamoDbStore}. Credentials, and what is left out, come from where the AWS SDK looks for
 * them: the environment, the shared files, the role of the machine.
 */
export const storeFactory: StoreFactory = {
  schemes: ["dynamodb"],
  createStore(url, options) {
    return createDynamoDbStore(url, options);
  },
  estimateCosts: monthlyCosts,
};
