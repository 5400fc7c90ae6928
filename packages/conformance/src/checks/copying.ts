// copy: a whole environment from one store to another, hashes and all.

import assert from "node:assert/strict";
import { type CopyOptions, copy, type SegmentStore } from "@rollcall/core";
import { AUDIENCE, expectCounts, expectMembers, people, SMALL_STEPS, segmentOf } from "../audience.js";
import { type Check, type CheckContext, rejectsWith } from "../check.js";
import { keyOf } from "../samples.js";

export const copyChecks: readonly Check[] = [
  {
    name: "copy moves members, details, positions and pepper to an empty store",
    promise: "durable",
    async run(t) {
      const [from, to] = [await t.open(undefined, SMALL_STEPS), await t.openElsewhere()];
      const rollcall = await t.rollcall(from, { pepper: "p" });
      await rollcall.replace(AUDIENCE, { included: people(0, 80), excluded: people(70, 90) });
      await rollcall.editDetails(AUDIENCE, { name: "by hand" });
      await rollcall.merge(
        "devices",
        { add: people(0, 5) },
        {
          contextKind: "device",
          syncId: "one",
          sourcePosition: { source: "s", next: "7" },
        },
      );
      await rollcall.merge("empty", { add: people(0, 2) });
      await rollcall.merge("empty", { remove: people(0, 2) });
      await rollcall.merge("gone", { add: people(0, 5) });
      await rollcall.deleteSegment("gone");
      await rollcall.setEnvironmentPosition("s", "7");
      await copy(from, to, { clock: t.clock });

      const copied = await t.rollcall(to, { pepper: "p" });
      const reader = await t.reader(to, { pepper: "p" });
      await expectMembers(reader, AUDIENCE, people(0, 100), people(0, 80));
      await expectCounts(copied, { included: 80, excluded: 20 });
      await expectCounts(copied, { included: 0 }, "empty");
      const before = await segmentOf(rollcall, "devices");
      const after = await segmentOf(copied, "devices");
      assert.equal(after.contextKind, "device");
      assert.deepEqual(after.positions, before.positions);
      assert.deepEqual((await segmentOf(copied)).details, { name: { value: "by hand", origin: "manual" } });
      assert.equal(await copied.getSegment("gone"), undefined);
      assert.deepEqual((await copied.getEnvironment()).positions, [{ source: "s", position: "7" }]);
      assert.deepEqual((await copied.verify()).findings, []);
      await rejectsWith((await t.rollcall(to)).merge(AUDIENCE, { add: people(0, 1) }), "pepper_mismatch");
      // The copy is an environment like any other.
      await copied.merge(AUDIENCE, { add: people(90, 95), remove: people(0, 5) });
      await expectMembers(reader, AUDIENCE, people(0, 100), [...people(5, 80), ...people(90, 95)]);
      await expectMembers(await t.reader(from, { pepper: "p" }), AUDIENCE, people(0, 100), people(0, 80));
    },
  },
  {
    name: "copy does not mix two environments",
    promise: "isolation",
    async run(t) {
      const [from, to] = [await t.open(), await t.openElsewhere()];
      await (await t.rollcall(from)).merge(AUDIENCE, { add: people(0, 5) });
      await (await t.rollcall(to)).merge("other", { add: people(0, 5) });
      await rejectsWith(copy(from, to, { clock: t.clock }), "environment_not_empty");
      assert.deepEqual(
        (await to.listSegments()).map(({ key }) => key),
        ["other"],
      );
    },
  },
  {
    name: "a copy that died, after any of its calls, can be run again",
    promise: "repeat",
    async run(t) {
      const from = await t.open(undefined, SMALL_STEPS);
      const rollcall = await t.rollcall(from);
      for (const segment of SEGMENTS) {
        for (const first of [4, 2, 0])
          await rollcall.replace(segment, { included: people(first, 12), excluded: people(10, 15) });
      }
      const calls = await countCalls(t, from);
      assert.ok(calls > 10 * SEGMENTS.length);
      for (let at = 1; at <= calls; at++) {
        const dying = await t.open(`copy-${at}`, SMALL_STEPS);
        dying.plan({ kind: "crash_after", at });
        await rejectsWith(copy(from, dying, optionsOf(t)), "store_unavailable");
        await t.clock.advance(1_000_000);
        const to = await t.open(`copy-${at}`, SMALL_STEPS);
        // Only the very last call ends the copy: there it was complete already, and the target is like any other.
        if (at < calls) await copy(from, to, optionsOf(t));
        else await rejectsWith(copy(from, to, optionsOf(t)), "environment_not_empty");
        const [copied, reader] = [await t.rollcall(to), await t.reader(to)];
        for (const segment of SEGMENTS) {
          await expectCounts(copied, { included: 12, excluded: 5 }, segment);
          await expectMembers(reader, segment, people(0, 20), people(0, 12));
          assert.deepEqual(await to.getHistory(keyOf(segment)), await from.getHistory(keyOf(segment)));
        }
        await copied.sweep();
        assert.deepEqual((await copied.verify()).findings, []);
        await Promise.all([copied.close(), reader.close(), dying.close(), to.close()]);
      }
    },
  },
];

const SEGMENTS = ["one", "two"];

/** No real pauses between retries. */
function optionsOf({ clock }: CheckContext): CopyOptions {
  return { clock, retry: { minDelayMs: 0 }, onWarning: () => {} };
}

/** How many calls of the target a copy takes when nothing fails. */
async function countCalls(t: CheckContext, from: SegmentStore): Promise<number> {
  const to = await t.open("copy-count", SMALL_STEPS);
  const before = to.calls.length;
  await copy(from, to, optionsOf(t));
  return to.calls.length - before;
}
