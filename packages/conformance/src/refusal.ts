// What every refusal must be, for an adapter's own tests: a typed error with the right code, a remedy in its message, and no secret
// anywhere in it.

import { isRollcallError, type RollcallError, type RollcallErrorCode } from "@rollcall/core";
import { expect } from "vitest";

/** What is expected of a refusal. */
export interface Refusal {
  /** Several, where it is not in the hands of the test which of them. */
  readonly code: RollcallErrorCode | readonly RollcallErrorCode[];
  /** What the message must name, so that a person knows what to do. */
  readonly remedy: RegExp;
  /** What must not be found in the error, however it is written. Default: none. */
  readonly secrets?: readonly string[];
}

/** Expects `work` to fail as told. That it fails in time is for the test's own deadline, which no store waits for. */
export async function expectRefusal(
  work: () => Promise<unknown>,
  { code, remedy, secrets = [] }: Refusal,
): Promise<RollcallError> {
  const error = await work().then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!isRollcallError(error)) throw new Error(`no RollcallError, but ${String(error)}`, { cause: error });
  expect([code].flat()).toContain(error.code);
  expect(error.message).toMatch(remedy);
  expect(findSecrets(error, secrets)).toEqual([]);
  return error;
}

/** Where any of `secrets` stands in `value`: in its text, its hidden properties, its causes, or what hangs on them. */
export function findSecrets(value: unknown, secrets: readonly string[]): string[] {
  const forms = secrets.flatMap((secret) => [
    secret,
    encodeURIComponent(secret),
    Buffer.from(secret).toString("base64").replace(/=+$/, ""),
    Buffer.from(secret).toString("hex"),
  ]);
  const found: string[] = [];
  const seen = new Set<unknown>();
  const look = (part: unknown, path: string): void => {
    const text = ArrayBuffer.isView(part) ? Buffer.from(part.buffer, part.byteOffset, part.byteLength) : part;
    if (Buffer.isBuffer(text) || typeof text !== "object" || text === null) {
      const written = String(text);
      if (forms.some((form) => written.includes(form))) found.push(path);
      return;
    }
    if (seen.has(text)) return;
    seen.add(text);
    if (text instanceof Map || text instanceof Set) look([...text], `${path}[…]`);
    for (const key of Reflect.ownKeys(text)) {
      look(String(key), `${path} (a name)`);
      look(Reflect.get(text, key), `${path}.${String(key)}`);
    }
  };
  look(value, "error");
  return found;
}

/** The code of an error that is a `RollcallError`, else the error in words. */
export function codeOf(error: unknown): string {
  return isRollcallError(error) ? error.code : String(error);
}
