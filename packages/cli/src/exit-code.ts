// What the command's exit code says, so that scripts can decide without reading messages.

import type { RollcallErrorCode } from "@rollcall/core";

/** The exit codes; an interrupted command ends with 128 and the number of the signal. */
export const EXIT = {
  ok: 0,
  /** A fault of Rollcall, or something unforeseen. */
  unexpected: 1,
  /** The command line, the input or the configuration is not valid. */
  invalid: 2,
  /** The command worked and its answer is no: `check --exit-code`, and what `verify` found is not mended. */
  no: 3,
  /** Refused to protect what is there. */
  refused: 4,
  /** Another writer was in the way; the same command may succeed later. */
  busy: 5,
  /** The store cannot be used: not reachable, full, read-only, no access, or not a store of this version. */
  store: 6,
} as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

const BY_ERROR: { readonly [Code in RollcallErrorCode]: ExitCode } = {
  invalid_request: EXIT.invalid,
  unknown_segment: EXIT.invalid,
  adapter_not_found: EXIT.invalid,
  pepper_mismatch: EXIT.invalid,
  context_kind_mismatch: EXIT.refused,
  out_of_order: EXIT.refused,
  shrink_guard: EXIT.refused,
  environment_not_empty: EXIT.refused,
  segment_busy: EXIT.busy,
  stale_lease: EXIT.busy,
  revision_conflict: EXIT.busy,
  store_unavailable: EXIT.store,
  store_full: EXIT.store,
  store_read_only: EXIT.store,
  access_denied: EXIT.store,
  layout_mismatch: EXIT.store,
  corrupt_data: EXIT.store,
  aborted: EXIT.unexpected,
  closed: EXIT.unexpected,
};

/** The exit code for an error of Rollcall. */
export function exitCodeFor(code: RollcallErrorCode): ExitCode {
  return BY_ERROR[code] ?? EXIT.unexpected;
}
