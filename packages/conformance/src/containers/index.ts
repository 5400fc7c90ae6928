// The public face of @rollcall/conformance/containers: real servers for integration tests, and what breaks them.

export { type ProxyTarget, type ReplyHook, startTcpProxy, type TcpProxy } from "../tcp-proxy.js";
export type { Address } from "./container.js";
export { type UntilOptions, until } from "./deadline.js";
export { type DynamoDbServer, type DynamoDbServerOptions, startDynamoDbServer } from "./dynamodb-server.js";
export { dynamoDbImage, pgBouncerImage, postgresImage, redisImage } from "./image.js";
export type { NatMap } from "./nat-map.js";
export { type PgBouncer, startPgBouncer } from "./pgbouncer.js";
export {
  type PostgresServer,
  type PostgresServerOptions,
  type PostgresStandby,
  startPostgresServer,
} from "./postgres-server.js";
export { type RedisCluster, type RedisClusterOptions, startRedisCluster } from "./redis-cluster.js";
export { type RedisSentinel, startRedisSentinel } from "./redis-sentinel.js";
export { type RedisServer, type RedisServerOptions, startRedisServer } from "./redis-server.js";
export type { SlotMove } from "./slot-move.js";
