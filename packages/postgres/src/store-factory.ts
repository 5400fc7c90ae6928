// The factory that `openStore` finds by URL scheme.

import type { StoreFactory } from "@rollcall/core";
import { createPostgresStore } from "./store.js";

/**
 * The factory for `postgres://[user[:password]@]host[:port][/database]` and the same with `postgresql`. Parameters: `schema`, `readOnly`,
 * `timeoutMs`, `listen` as in the options of {@link createPostgresStore}; `maxConnections`, of the pool, 10 unless given; `sslmode`: `disable`, the
 * default, `require`, which encrypts and trusts whoever answers, or `verify-full`; `sslrootcert`, a PEM file with the authority that signed
 * the server's certificate, which means `verify-full`. User and password are percent-encoded; what is left out comes from `PGUSER`,
 * `PGPASSWORD` and `PGDATABASE`.
 */
export const storeFactory: StoreFactory = {
  schemes: ["postgres", "postgresql"],
  createStore(url, options) {
    return createPostgresStore(url, options);
  },
};
