// For adapters: whether a handle may be used.

import { handleNotOpen } from "./errors.js";

/** What became of a handle so far. */
export interface HandleState {
  opened: boolean;
  closed: boolean;
}

/** @throws `closed` before a handle was opened and after it was closed. */
export function requireOpen(environment: string, { opened, closed }: HandleState): void {
  if (!opened || closed) throw handleNotOpen(environment, closed ? "closed" : "not opened");
}

/** The `open` of a handle: does `prepare` once, however often it is called, and anew only if that failed. */
export function opening(environment: string, state: HandleState, prepare: () => Promise<void>): () => Promise<void> {
  let preparing: Promise<void> | undefined;
  return async () => {
    if (state.closed) throw handleNotOpen(environment, "closed");
    preparing ??= prepare();
    try {
      await preparing;
      state.opened = true;
    } catch (error) {
      preparing = undefined;
      throw error;
    }
  };
}
