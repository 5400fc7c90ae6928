// The plain model that the real thing is held against: sets of keys, changed one sync after the other; and a watcher that
// knows which answers a reader may give.

import assert from "node:assert/strict";
import {
  LIST_NAMES,
  type ListName,
  type MergeOptions,
  type ReplaceOptions,
  type Rollcall,
  type SegmentReader,
  type SyncReport,
} from "@rollcall/core";

/** The members of one segment. */
export interface SegmentModel {
  readonly included: ReadonlySet<string>;
  readonly excluded: ReadonlySet<string>;
}

/** One sync, as data. */
export type Operation =
  | {
      readonly kind: "merge";
      readonly list: "included" | "excluded";
      readonly add: readonly string[];
      readonly remove: readonly string[];
    }
  | { readonly kind: "replace"; readonly included?: readonly string[]; readonly excluded?: readonly string[] };

/** No members. */
export const EMPTY: SegmentModel = { included: new Set(), excluded: new Set() };

/** The model after the operation. */
export function applied(model: SegmentModel, operation: Operation): SegmentModel {
  if (operation.kind === "replace") {
    return {
      included: operation.included === undefined ? model.included : new Set(operation.included),
      excluded: operation.excluded === undefined ? model.excluded : new Set(operation.excluded),
    };
  }
  const members = new Set(model[operation.list]);
  for (const key of operation.add) members.add(key);
  for (const key of operation.remove) members.delete(key);
  return { ...model, [operation.list]: members };
}

/** The model without one context. */
export function without(model: SegmentModel, key: string): SegmentModel {
  const less = (members: ReadonlySet<string>) => new Set([...members].filter((member) => member !== key));
  return { included: less(model.included), excluded: less(model.excluded) };
}

/** Does the operation for real. */
export function perform(
  rollcall: Rollcall,
  segmentKey: string,
  operation: Operation,
  options: MergeOptions & ReplaceOptions = {},
): Promise<SyncReport> {
  if (operation.kind === "merge") {
    const { add, remove, list } = operation;
    return rollcall.merge(segmentKey, { add, remove }, { ...options, list });
  }
  const { kind: _, ...snapshot } = operation;
  return rollcall.replace(segmentKey, snapshot, { ...options, allowShrink: true });
}

type Decision = "included" | "excluded" | "none";

/** What a segment with these members says of a context. */
function decisionOf({ included, excluded }: SegmentModel, key: string): Decision {
  if (included.has(key)) return "included";
  return excluded.has(key) ? "excluded" : "none";
}

/** The lists that the operation writes anew, as a whole; it changes the others in place, if at all. */
export function flippedBy(operation: Operation): ListName[] {
  return operation.kind === "merge" ? [] : LIST_NAMES.filter((list) => operation[list] !== undefined);
}

interface Stage {
  /** What the segment may hold; several while writers race. */
  readonly candidates: readonly SegmentModel[];
  /** For each list, how often it was written anew. A reader that knows an old set sees no later change of the list. */
  readonly eras: Readonly<Record<ListName, number>>;
}

/** How far one reader has come with one segment. Nobody goes back. */
interface Reach {
  /** The first stage whose sets the reader may still know. */
  sets: number;
  /** For each list and member, the first stage whose content it may still see. */
  readonly members: Record<ListName, Map<string, number>>;
}

/** Looks at everything a reader says, and fails on any answer that cannot be. */
export interface Watcher {
  /** From now on answers may also come from these states, before which the lists in `flips` are written anew. */
  expect(segmentKey: string, candidates: readonly SegmentModel[], flips: readonly ListName[]): void;
  /**
   * From now on answers may also come from `end`, in which two writers who raced through `candidates` left the segment; each wrote
   * the lists in its `flips` anew. A list that only the first to come wrote anew stayed the same set when the second came.
   */
  expectEndOfRace(
    segmentKey: string,
    candidates: readonly SegmentModel[],
    end: SegmentModel,
    flips: readonly [readonly ListName[], readonly ListName[]],
  ): void;
  /** From now on the context is being removed everywhere, list by list. */
  forget(key: string): void;
  /** Looks through all readers, or through one of them. */
  look(reader?: number): Promise<void>;
}

/**
 * Makes a watcher of `readers` over `universe`. A reader knows the sets of one state of the registry, and sees in them what was
 * changed in place until now. So an answer must come from one stage's sets, and from contents of that stage or of a later
 * one in which the list is the same set; and neither sets nor contents ever go back.
 */
export function createWatcher(readers: readonly SegmentReader[], universe: readonly string[]): Watcher {
  const stages = new Map<string, readonly Stage[]>();
  const reached = readers.map(() => new Map<string, Reach>());
  const forgotten = new Set<string>();

  function judge(reach: Reach, history: readonly Stage[], segmentKey: string, key: string, decision: Decision): void {
    // Meanwhile it may be gone from one list and not yet from the other.
    if (decision !== "included" && forgotten.has(key)) return;
    for (let sets = reach.sets; sets < history.length; sets++) {
      const included = contentSince(reach, history, { list: "included", sets, key, member: decision === "included" });
      // Who is included may be excluded or not: the answer does not tell.
      const excluded =
        decision === "included"
          ? reach.members.excluded.get(key)
          : contentSince(reach, history, { list: "excluded", sets, key, member: decision === "excluded" });
      if (included === undefined || (excluded === undefined && decision !== "included")) continue;
      reach.sets = Math.max(reach.sets, firstWithSets(history, sets));
      reach.members.included.set(key, included);
      if (excluded !== undefined) reach.members.excluded.set(key, excluded);
      return;
    }
    assert.fail(
      `a reader said "${decision}" of ${key} in ${segmentKey}: not so in any state from ${reach.sets} to ${history.length - 1}`,
    );
  }

  const historyOf = (segmentKey: string): readonly Stage[] =>
    stages.get(segmentKey) ?? [{ candidates: [EMPTY], eras: { included: 0, excluded: 0 } }];

  function append(segmentKey: string, more: readonly Stage[]): void {
    stages.set(segmentKey, [...historyOf(segmentKey), ...more]);
  }

  function erasAfter(segmentKey: string, flips: readonly ListName[]): Record<ListName, number> {
    const eras = { included: 0, excluded: 0, ...historyOf(segmentKey).at(-1)?.eras };
    for (const list of flips) eras[list]++;
    return eras;
  }

  return {
    expect(segmentKey, candidates, flips) {
      append(segmentKey, [{ candidates, eras: erasAfter(segmentKey, flips) }]);
    },
    expectEndOfRace(segmentKey, candidates, end, [first, second]) {
      const last = erasAfter(segmentKey, [...first, ...second]);
      // Half an era back: not the sets of before the race, and not those of its end.
      const before = (late: readonly ListName[]): Stage => {
        const eras = { ...last };
        for (const list of late) eras[list] -= 0.5;
        return { candidates, eras };
      };
      append(segmentKey, [before(second), before(first), { candidates: [end], eras: last }]);
    },
    forget(key) {
      forgotten.add(key);
    },
    async look(only) {
      for (const [i, reader] of readers.entries()) {
        if (only !== undefined && i !== only) continue;
        const answers = await Promise.all(universe.map((key) => reader.membership({ kind: "user", key })));
        for (const [segmentKey, history] of stages) {
          const reaches = reached[i] ?? new Map<string, Reach>();
          const reach = reaches.get(segmentKey) ?? { sets: 0, members: { included: new Map(), excluded: new Map() } };
          reaches.set(segmentKey, reach);
          for (const [n, key] of universe.entries()) {
            const member = answers[n]?.segments.get(segmentKey);
            judge(reach, history, segmentKey, key, member === undefined ? "none" : member ? "included" : "excluded");
          }
        }
      }
    },
  };
}

interface ContentQuestion {
  readonly list: ListName;
  /** The stage whose sets the reader knows. */
  readonly sets: number;
  readonly key: string;
  /** Whether it saw the key in the list. */
  readonly member: boolean;
}

/** The first stage whose content explains what was seen in one list. */
function contentSince(reach: Reach, history: readonly Stage[], question: ContentQuestion): number | undefined {
  const { list, sets, key, member } = question;
  const least = Math.max(sets, reach.members[list].get(key) ?? 0);
  const found = history.findIndex(
    ({ candidates, eras }, i) =>
      i >= least &&
      eras[list] === history[sets]?.eras[list] &&
      candidates.some((candidate) => candidate[list].has(key) === member),
  );
  return found < 0 ? undefined : found;
}

function firstWithSets(history: readonly Stage[], stage: number): number {
  const eras = history[stage]?.eras;
  return history.findIndex((other) => other.eras.included === eras?.included && other.eras.excluded === eras?.excluded);
}

/** Asserts that the reader, read anew, says of everybody what the model says. */
export async function expectModel(
  reader: SegmentReader,
  models: ReadonlyMap<string, SegmentModel>,
  universe: readonly string[],
): Promise<void> {
  await reader.refresh();
  for (const [segmentKey, model] of models) {
    const answers = await Promise.all(universe.map((key) => reader.isMember(segmentKey, { kind: "user", key })));
    assert.deepEqual(
      answers.map(({ decision }, n) => [universe[n], decision]),
      universe.map((key) => [key, decisionOf(model, key)]),
      segmentKey,
    );
  }
}
