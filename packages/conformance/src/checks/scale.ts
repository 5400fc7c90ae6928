// A smoke test of size: one audience of hundreds of thousands, replaced, changed, looked up and recounted.

import assert from "node:assert/strict";
import { AUDIENCE, expectCounts, membersAmong, people } from "../audience.js";
import type { Check } from "../check.js";

/** Every so many members one is looked up. */
const SAMPLES = 1_000;

async function* batches(from: number, to: number) {
  for (let i = from; i < to; i += 5_000) yield people(i, Math.min(to, i + 5_000));
}

export const scaleChecks: readonly Check[] = [
  {
    name: "a large audience is replaced, changed and counted exactly",
    promise: "counts",
    async run(t) {
      const size = t.scaleMembers;
      const rollcall = await t.rollcall();
      const first = await rollcall.replace(AUDIENCE, { included: batches(0, size) });
      assert.deepEqual(first.added, { value: size, exact: true });
      const half = Math.floor(size / 2);
      const second = await rollcall.replace(AUDIENCE, { included: batches(half, half + size) });
      assert.deepEqual([second.added.value, second.removed.value, second.unchanged.value], [half, half, size - half]);
      const changed = await rollcall.merge(AUDIENCE, { add: people(0, 500), remove: people(half, half + 300) });
      assert.deepEqual([changed.added.value, changed.removed.value], [500, 300]);
      await expectCounts(rollcall, { included: size + 200 });
      const reader = await t.reader();
      const step = Math.max(1, Math.floor((2 * size) / SAMPLES));
      const samples = people(0, 2 * size).filter((_, n) => n % step === 0);
      const isMember = (n: number) => n < 500 || (n >= half + 300 && n < half + size);
      assert.deepEqual(
        await membersAmong(reader, AUDIENCE, samples),
        samples.filter((_, i) => isMember(i * step)),
      );
      const report = await rollcall.verify();
      assert.deepEqual(report, { segments: 1, members: size + 200, findings: [] });
    },
  },
];
