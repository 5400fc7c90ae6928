// An option that does not exist is refused: a misspelt pepper would make an environment for good without one.

import { describe, expect, it } from "vitest";
import {
  createMemoryStore,
  createRollcall,
  createSegmentReader,
  type RollcallOptions,
  type SegmentReaderOptions,
  systemClock,
} from "./index.js";

const store = createMemoryStore();
const rollcallOptions: Required<RollcallOptions> = {
  pepper: "a secret",
  expectedContexts: 1,
  leaseTtlMs: 1,
  leaseWaitMs: 1,
  graceMs: 1,
  minRemaining: 1,
  memoryLimitBytes: 1,
  tempDir: ".",
  retry: {},
  onWarning: () => {},
  clock: systemClock,
};
const readerOptions: Required<SegmentReaderOptions> = {
  store,
  pepper: "a secret",
  cacheSize: 1,
  cacheTtlMs: 1,
  pollMs: 1,
  maxRegistryAgeMs: 2,
  freshnessMs: 1,
  onError: "throw",
  clock: systemClock,
};

describe("every option that there is", () => {
  it("is taken", () => {
    createRollcall(store, rollcallOptions);
    createSegmentReader(readerOptions).close();
    createSegmentReader({ ...readerOptions, store: undefined }).close();
  });
});

describe("an option that there is not", () => {
  const refused = expect.objectContaining({
    code: "invalid_request",
    message: expect.stringMatching(/^there is no option peper; known are .*pepper/),
  });

  it.each([
    ["a writer", () => createRollcall(store, { peper: "a secret" } as RollcallOptions)],
    ["a reader", () => createSegmentReader({ store, peper: "a secret" } as SegmentReaderOptions)],
    ["a reader without a store", () => createSegmentReader({ store: undefined, peper: "" } as SegmentReaderOptions)],
  ])("is refused by %s", (_, make) => {
    expect(make).toThrow(refused);
  });
});
