// The suite is itself tested: each deliberately broken store must fail the check that is there for its fault.

import { AssertionError } from "node:assert";
import { afterAll, describe, expect, it } from "vitest";
import { brokenHarness, brokenStores } from "./broken-stores.js";
import type { ConformanceOptions } from "./harness.js";
import { runConformance } from "./run.js";

/** Few runs: a fault that needs luck to show is caught by a named check as well. */
const OPTIONS: ConformanceOptions = { runs: 5, shrink: false, scaleMembers: 2_000, timeoutMs: 15_000 };
/** The checks that fail each call of a sync in turn take most of the suite's time, and no fault here needs them. */
const isQuick = ({ name }: { readonly name: string }) => !/ at (every|any) call/.test(name);

describe("the conformance suite", () => {
  const caught = new Map<string, string[]>();

  it("passes the store that the broken ones are made of", { timeout: 300_000 }, async () => {
    const unbroken = brokenHarness(() => ({}));
    const results = await runConformance(unbroken, { ...OPTIONS, timeoutMs: 280_000 });
    expect(results.filter(({ outcome }) => outcome !== "passed")).toEqual([]);
  });

  it.each(brokenStores)("catches a store that $name", { timeout: 300_000 }, async ({ name, caughtBy, harness }) => {
    const results = await runConformance(harness, { ...OPTIONS, only: isQuick });
    const failed = results.filter(({ outcome }) => outcome === "failed");
    caught.set(
      name,
      failed.map((result) => result.name),
    );
    // The check must have seen the fault: one that ran out of time, or tripped over it by chance, proves nothing.
    expect(failed.find((result) => result.name === caughtBy)?.error).toBeInstanceOf(AssertionError);
  });

  afterAll(() => {
    const rows = brokenStores.map(({ name, caughtBy }) => ({
      fault: name,
      "caught by": caughtBy,
      checks: caught.get(name)?.length ?? 0,
    }));
    console.table(rows);
    for (const [fault, checks] of caught) console.log(`${fault}\n${checks.map((check) => `  - ${check}`).join("\n")}`);
  });
});
