// What ten times as many members do to a replace: to its time for each member, and to the memory of the process.

import {
  atMost,
  type Bound,
  MEGABYTE,
  megabytes,
  membersText,
  type RunOptions,
  round,
  type Side,
} from "./benchmark.js";

const GROWTH = 10;
const ROUNDS = 3;
/** So little that members go to a temporary file at either size. With the default, 256 MiB, that begins at 16 million. */
const LITTLE_MEMORY = 8 * 1_048_576;

/** A replace to measure. */
export interface Growing {
  readonly url: string;
  readonly members: number;
  /** Default: that of a Rollcall. */
  readonly memoryLimitBytes?: number | undefined;
}

/** Where to measure it. */
export interface GrowthGround {
  readonly url: string;
  /** Removes everything. */
  empty(): Promise<void>;
  /** Milliseconds for a `replace` into an empty environment, from its first key to its acknowledgement. */
  readonly firstReplace: Side<Growing, number>;
}

/** One size with one limit of memory. */
export interface Grown {
  readonly members: number;
  readonly memoryLimitBytes: number | undefined;
  /** The best round. */
  readonly ms: number;
  /** The worst round, for a limit of memory must hold every time. */
  readonly peakBytes: number | undefined;
}

/** Both sizes with the default limit of memory, and then both with a small one. */
export async function measureGrowth(
  from: number,
  { url, empty, firstReplace }: GrowthGround,
  { runSide, onProgress }: RunOptions,
): Promise<Grown[]> {
  const cases = [undefined, LITTLE_MEMORY].flatMap((memoryLimitBytes) =>
    [from, from * GROWTH].map((members) => ({ members, memoryLimitBytes })),
  );
  const grown: Grown[] = [];
  for (const { members, memoryLimitBytes } of cases) {
    let ms = Number.POSITIVE_INFINITY;
    let peakBytes: number | undefined;
    for (let round = 1; round <= ROUNDS; round++) {
      onProgress(`${membersText(members)} members, ${limitText(memoryLimitBytes)}: round ${round} of ${ROUNDS}`);
      await empty();
      const measured = await runSide(firstReplace, { url, members, memoryLimitBytes });
      ms = Math.min(ms, measured.result);
      if (measured.peakBytes !== undefined) peakBytes = Math.max(peakBytes ?? 0, measured.peakBytes);
    }
    grown.push({ members, memoryLimitBytes, ms, peakBytes });
  }
  return grown;
}

/** Side, segments, members, members per second, bytes per context, peak. */
export function growthRows(grown: readonly Grown[]): (string | number)[][] {
  return grown.map(({ members, memoryLimitBytes, ms, peakBytes }) => [
    `replace, ${limitText(memoryLimitBytes)}`,
    ...[1, membersText(members), Math.round(members / (ms / 1_000)), ""],
    peakBytes === undefined ? "" : Math.round(peakBytes / MEGABYTE),
  ]);
}

export function growthBounds([small, large, smallLimited, largeLimited]: readonly Grown[]): Bound[] {
  const perMember = (size: Grown | undefined) => (size?.ms ?? Number.NaN) / (size?.members ?? 1);
  const sizes = `at ${membersText(large?.members ?? 0)}`;
  const ratio = `${sizes} / at ${membersText(small?.members ?? 0)}`;
  return [
    atMost(`time per member ${ratio}`, 1.3, perMember(large) / perMember(small)),
    atMost(`peak memory ${sizes}`, 600, megabytes(large?.peakBytes), "MB"),
    atMost(`peak memory, ${limitText(LITTLE_MEMORY)}, ${ratio}`, 1.2, quotient(largeLimited, smallLimited)),
  ];
}

export function growthNote([small, large]: readonly Grown[]): string {
  const growth = quotient(large, small);
  return `Peak: anonymous resident memory of the syncing process (RssAnon), the worst of ${ROUNDS} runs, in megabytes of 10^6 bytes; the rate is that of the best. Up to memoryLimitBytes (default 256 MB) members are held in memory, 16 bytes each, so that by default the peak grows ${growth === undefined ? "" : `${round(growth)} times `}with them here; beyond it they go to a temporary file.`;
}

function limitText(memoryLimitBytes: number | undefined): string {
  return memoryLimitBytes === undefined ? "default memory" : `${memoryLimitBytes / 1_048_576} MiB of memory`;
}

function quotient(large: Grown | undefined, small: Grown | undefined): number | undefined {
  if (large?.peakBytes === undefined || small?.peakBytes === undefined) return undefined;
  return large.peakBytes / small.peakBytes;
}
