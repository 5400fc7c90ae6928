// The options of a store, from the caller and from a URL, checked and with their defaults.

import { RollcallError, requireKnownOptions } from "@rollcall/core";

/** Options of {@link createRedisStore}. */
export interface RedisStoreOptions {
  /** The environment to bind to. Default `default`. */
  readonly environment?: string | undefined;
  /** Opens what exists and writes nothing; writes throw `store_read_only`. Default `false`. */
  readonly readOnly?: boolean | undefined;
  /** What the names of all keys start with: 1 to 64 letters, digits, `.`, `_`, `-`. Default `rollcall`. */
  readonly prefix?: string | undefined;
  /**
   * Into how many runs of a Cluster's slots the members of a new environment are dealt: a power of two, at most 1,024. Every set has a
   * fence in each. Fixed when the environment is made. Default 256 on a Cluster, else 1.
   */
  readonly slots?: number | undefined;
  /** How many replicas must confirm a write before it counts (`WAIT`). Default 0. */
  readonly minReplicas?: number | undefined;
  /** How long to wait for them, in milliseconds, less than `timeoutMs`. Default 1,000. */
  readonly replicaTimeoutMs?: number | undefined;
  /** How long the server may take to answer, in milliseconds, before a call fails with `store_unavailable`. Default 10,000. */
  readonly timeoutMs?: number | undefined;
  /** Accepts a server that evicts keys when memory is short, and so may lose members without a word. Default `false`. */
  readonly allowEviction?: boolean | undefined;
}

const MOST_SLOTS = 1_024;

/** What `options` say, else `fromUrl`, else the defaults. @throws `invalid_request` that names the option. */
export function settingsOf(options: RedisStoreOptions, fromUrl: RedisStoreOptions) {
  requireKnownOptions(options, [
    "environment",
    "readOnly",
    "prefix",
    "slots",
    "minReplicas",
    "replicaTimeoutMs",
    "timeoutMs",
    "allowEviction",
  ]);
  const settings = {
    environment: options.environment ?? "default",
    // A URL for reading stays one, whoever opens it.
    readOnly: options.readOnly === true || fromUrl.readOnly === true,
    prefix: options.prefix ?? fromUrl.prefix ?? "rollcall",
    slots: options.slots ?? fromUrl.slots,
    minReplicas: options.minReplicas ?? fromUrl.minReplicas ?? 0,
    replicaTimeoutMs: options.replicaTimeoutMs ?? fromUrl.replicaTimeoutMs ?? 1_000,
    timeoutMs: options.timeoutMs ?? fromUrl.timeoutMs ?? 10_000,
    allowEviction: options.allowEviction ?? fromUrl.allowEviction ?? false,
  };
  const { prefix, slots, minReplicas, replicaTimeoutMs, timeoutMs } = settings;
  if (!/^[A-Za-z0-9._-]{1,64}$/.test(prefix)) throw invalid("prefix must be 1 to 64 letters, digits, '.', '_' or '-'");
  if (slots !== undefined && !isSlotCount(slots)) throw invalid(`slots must be a power of two from 1 to ${MOST_SLOTS}`);
  if (!Number.isSafeInteger(minReplicas) || minReplicas < 0)
    throw invalid("minReplicas must be a whole number from 0 on");
  if (!(timeoutMs >= 1 && timeoutMs < 2 ** 31)) throw invalid("timeoutMs must be a number of milliseconds from 1 on");
  if (
    !(
      Number.isSafeInteger(replicaTimeoutMs) &&
      replicaTimeoutMs >= 1 &&
      (minReplicas === 0 || replicaTimeoutMs < timeoutMs)
    )
  )
    throw invalid("replicaTimeoutMs must be a whole number of milliseconds from 1 on, and less than timeoutMs");
  return settings;
}

function invalid(message: string): RollcallError {
  return new RollcallError("invalid_request", message);
}

/** Whether an environment may be made with so many slots. */
export function isSlotCount(slots: unknown): slots is number {
  return typeof slots === "number" && slots >= 1 && slots <= MOST_SLOTS && Number.isInteger(Math.log2(slots));
}
