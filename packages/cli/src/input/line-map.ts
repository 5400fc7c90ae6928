// From the position of an entry in a sync to the file and line it came from.

/** Where an entry came from. */
export interface Place {
  readonly file: string;
  readonly line: number;
}

/** Keeps only where the difference between position and line changes, so that ten million plain lines take one step. */
export interface LineMap {
  /** Tells of `count` entries from line `lines` on, or of one entry for each of `lines`. */
  append(file: string, count: number, lines: number | readonly number[]): void;
  /** `undefined` for a position beyond what was kept. */
  find(position: number): Place | undefined;
}

/** A bound on memory (about 24 MB): after so many changes, later positions have no line. */
const MAX_STEPS = 1_000_000;

export function createLineMap(maxSteps: number = MAX_STEPS): LineMap {
  const files: string[] = [];
  const positions: number[] = [];
  const fileIndices: number[] = [];
  const lines: number[] = [];
  let next = 0;
  let expectedLine = -1;
  let full = false;
  let knownUntil = 0;

  function step(line: number): void {
    if (positions.length >= maxSteps) full = true;
    if (full) return;
    positions.push(next);
    fileIndices.push(files.length - 1);
    lines.push(line);
  }

  return {
    append(file, count, at) {
      if (files.at(-1) !== file) {
        files.push(file);
        expectedLine = -1;
      }
      for (let index = 0; index < count && !full; ) {
        const line = typeof at === "number" ? at : (at[index] ?? 0);
        const run = typeof at === "number" ? count : 1;
        if (line !== expectedLine) step(line);
        if (full) break;
        next += run;
        index += run;
        expectedLine = line + run;
        knownUntil = next;
      }
    },
    find(position) {
      if (position >= knownUntil) return undefined;
      let low = 0;
      for (let high = positions.length; high - low > 1; ) {
        const middle = (low + high) >> 1;
        if ((positions[middle] ?? 0) <= position) low = middle;
        else high = middle;
      }
      const file = files[fileIndices[low] ?? 0];
      return file === undefined ? undefined : { file, line: (lines[low] ?? 0) + position - (positions[low] ?? 0) };
    },
  };
}
