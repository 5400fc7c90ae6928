// What the programs beside this one expect of an error.
import assert from "node:assert/strict";
import { RollcallError } from "@rollcall/core";

/** Stands in URLs, and must stand in no error. */
export const secret = "s3cret";

// `instanceof`: there is one copy of core for both.
export function isRefusal(code) {
  return (error) => {
    assert.ok(error instanceof RollcallError, String(error));
    assert.equal(error.code, code);
    assert.equal(`${error.message} ${error.stack} ${String(error.cause)}`.includes(secret), false);
    return true;
  };
}
