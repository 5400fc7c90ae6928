// The public face of @rollcall/redis.

export type { RedisClient } from "./commands.js";
export { createRedisStore } from "./store.js";
export { storeFactory } from "./store-factory.js";
export type { RedisStoreOptions } from "./store-options.js";
