// The public face of @rollcall/postgres.

export type { PostgresClient } from "./connection.js";
export { createPostgresStore } from "./store.js";
export { storeFactory } from "./store-factory.js";
export type { PostgresStoreOptions } from "./store-options.js";
