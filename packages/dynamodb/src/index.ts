// The public face of @rollcall/dynamodb.

export { createDynamoDbStore } from "./store.js";
export { storeFactory } from "./store-factory.js";
export type { DynamoDbStoreOptions, TableOptions } from "./store-options.js";
