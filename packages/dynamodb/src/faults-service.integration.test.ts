// A service that throttles, fails and leaves something over, a credential that expires, and a table that is deleted, all in the middle of a
// sync. The network has a file of its own.

import { randomUUID } from "node:crypto";
import {
  expectApplied,
  expectRefused,
  expectState,
  MODES,
  type Mode,
  openInSmallSteps,
  quickRollcall,
  startTrial,
  sync,
} from "@rollcall/conformance/faults";
import type { SegmentStore } from "@rollcall/core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createDynamoDbStore } from "./index.js";
import { admin, dropTable, newTable, SERVER, urlOf } from "./place.test-setup.js";
import { type Answer, type ServiceProxy, serviceError, startServiceProxy } from "./service-proxy.test-setup.js";
import { createTable } from "./table.js";

const table = newTable();
beforeAll(() => createTable(admin, table, { timeoutMs: 10_000 }));
afterAll(() => dropTable(table));

/** What fails here is told to: a machine that is busy elsewhere must not add to it. */
const timeoutMs = 60_000;

async function startService(mode: Mode, at = table) {
  const proxy = await startServiceProxy(SERVER);
  const environment = randomUUID();
  const open = (store: SegmentStore) => openInSmallSteps(store);
  const calm = await open(createDynamoDbStore(urlOf(at), { environment, timeoutMs }));
  const store = await open(createDynamoDbStore(urlOf(at, { at: proxy }), { environment, timeoutMs }));
  const trial = await startTrial(calm, mode);
  return {
    proxy,
    calm,
    store,
    trial,
    async [Symbol.asyncDispose]() {
      await store.close();
      await calm.close();
      await proxy[Symbol.asyncDispose]();
    },
  };
}

/** Answers every `nth` request of `operation` so, `most` times at most. */
function everyNth(
  proxy: ServiceProxy,
  nth: number,
  operation: string,
  answer: Answer,
  most = Number.POSITIVE_INFINITY,
): { count: number } {
  const answered = { count: 0 };
  let seen = 0;
  proxy.act((asked) => {
    if (asked !== operation || answered.count >= most || ++seen % nth !== 0) return undefined;
    answered.count++;
    return answer;
  });
  return answered;
}

/** What carries members: a snapshot is all new blocks, a delta changes present ones. */
const WRITES: Readonly<Record<Mode, string>> = { replace: "BatchExecuteStatement", merge: "UpdateItem" };

/** Every how many of them one fails: batches are fewer. */
const OFTEN: Readonly<Record<Mode, number>> = { replace: 2, merge: 4 };
const SELDOM: Readonly<Record<Mode, number>> = { replace: 3, merge: 50 };

describe.each(MODES)("during a %s", (mode) => {
  it.each(["ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded"])(
    "%s slows it down, and costs no exact count",
    async (name) => {
      await using line = await startService(mode);
      const { proxy, store, calm, trial } = line;
      const throttled = everyNth(proxy, OFTEN[mode], WRITES[mode], serviceError(name));
      const outcome = await sync(quickRollcall(store), trial);
      expectApplied(outcome);
      expect(throttled.count).toBeGreaterThan(0);
      expect(store.failures).toEqual([]);
      expect(outcome.report?.members.included).toEqual({ value: trial.after.size, exact: true });
      await expectState(calm, trial.segmentKey, trial.after);
    },
  );

  it("a throttling that does not end ends it", async () => {
    await using line = await startService(mode);
    const { proxy, store, calm, trial } = line;
    everyNth(proxy, 1, WRITES[mode], serviceError("ThrottlingException"));
    expectRefused(await sync(quickRollcall(store, { retry: { retries: 0 } }), trial), "store_unavailable");
    proxy.calm();
    expectApplied(await sync(quickRollcall(store), trial));
    await expectState(calm, trial.segmentKey, trial.after);
  });

  it.each([
    ["before", false],
    ["after", true],
  ])("an internal error may come %s the request took effect", async (_, afterEffect) => {
    await using line = await startService(mode);
    const { proxy, store, calm, trial } = line;
    everyNth(proxy, SELDOM[mode], WRITES[mode], { ...serviceError("InternalServerError", 500), afterEffect }, 3);
    expectApplied(await sync(quickRollcall(store), trial));
    expect(store.failures).toContain("writeBlocks store_unavailable");
    await expectState(calm, trial.segmentKey, trial.after);
  });

  it("transactions may meet others", async () => {
    await using line = await startService(mode);
    const { proxy, store, calm, trial } = line;
    const reasons = { CancellationReasons: [{ Code: "None" }, { Code: "TransactionConflict" }] };
    const met = everyNth(proxy, 2, "TransactWriteItems", serviceError("TransactionCanceledException", 400, reasons));
    expectApplied(await sync(quickRollcall(store), trial));
    expect(met.count).toBeGreaterThan(0);
    await expectState(calm, trial.segmentKey, trial.after);
  });

  it("a credential may expire, and be renewed", async () => {
    await using line = await startService(mode);
    const { proxy, store, calm, trial } = line;
    const outcome = await sync(quickRollcall(store), trial, () =>
      proxy.act(() => serviceError("ExpiredTokenException")),
    );
    expectRefused(outcome, "access_denied");
    expect(outcome.error?.message).toMatch(/expired; renew/);
    proxy.calm();
    expectApplied(await sync(quickRollcall(store), trial));
    await expectState(calm, trial.segmentKey, trial.after);
  });

  it("the table may be deleted", async () => {
    const doomed = newTable();
    await createTable(admin, doomed, { timeoutMs: 10_000 });
    await using line = await startService(mode, doomed);
    const { store, trial } = line;
    const outcome = await sync(quickRollcall(store), trial, () => dropTable(doomed));
    expectRefused(outcome, "invalid_request");
    expect(outcome.error?.message).toMatch(/table does not exist.*createTable/);
  });
});

describe("single statements of a batch", () => {
  /** Answers every `nth` batch so, each of its statements. */
  function refuse(proxy: ServiceProxy, nth: number, code: string, afterEffect = false): { count: number } {
    const refused = { count: 0 };
    let seen = 0;
    proxy.act((operation, { Statements }) => {
      if (operation !== WRITES.replace || ++seen % nth !== 0) return undefined;
      refused.count++;
      const Responses = (Statements as unknown[]).map(() => ({
        Error: { Code: code, Message: `the service says ${code}` },
      }));
      return { status: 200, body: { Responses }, afterEffect };
    });
    return refused;
  }

  it.each(["ProvisionedThroughputExceeded", "ThrottlingError", "TransactionConflict"])(
    "that are refused by %s go again, and cost no exact count",
    async (code) => {
      await using line = await startService("replace");
      const { proxy, store, calm, trial } = line;
      const refused = refuse(proxy, 2, code);
      const outcome = await sync(quickRollcall(store), trial);
      expectApplied(outcome);
      expect(refused.count).toBeGreaterThan(0);
      expect(store.failures).toEqual([]);
      expect(outcome.report?.members.included).toEqual({ value: trial.after.size, exact: true });
      await expectState(calm, trial.segmentKey, trial.after);
    },
  );

  it("may have taken effect and failed all the same", async () => {
    await using line = await startService("replace");
    const { proxy, store, calm, trial } = line;
    const refused = refuse(proxy, 3, "InternalServerError", true);
    // Each window once: its repeat finds the blocks there.
    setTimeout(() => proxy.calm(), 500);
    expectApplied(await sync(quickRollcall(store), trial));
    expect(refused.count).toBeGreaterThan(0);
    expect(store.failures).toContain("writeBlocks store_unavailable");
    await expectState(calm, trial.segmentKey, trial.after);
  });
});

describe("batches", () => {
  it("that leave something over are completed", async () => {
    await using line = await startService("merge");
    const { proxy, store, calm, trial } = line;
    let left = 0;
    proxy.act((operation, { RequestItems }) => {
      // Every other one leaves all of it over.
      if (!operation.startsWith("Batch") || ++left % 2 === 0) return undefined;
      const body =
        operation === "BatchGetItem"
          ? { Responses: {}, UnprocessedKeys: RequestItems }
          : { UnprocessedItems: RequestItems };
      return { status: 200, body };
    });
    expectApplied(await sync(quickRollcall(store, { graceMs: 0 }), trial));
    await expectState(store, trial.segmentKey, trial.after);
    proxy.calm();
    await expectState(calm, trial.segmentKey, trial.after);
    expect(left).toBeGreaterThan(2);
  });
});
