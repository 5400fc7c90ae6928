// Random syncs with random faults, races and late writers, held against the model while readers watch.

import fc from "fast-check";
import type { Check, CheckContext } from "../check.js";
import type { Fault } from "../faulty-store.js";
import type { Operation } from "../model.js";
import { play, SEGMENTS, type Step, UNIVERSE } from "../scenario.js";

/** The share of its time that a property may use before it is cut short, and counts as failed. */
const SHARE_OF_TIME = 0.9;

const key = fc.constantFrom(...UNIVERSE);
const keys = fc.uniqueArray(key, { maxLength: UNIVERSE.length });
const segment = fc.constantFrom(...SEGMENTS);
const lookMs = fc.constantFrom(0, 0, 400, 1_700);

const operation: fc.Arbitrary<Operation> = fc.oneof(
  fc.record({
    kind: fc.constant("merge" as const),
    list: fc.constantFrom("included" as const, "included" as const, "excluded" as const),
    add: keys,
    remove: keys,
  }),
  fc.record({ kind: fc.constant("replace" as const), included: keys }),
  fc.record({ kind: fc.constant("replace" as const), included: keys, excluded: keys }),
);

function fault(...kinds: Fault["kind"][]): fc.Arbitrary<Fault | undefined> {
  return fc.option(fc.record({ kind: fc.constantFrom(...kinds), at: fc.integer({ min: 1, max: 25 }) }), {
    nil: undefined,
  });
}

const anyFault = fault("refuse", "lose_reply", "crash", "crash_after", "pause");
const endingFault = fault("refuse", "lose_reply", "crash", "crash_after");

const sync: fc.Arbitrary<Step> = fc.record({
  kind: fc.constant("sync" as const),
  segment,
  operation,
  fault: endingFault,
  lookMs,
});

const upkeep: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ kind: fc.constant("delete" as const), segment, fault: endingFault, lookMs }),
  fc.record({ kind: fc.constant("forget" as const), key, fault: endingFault, lookMs }),
  fc.record({ kind: fc.constant("sweep" as const), fault: endingFault, lookMs }),
  fc.record({ kind: fc.constant("wait" as const), ms: fc.constantFrom(100, 2_000, 29_000, 400_000) }),
);

const race: fc.Arbitrary<Step> = fc.record({
  kind: fc.constant("race" as const),
  segment,
  operations: fc.tuple(operation, operation),
  faults: fc.tuple(anyFault, endingFault),
  lookMs,
});

async function checkRuns(t: CheckContext, step: fc.Arbitrary<Step>, name: string): Promise<void> {
  let run = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 8 }), fc.boolean(), (steps, keepsHandles) =>
      play(t, `${name}-${run++}`, steps, { keepsHandles }),
    ),
    {
      seed: t.seed,
      numRuns: t.runs,
      endOnFailure: !t.shrink,
      interruptAfterTimeLimit: t.timeoutMs * SHARE_OF_TIME,
      markInterruptAsFailure: true,
    },
  );
}

export const randomChecks: readonly Check[] = [
  {
    name: "random syncs with faults at any call end as the model, and readers see true throughout",
    promise: "repeat",
    run: (t) => checkRuns(t, fc.oneof({ weight: 4, arbitrary: sync }, { weight: 1, arbitrary: upkeep }), "sync"),
  },
  {
    name: "random races of two writers, crashed, cut off or late, end as one order of the two",
    promise: "writer",
    run: (t) =>
      checkRuns(
        t,
        fc.oneof({ weight: 3, arbitrary: race }, { weight: 2, arbitrary: sync }, { weight: 1, arbitrary: upkeep }),
        "race",
      ),
  },
];
