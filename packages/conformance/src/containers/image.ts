// Which image a server runs from. `npm test` sets the variable where the official image cannot be had.

/** The image of the Redis fixtures: `ROLLCALL_REDIS_IMAGE`, or the official one. */
export function redisImage(): string {
  return process.env.ROLLCALL_REDIS_IMAGE || "redis:7-alpine";
}
