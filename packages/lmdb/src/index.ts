// The public face of @rollcall/lmdb.

export { createLmdbStore, type LmdbStoreOptions } from "./store.js";
export { storeFactory } from "./store-url.js";
