// Options that do not exist are refused: a misspelt one would be taken for its default without a word.

import { RollcallError } from "./errors.js";

/** For adapters: checks that `options` has no others than `known`. @throws `invalid_request`. */
export function requireKnownOptions(options: object, known: readonly string[]): void {
  const unknown = Object.keys(options).find((option) => !known.includes(option));
  if (unknown === undefined) return;
  throw new RollcallError("invalid_request", `there is no option ${unknown}; known are ${known.join(", ")}`);
}
