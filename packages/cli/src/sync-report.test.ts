// What a dry run tells of costs.

import type { SegmentKey, SyncReport } from "@rollcall/core";
import pc from "picocolors";
import { describe, expect, it } from "vitest";
import { type CommandReport, describeReport, withDollars } from "./sync-report.js";

const none = { value: 0, exact: true };
const PLANNED: CommandReport = {
  segmentKey: "vips" as SegmentKey,
  contextKind: "user" as SyncReport["contextKind"],
  mode: "replace",
  lists: ["included"],
  outcome: "planned",
  received: 2,
  duplicates: 0,
  rejected: { count: 0, listed: [] },
  added: { value: 2, exact: true },
  removed: none,
  unchanged: none,
  members: { included: { value: 2, exact: true }, excluded: none },
  group: 1,
  startedAt: 0,
  durationMs: 1,
  emptyLines: 0,
  estimate: { writeUnits: 40_000, readUnits: 2_000 },
};
const PRICES = { writePrice: 0.625, readPrice: 0.125 };

describe("a dry run", () => {
  it("says what the sync would consume, and what that costs at prices that were given", () => {
    expect(describeReport(PLANNED, pc.createColors(false))).toMatch(/about 40,000 write units, 2,000 read units$/m);
    const priced = withDollars(PLANNED, PRICES);
    expect(priced.estimate).toEqual({ writeUnits: 40_000, readUnits: 2_000, dollars: 0.02525 });
    expect(describeReport(priced, pc.createColors(false))).toMatch(
      /about 40,000 write units, 2,000 read units: \$ 0\.0253$/m,
    );
  });

  it("says nothing of costs where there are none, and refuses prices there", () => {
    const { estimate: _, ...free } = PLANNED;
    expect(describeReport(free, pc.createColors(false))).not.toContain("consume");
    expect(withDollars(free, {})).toEqual(free);
    expect(() => withDollars(free, PRICES)).toThrow(/not paid by use/);
    // A repeat would do nothing.
    expect(withDollars({ ...free, outcome: "already_applied" }, PRICES)).not.toHaveProperty("estimate");
  });
});
