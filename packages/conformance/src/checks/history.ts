// The history of reports: bounded, newest first, apart from the records that readers poll.

import assert from "node:assert/strict";
import type { Check } from "../check.js";
import { keyOf, sampleReport } from "../samples.js";

const key = keyOf("audience");

export const historyChecks: readonly Check[] = [
  {
    name: "history keeps whole reports, newest first, for each segment apart",
    promise: "port",
    async run(t) {
      const [store, other] = [await t.open(), await t.open()];
      assert.deepEqual(await store.getHistory(key), []);
      const reports = [1, 2, 3].map((n) => sampleReport("audience", n));
      for (const report of reports) await store.appendHistory(key, report);
      await store.appendHistory(keyOf("audience2"), sampleReport("audience2", 9));
      assert.deepEqual(await other.getHistory(key), reports.toReversed());
      assert.deepEqual(await other.getHistory(keyOf("audience2")), [sampleReport("audience2", 9)]);
      assert.deepEqual(await other.getHistory(keyOf("audienc")), []);
    },
  },
  {
    name: "history keeps the newest 100 and forgets the rest",
    promise: "port",
    async run(t) {
      const store = await t.open();
      for (let n = 1; n <= 130; n++) await store.appendHistory(key, sampleReport("audience", n));
      const received = (await store.getHistory(key)).map((report) => report.received);
      assert.deepEqual(
        received,
        Array.from({ length: 100 }, (_, i) => 130 - i),
      );
    },
  },
  {
    name: "racing appends are all kept, and do not move the epoch",
    promise: "port",
    async run(t) {
      const [store, other] = [await t.open(), await t.open()];
      const epoch = await store.getEpoch();
      await Promise.all(
        Array.from({ length: 20 }, (_, n) => (n % 2 ? store : other).appendHistory(key, sampleReport("audience", n))),
      );
      const received = (await store.getHistory(key)).map((report) => report.received).sort((a, b) => a - b);
      assert.deepEqual(
        received,
        Array.from({ length: 20 }, (_, n) => n),
      );
      assert.equal(await other.getEpoch(), epoch);
    },
  },
];
