// Many requests for one call: in groups as large as DynamoDB takes, and none under way any more when the call ends.

/** Items that one BatchGetItem and one BatchWriteItem take. */
export const KEYS_PER_READ = 100;
export const KEYS_PER_WRITE = 25;

/** `items` in arrays of `size`. */
export function* chunksOf<T>(items: Iterable<T>, size: number): Generator<T[]> {
  let chunk: T[] = [];
  for (const item of items) {
    chunk.push(item);
    if (chunk.length < size) continue;
    yield chunk;
    chunk = [];
  }
  if (chunk.length > 0) yield chunk;
}

/**
 * Does `work` for each of `items`, up to `atOnce` at once. After a failure it begins no more, waits for those that it began, and throws
 * the first.
 */
export async function forEach<T>(items: Iterable<T>, atOnce: number, work: (item: T) => Promise<void>): Promise<void> {
  const left = items[Symbol.iterator]();
  let failure: { readonly error: unknown } | undefined;
  async function worker(): Promise<void> {
    for (let next = left.next(); !next.done && failure === undefined; next = left.next()) {
      try {
        await work(next.value);
      } catch (error) {
        failure ??= { error };
      }
    }
  }
  await Promise.all(Array.from({ length: atOnce }, worker));
  if (failure !== undefined) throw failure.error;
}
