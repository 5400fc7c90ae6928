// Waiting for a condition. Fixtures and tests wait for what they need to be true, never for a while.

/** How long to wait, and how often to look. */
export interface UntilOptions {
  /** Milliseconds after which waiting fails. Default 30,000. */
  readonly timeoutMs?: number;
  /** Milliseconds between two looks. Default 25. */
  readonly everyMs?: number;
}

/**
 * Resolves to the first answer of `condition` that is neither `false` nor `undefined`. A condition that throws is taken
 * as not true yet, and what it threw last becomes the cause of the error at the deadline.
 *
 * @param what - completes the sentence "waited in vain until …".
 */
export async function until<T>(
  what: string,
  condition: () => Promise<T | false | undefined> | T | false | undefined,
  { timeoutMs = 30_000, everyMs = 25 }: UntilOptions = {},
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  let cause: unknown;
  for (;;) {
    try {
      const answer = await condition();
      if (answer !== false && answer !== undefined) return answer;
      cause = undefined;
    } catch (error) {
      if (error instanceof Hopeless) throw error;
      cause = error;
    }
    if (performance.now() >= deadline) {
      throw new Error(`waited in vain until ${what}, for ${timeoutMs} ms`, { cause });
    }
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}

/** Thrown by a condition that can never become true, so that nobody waits for the deadline. */
export class Hopeless extends Error {}
