// Read, change, write: every change of a record is a compare-and-swap on its revision, repeated until it holds.

import type { Engine } from "./engine.js";
import { isRollcallError, RollcallError } from "./errors.js";
import type { SegmentKey } from "./names.js";
import { changesAnswers } from "./registry-snapshot.js";
import type { SyncReport } from "./report.js";
import { type Environment, freshRevision, type Segment } from "./segment.js";
import type { Timeline } from "./store.js";

const MOST_CONFLICTS = 200;

/** Options of {@link updateSegment}. */
export interface UpdateSegmentOptions {
  /**
   * What the record probably is, because it was so when it was last read or written: if so, it need not be read. Only a write can show that, so what
   * `change` decides on it counts only if it leads to one that succeeds. Default: the record is read.
   */
  readonly guess?: Segment | undefined;
  /** Writes in this timeline only. Default: in any. */
  readonly timeline?: Timeline | undefined;
  /** What the history is told together with the record `next`, oldest first. Asked for each attempt. Default: nothing. */
  readonly reports?: ((next: Segment) => readonly SyncReport[]) | undefined;
  /**
   * Hears in which timeline it was written. A write whose reply was lost does not do then: `change` gets to see it, and must have it written
   * again to be heard. Default: nobody asks.
   */
  readonly onWritten?: ((timeline: Timeline | undefined) => void) | undefined;
}

/**
 * Applies `change` to the newest record and writes the result; after a conflict or a lost reply again, to the record as it
 * then is. So `change` must see from the record whether its work is done already, and answer it unchanged (the same object): nothing is written then.
 * What `change` throws ends the update.
 * @throws `stale_lease` if the database is in another timeline.
 */
export async function updateSegment<Next extends Segment | undefined>(
  engine: Engine,
  key: SegmentKey,
  change: (current: Segment | undefined) => Next,
  { guess, timeline, reports, onWritten }: UpdateSegmentOptions = {},
): Promise<Next> {
  const { store, clock } = engine;
  return swap(engine, {
    guess,
    read: () => store.getSegment(key),
    change,
    stamp: (next) =>
      next === undefined ? next : ({ ...next, revision: freshRevision(), updatedAt: clock.now() } as Next),
    write: async (next, current) => {
      if (next === undefined) return;
      const written = await store.putSegment(next, current?.revision, {
        changesAnswers: changesAnswers(current, next),
        timeline,
        reports: reports?.(next),
      });
      onWritten?.(written);
    },
    mustBeHeard: onWritten !== undefined,
    name: `segment ${key}`,
  });
}

/** As {@link updateSegment}, for the environment record. */
export async function updateEnvironment(
  engine: Engine,
  change: (current: Environment) => Environment,
): Promise<Environment> {
  const { store } = engine;
  return swap(engine, {
    read: () => store.getEnvironment(),
    change,
    stamp: (next) => ({ ...next, revision: freshRevision() }),
    write: (next, current) => store.putEnvironment(next, current.revision),
    name: `environment ${store.environment}`,
  });
}

interface Swap<Current, Next> {
  readonly guess?: Current | undefined;
  readonly read: () => Promise<Current>;
  readonly change: (current: Current) => Next;
  readonly stamp: (next: Next) => Next;
  readonly write: (next: Next, current: Current) => Promise<void>;
  /** Whether a write without a reply does not do. Default `false`. */
  readonly mustBeHeard?: boolean;
  readonly name: string;
}

async function swap<Current extends { revision: string } | undefined, Next extends { revision: string } | undefined>(
  { clock, retrying }: Engine,
  { guess, read, change, stamp, write, mustBeHeard = false, name }: Swap<Current, Next>,
): Promise<Next> {
  let unproved = guess;
  for (let conflicts = 0; conflicts < MOST_CONFLICTS; conflicts++) {
    let attempted: Next | undefined;
    const isGuess = unproved !== undefined;
    const outcome = await retrying(async () => {
      const guessed = unproved === undefined ? undefined : changeGuess(unproved, change);
      unproved = undefined;
      const current = guessed?.current ?? (await read());
      // The reply to an earlier attempt was lost: its own revision tells that it was applied.
      const isWritten = attempted !== undefined && current?.revision === attempted.revision;
      if (isWritten && !mustBeHeard) return { written: attempted as Next };
      const next = guessed === undefined ? change(current) : guessed.next;
      if ((next as unknown) === current) return { written: next };
      attempted = stamp(next);
      try {
        await write(attempted, current);
      } catch (error) {
        if (isRollcallError(error, "revision_conflict")) return undefined;
        throw error;
      }
      return { written: attempted };
    });
    if (outcome !== undefined) return outcome.written;
    // After a guess the record is read at once: it tells no more than that somebody has written since.
    if (!isGuess) await clock.sleep(Math.random() * Math.min(100, 2 ** conflicts));
  }
  throw new RollcallError("revision_conflict", `${name} changes too often to be written; retry later`);
}

/** What `change` makes of a record that may be out of date; `undefined` where nothing would be written: then that decides nothing. */
function changeGuess<Current, Next>(
  current: Current,
  change: (current: Current) => Next,
): { readonly current: Current; readonly next: Next } | undefined {
  try {
    const next = change(current);
    return (next as unknown) === current ? undefined : { current, next };
  } catch {
    return undefined;
  }
}
