// The one error type that leaves Rollcall: a closed set of codes, so that callers decide by code and never by message.

/**
 * Why a call failed. The set is closed: adapters map every native error to one of these.
 *
 * | code | meaning | remedy |
 * |---|---|---|
 * | `invalid_request` | an argument, option or record is not valid | mend the argument named in the message |
 * | `unknown_segment` | the call needs a segment that exists | sync it first, or check the key |
 * | `context_kind_mismatch` | the segment holds another context kind | sync into a segment of that kind |
 * | `out_of_order` | the source position expected is not the one stored | resume from the position in the segment |
 * | `shrink_guard` | the snapshot has too few members beside those that are there | check the export; allow it if it is meant |
 * | `segment_busy` | another writer held the lease for longer than the wait | retry later |
 * | `stale_lease` | a newer writer took over, or a server that may lack what was written; nothing more was changed | retry the whole sync |
 * | `revision_conflict` | a record changed between read and write | core re-reads and retries |
 * | `store_unavailable` | the database did not answer, or refused for now | retry when it is reachable |
 * | `store_full` | the disk or the memory limit is reached | free space; then retry |
 * | `store_read_only` | the database or the folder does not take writes | use the primary, or mend the permissions |
 * | `access_denied` | credentials or rights are missing | grant the right named in the message |
 * | `layout_mismatch` | the place holds something else, or data of a newer Rollcall | use another place, or upgrade |
 * | `pepper_mismatch` | the environment was made with another pepper, or with none | pass the pepper the environment was made with |
 * | `adapter_not_found` | no adapter for the URL is installed | install the package named in the message |
 * | `environment_not_empty` | `copy` would mix two environments | copy into an empty environment |
 * | `corrupt_data` | stored data breaks an invariant | run `verify`; restore from a copy |
 * | `aborted` | the caller's signal ended the call | – |
 * | `closed` | the store, reader or Rollcall was closed before | open it again |
 */
export type RollcallErrorCode =
  | "invalid_request"
  | "unknown_segment"
  | "context_kind_mismatch"
  | "out_of_order"
  | "shrink_guard"
  | "segment_busy"
  | "stale_lease"
  | "revision_conflict"
  | "store_unavailable"
  | "store_full"
  | "store_read_only"
  | "access_denied"
  | "layout_mismatch"
  | "pepper_mismatch"
  | "adapter_not_found"
  | "environment_not_empty"
  | "corrupt_data"
  | "aborted"
  | "closed";

const RETRYABLE: ReadonlySet<RollcallErrorCode> = new Set([
  "segment_busy",
  "stale_lease",
  "revision_conflict",
  "store_unavailable",
]);

/** What {@link RollcallError} takes besides code and message. */
export interface RollcallErrorOptions {
  /** The native error. */
  cause?: unknown;
  /** Whether the same call may succeed later, unchanged. Default: by code. */
  retryable?: boolean;
  /** See {@link RollcallError.lostSets}. */
  lostSets?: readonly number[];
}

/**
 * The error that every public call throws.
 *
 * The message says what happened, to which segment or environment, and what to do next. It never holds a context key,
 * a password, or a connection string with one.
 */
export class RollcallError extends Error {
  override readonly name = "RollcallError";
  readonly code: RollcallErrorCode;
  /** Whether the same call may succeed later, unchanged. */
  readonly retryable: boolean;
  /** With `corrupt_data`: the member sets of which the database has lost members; a `replace` of their lists makes all well. */
  readonly lostSets: readonly number[];

  constructor(code: RollcallErrorCode, message: string, options: RollcallErrorOptions = {}) {
    super(message, "cause" in options ? { cause: options.cause } : undefined);
    this.code = code;
    this.retryable = options.retryable ?? RETRYABLE.has(code);
    this.lostSets = options.lostSets ?? [];
  }
}

/** Whether `error` is a {@link RollcallError}, of the given code if one is given; safe across copies of this package. */
export function isRollcallError(error: unknown, code?: RollcallErrorCode): error is RollcallError {
  return (
    error instanceof Error &&
    error.name === "RollcallError" &&
    "code" in error &&
    (code === undefined || error.code === code)
  );
}

/** Whether `error` says that the database has lost members of a set. */
export function isLossOfMembers(error: unknown): error is RollcallError {
  return isRollcallError(error, "corrupt_data") && (error.lostSets?.length ?? 0) > 0;
}

/** For adapters: the `corrupt_data` of sets of which the database has lost members. */
export function lostMembers(environment: string, lostSets: readonly number[]): RollcallError {
  const message = `environment ${environment}: the database has lost members of set ${lostSets.join(", ")}; repeat the snapshot of the segment, or run verify with repair to keep those that are left`;
  return new RollcallError("corrupt_data", message, { lostSets });
}

/** Throws `aborted` if the signal has fired. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new RollcallError("aborted", "the call was aborted", { cause: signal.reason });
}

/** For adapters: the `revision_conflict` of a record that is not as the writer had read it. */
export function revisionConflict(what: string): RollcallError {
  return new RollcallError("revision_conflict", `${what} was changed by another writer; read it again`);
}

/** For adapters: the `stale_lease` of a write that was asked for in another timeline than the one that the database is in. */
export function otherTimeline(what: string): RollcallError {
  const message = `${what}: another database server took over, or it was restarted, and may lack what was written before; run the sync again`;
  return new RollcallError("stale_lease", message);
}

/** For adapters: the `closed` of a handle that was closed, or not opened yet. */
export function handleNotOpen(environment: string, state: "closed" | "not opened"): RollcallError {
  const remedy = state === "closed" ? "was closed; make another handle" : "is not open yet; call open() first";
  return new RollcallError("closed", `the store of environment ${environment} ${remedy}`);
}

/** For adapters: the `corrupt_data` of an environment without one of the records that every environment has. */
export function missingRecord(environment: string): RollcallError {
  const message = `environment ${environment}: a record that every environment has is missing; restore it from a copy`;
  return new RollcallError("corrupt_data", message);
}
