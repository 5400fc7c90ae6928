// For adapters: what follows the ? in their URLs, and how a URL that cannot be read is refused: none of it is shown, since it may hold a
// password.

import { RollcallError } from "./errors.js";

/** The parameters of a URL. Every method throws `invalid_request` on a value that is not what it asks for. */
export interface UrlParameters {
  has(name: string): boolean;
  /** As it stands there; `undefined` if it is not there, as for the others. */
  text(name: string): string | undefined;
  /** True or false. */
  flag(name: string): boolean | undefined;
  /** From 1 on, of nine digits at most. */
  wholeNumber(name: string): number | undefined;
}

/** The parameters in `query`, which may be any of `known`. `scheme` is without its colon. @throws `invalid_request` if it has others. */
export function parseUrlParameters(scheme: string, query: string, known: readonly string[]): UrlParameters {
  const parameters = new URLSearchParams(query);
  // Without its name: it may be the rest of a password that holds a ?.
  if ([...parameters.keys()].some((name) => !known.includes(name)))
    throw unreadableUrl(scheme, `a parameter is not known; known are ${known.join(", ")}`);
  const text = (name: string) => parameters.get(name) ?? undefined;
  return {
    has: (name) => parameters.has(name),
    text,
    flag(name) {
      const value = text(name);
      if (value === undefined) return undefined;
      if (value !== "true" && value !== "false") throw unreadableUrl(scheme, `${name} is true or false`);
      return value === "true";
    },
    wholeNumber(name) {
      const value = text(name);
      if (value === undefined) return undefined;
      if (!/^[1-9]\d{0,8}$/.test(value)) throw unreadableUrl(scheme, `${name} is a whole number from 1 on`);
      return Number(value);
    },
  };
}

/** The `invalid_request` of a URL that cannot be read. `hint` says how to write it, and shows none of it. */
export function unreadableUrl(scheme: string, hint: string): RollcallError {
  return new RollcallError("invalid_request", `the ${scheme}: URL is not valid: ${hint}`);
}
