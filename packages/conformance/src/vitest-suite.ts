// The suite as vitest tests: what an adapter's test file calls.

import { describe, it } from "vitest";
import { type Check, PROMISES, type PromiseName } from "./check.js";
import type { ConformanceOptions, Harness } from "./harness.js";
import { runCheck, selectChecks, timeoutOf } from "./run.js";

/** Registers every check of the suite as a vitest test, grouped by the promise it proves. */
export function conformance(name: string, harness: Harness, options: ConformanceOptions = {}): void {
  describe(`conformance of ${name}`, () => {
    for (const [promise, checks] of byPromise(selectChecks(options))) {
      describe(PROMISES[promise], () => {
        for (const check of checks) register(check, harness, options);
      });
    }
  });
}

function register(check: Check, harness: Harness, options: ConformanceOptions): void {
  // The check has its own deadline, which says more than the one of the runner.
  it(check.name, { timeout: timeoutOf(options) + 30_000 }, async () => {
    const result = await runCheck(check, harness, options);
    if (result.outcome === "failed") throw result.error;
  });
}

function byPromise(checks: readonly Check[]): Map<PromiseName, Check[]> {
  const groups = new Map<PromiseName, Check[]>();
  for (const check of checks) groups.set(check.promise, [...(groups.get(check.promise) ?? []), check]);
  return groups;
}
