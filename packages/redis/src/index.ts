// The public face of @rollcall/redis.

export type { RedisClient } from "./connection.js";
export { createRedisStore, type RedisStoreOptions } from "./store.js";
export { storeFactory } from "./store-factory.js";
