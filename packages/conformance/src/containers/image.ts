// Which image a server runs from. `npm test` sets the variable where the official image cannot be had.

/** The image of the Redis fixtures: `ROLLCALL_REDIS_IMAGE`, or the official one. */
export function redisImage(): string {
  return process.env.ROLLCALL_REDIS_IMAGE || "redis:7-alpine";
}

/** The image of the PostgreSQL fixtures: `ROLLCALL_POSTGRES_IMAGE`, or the official one. */
export function postgresImage(): string {
  return process.env.ROLLCALL_POSTGRES_IMAGE || "postgres:17-alpine";
}

/** The image of the PgBouncer fixture: `ROLLCALL_PGBOUNCER_IMAGE`, or a widely used one. */
export function pgBouncerImage(): string {
  return process.env.ROLLCALL_PGBOUNCER_IMAGE || "edoburu/pgbouncer:latest";
}

/** The image of the DynamoDB fixture: `ROLLCALL_DYNAMODB_IMAGE`, or AWS's own of DynamoDB Local. */
export function dynamoDbImage(): string {
  return process.env.ROLLCALL_DYNAMODB_IMAGE || "amazon/dynamodb-local:latest";
}
