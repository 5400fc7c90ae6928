// The audiences that benchmarks sync: made up by number, so that any part of one can be made again.

/** Keys per array that a stream yields. */
const BATCH = 8_192;

/** The key of person `i`: 13 characters or a few more, as the ids of user databases have. */
export function keyOf(i: number): string {
  // Joined and not concatenated: V8 puts a concatenated string together only when its characters are first needed, and
  // whoever hashed it first would pay for that.
  return ["user-", 10_000_000 + i].join("");
}

/** Keys `from` to `to`, in arrays. */
export function* keyBatches(from: number, to: number): Generator<string[]> {
  for (let start = from; start < to; start += BATCH) {
    const batch: string[] = [];
    for (let i = start; i < Math.min(to, start + BATCH); i++) batch.push(keyOf(i));
    yield batch;
  }
}

/** A stream of keys that knows how long it took to make them. */
export interface KeyStream {
  readonly keys: AsyncIterable<string[]>;
  /** Milliseconds spent making keys so far. */
  readonly makingMs: number;
}

/** Streams keys `from` to `to`. */
export function streamKeys(from: number, to: number): KeyStream {
  return timed(keyBatches(from, to));
}

/** Which of the contexts a segment holds: one in `oneIn`, another choice for each number, and always the same for that one. */
export interface SegmentShare {
  readonly number: number;
  readonly oneIn: number;
}

/** Whether person `i` is in a segment. */
export function isIn({ number, oneIn }: SegmentShare, i: number): boolean {
  return oneIn === 1 || mix(i, number) % oneIn === 0;
}

/** Streams the keys of those of `contexts` people who are in a segment. */
export async function* streamMembers(share: SegmentShare, contexts: number): AsyncGenerator<string[]> {
  yield* memberBatches(share, contexts);
}

/** Keys that are made. */
export interface MadeKeys {
  readonly keys: AsyncIterable<string[]>;
  readonly count: number;
}

/** Makes the keys of those of `contexts` people who are in a segment. */
export function makeMembers(share: SegmentShare, contexts: number): MadeKeys {
  const batches = [...memberBatches(share, contexts)];
  async function* stream(): AsyncGenerator<string[]> {
    yield* batches;
  }
  return { keys: stream(), count: batches.reduce((sum, { length }) => sum + length, 0) };
}

function* memberBatches(share: SegmentShare, contexts: number): Generator<string[]> {
  let batch: string[] = [];
  for (let i = 0; i < contexts; i++) {
    if (!isIn(share, i) || batch.push(keyOf(i)) < BATCH) continue;
    yield batch;
    batch = [];
  }
  yield batch;
}

/** A finalizer of the kind that hash tables use: every bit of both numbers moves every bit of the result. */
export function mix(index: number, version: number): number {
  let value = Math.imul(index + 1, 0x9e37_79b1) ^ Math.imul(version + 1, 0x85eb_ca77);
  value = Math.imul(value ^ (value >>> 15), 0xc2b2_ae3d);
  value = Math.imul(value ^ (value >>> 13), 0x27d4_eb2f);
  return (value ^ (value >>> 16)) >>> 0;
}

function timed(batches: Generator<string[]>): KeyStream {
  let makingMs = 0;
  async function* stream(): AsyncGenerator<string[]> {
    for (;;) {
      const started = performance.now();
      const { value, done } = batches.next();
      makingMs += performance.now() - started;
      if (done) return;
      yield value;
    }
  }
  return {
    keys: stream(),
    get makingMs() {
      return makingMs;
    },
  };
}

/** `count` different 16-byte keys in ascending order, spread evenly: what sorted context hashes look like. */
export function sortedHashes(count: number): Uint8Array {
  const hashes = Buffer.alloc(count * 16);
  const step = 2 ** 48 / count;
  for (let i = 0; i < count; i++) {
    hashes.writeUIntBE(Math.floor(i * step), i * 16, 6);
    hashes.writeUInt32BE(Math.imul(i, 2_654_435_761) >>> 0, i * 16 + 6);
    hashes.writeUInt32BE(Math.imul(i, 2_246_822_519) >>> 0, i * 16 + 10);
    hashes.writeUInt16BE(i & 0xffff, i * 16 + 14);
  }
  return hashes;
}
