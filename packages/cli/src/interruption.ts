// Ctrl-C and friends: the signal that ends a command, and what it was.

import { constants } from "node:os";
import { RollcallError } from "@rollcall/core";

/** The signals on which a command stops in an orderly way. */
export const INTERRUPTING_SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
export type InterruptingSignal = (typeof INTERRUPTING_SIGNALS)[number];

/** The reason of the `AbortSignal` that a process signal fires. */
export class Interruption extends Error {
  override readonly name = "Interruption";
  readonly signal: InterruptingSignal;

  constructor(signal: InterruptingSignal) {
    super(`interrupted by ${signal}`);
    this.signal = signal;
  }
}

/** By convention of shells: 128 and the number of the signal, so 130 for SIGINT and 143 for SIGTERM. */
export function interruptionExitCode(reason: unknown): number {
  return 128 + constants.signals[reason instanceof Interruption ? reason.signal : "SIGINT"];
}

/** Throws `aborted` if the signal has fired. */
export function stopIfInterrupted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new RollcallError("aborted", "interrupted before the end", { cause: signal.reason });
}
