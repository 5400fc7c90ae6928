// Loading segments into a server, for the benchmarks that measure the loading or what was loaded, in whatever layout.

import { type MadeKeys, makeMembers, type SegmentShare } from "./audience.js";
import { collectGarbage } from "./collect-garbage.js";

/** What to load: segments number 0, 1, … of the people of one environment. */
export interface Load {
  readonly url: string;
  readonly contexts: number;
  readonly segments: number;
  /** Each segment holds one in so many of the people. */
  readonly oneIn: number;
}

/** What loading took. */
export interface Loaded {
  /** Members per second, segment by segment; making keys is not in it. */
  readonly rates: readonly number[];
  /** Bytes that the server holds after each segment, above what it held before the first. */
  readonly bytes: readonly number[];
}

/** How {@link loadEach} takes the time, for the notes. */
export const TIME_OF_LOADING =
  "All keys of a segment are made, and garbage is collected, before its time begins, on both sides. Not so in the rows about growth and about replacing again: there the time in which keys were made is taken off.";

/** Loads the members of one segment. */
export type LoadingWork = (number: number, stream: MadeKeys) => Promise<void>;

export function segmentKey(number: number): string {
  return `segment-${number}`;
}

export function segmentsText(segments: number): string {
  return segments === 1 ? "1 segment" : `${segments} segments`;
}

/** Work in turn with somebody else. */
export interface TurnTaking {
  /** Waits for one's turn. */
  begin(): Promise<void>;
  end(): Promise<void>;
}

/**
 * Does `work` for each segment; `bytesOf` says what the server holds, and neither that nor waiting for one's turn takes part of the
 * time.
 */
export async function loadEach(
  load: Load,
  bytesOf: () => Promise<number>,
  work: LoadingWork,
  turns?: TurnTaking,
): Promise<Loaded> {
  const before = await bytesOf();
  const rates: number[] = [];
  const bytes: number[] = [];
  for (let number = 0; number < load.segments; number++) {
    await turns?.begin();
    rates.push(await loadOne(load, number, work));
    bytes.push((await bytesOf()) - before);
    await turns?.end();
  }
  return { rates, bytes };
}

/** Does `work` for one segment, and answers the members per second. */
async function loadOne({ contexts, oneIn }: Load, number: number, work: LoadingWork): Promise<number> {
  const share: SegmentShare = { number, oneIn };
  // Made before the clock starts. Were they made inside, and their time taken off, a side that reads while its server works would get that
  // work for nothing.
  const stream = makeMembers(share, contexts);
  collectGarbage();
  const started = performance.now();
  await work(number, stream);
  return stream.count / ((performance.now() - started) / 1_000);
}
