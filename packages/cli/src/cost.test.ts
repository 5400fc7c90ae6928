import { describe, expect, it } from "vitest";
import { runHere } from "./testing/rollcall-process.js";

const WORKLOAD = ["--contexts", "1_000_000", "--segments", "10", "--density", "0.1", "--replaces", "30"];
const PRICES = ["--write-price", "0.625", "--read-price", "0.125", "--storage-price", "0.25"];

describe("rollcall cost", () => {
  it("answers units, and dollars at prices that are given", async () => {
    const units = JSON.parse((await runHere(["--json", "cost", "dynamodb", ...WORKLOAD])).stdout);
    expect(units.own.writeUnits).toBeLessThan(units.peer.writeUnits / 5);
    expect(units.own.dollars).toBeUndefined();
    const priced = JSON.parse((await runHere(["--json", "cost", "dynamodb", ...WORKLOAD, ...PRICES])).stdout);
    const { writeUnits, readUnits, storageBytes, dollars } = priced.own;
    expect(dollars).toBeCloseTo((writeUnits * 0.625 + readUnits * 0.125) / 1e6 + (storageBytes / 2 ** 30) * 0.25);
    expect((await runHere(["cost", "dynamodb", ...WORKLOAD, ...PRICES])).stdout).toContain("dollars");
  });

  it.each([
    ["a database that is not paid by use", ["cost", "lmdb", ...WORKLOAD], /nothing to estimate/],
    ["a price without the others", ["cost", "dynamodb", ...WORKLOAD, "--write-price", "1"], /all three prices/],
    ["no workload", ["cost", "dynamodb"], /--contexts/],
  ])("refuses %s", async (_, argv, message) => {
    const { exit, stdout, stderr } = await runHere(argv);
    expect(exit).not.toBe(0);
    expect(stdout).toBe("");
    expect(stderr).toMatch(message);
  });
});
