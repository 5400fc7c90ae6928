// A warm reader that is asked about a sample of contexts all the time, and whose every answer is judged: what it calls healthy must be
// true of the segment as it was or as it is going to be.

import { until } from "@rollcall/conformance/containers";
import { type AnswerStatus, createSegmentReader, type SegmentStore } from "@rollcall/core";
import { expect } from "vitest";
import { type Change, type Members, UNIVERSE } from "./change.js";

export interface WatchingReader extends AsyncDisposable {
  /** Asserts that no answer was wrong, that nothing but failures of the store was reported, and that every answer is that of `members` now. */
  expectOnly(members: Members): Promise<void>;
  /** What was wrong with healthy answers so far. */
  readonly wrong: ReadonlySet<string>;
  /** Asserts that this is nothing. */
  expectNothingWrong(): void;
  /** Every status that an answer has had. */
  readonly statuses: ReadonlySet<AnswerStatus>;
  /** Asks about the whole sample once more. */
  look(): Promise<void>;
  stop(): Promise<void>;
}

const SAMPLE = UNIVERSE.filter((_, index) => index % 61 === 0);

/** Begins to watch; resolves when the reader is warm. */
export async function watchSegment(
  store: SegmentStore,
  segmentKey: string,
  { mode, before, after }: Pick<Change, "mode" | "before" | "after">,
): Promise<WatchingReader> {
  const reader = createSegmentReader({ store, pollMs: 20, cacheTtlMs: 40, maxRegistryAgeMs: 30_000 });
  const wrong = new Set<string>();
  const statuses = new Set<AnswerStatus>();
  let sawNew = false;
  let stopped = false;
  const isMember = (key: string) => reader.isMember(segmentKey, { kind: "user", key });

  async function ask(key: string): Promise<void> {
    // Only an answer that was asked for after the new state was seen must not be of the old one.
    const knewNew = sawNew;
    const { member, status } = await isMember(key);
    statuses.add(status);
    if (status !== "healthy") return;
    const [isOld, isNew] = [member === before.has(key), member === after.has(key)];
    if (!isOld && !isNew) wrong.add(`${key} is neither as before nor as after`);
    if (isOld === isNew || mode === "merge") return;
    if (isNew) sawNew = true;
    else if (knewNew) wrong.add(`${key} is as before although the snapshot had been seen`);
  }

  const look = async () => {
    await Promise.all(SAMPLE.map(ask));
  };

  async function watch(): Promise<void> {
    while (!stopped) {
      await look();
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }

  async function stop(): Promise<void> {
    stopped = true;
    await watching;
    reader.close();
  }

  const expectNothingWrong = () => expect([...wrong]).toEqual([]);

  await reader.refresh();
  await look();
  const watching = watch();
  return {
    statuses,
    wrong,
    look,
    stop,
    expectNothingWrong,
    async expectOnly(members) {
      // Right after a fault a node may be out of reach once more, which a reader says and does not repeat by itself.
      const answers = await until("the reader reaches all of the store", async () => {
        await reader.refresh();
        const sample = await Promise.all(SAMPLE.map(isMember));
        return sample.every(({ status }) => status === "healthy") && sample;
      });
      await stop();
      expectNothingWrong();
      expect(["healthy", "store_error"]).toEqual(expect.arrayContaining([...statuses]));
      expect(SAMPLE.filter((_, index) => answers[index]?.member)).toEqual(SAMPLE.filter((key) => members.has(key)));
    },
    [Symbol.asyncDispose]: stop,
  };
}
