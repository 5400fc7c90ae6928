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
