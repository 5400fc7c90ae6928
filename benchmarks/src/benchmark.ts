// What a benchmark is, and how its figures become bounds that hold or not.

/** How a benchmark is run. */
export interface RunOptions {
  /** Smaller sizes, for trying a benchmark out; the figures prove nothing. */
  readonly quick: boolean;
  /** The user's own Redis server for the benchmarks that need one; else each starts one in a container. */
  readonly redisUrl: string | undefined;
  /** Told what is going on, one short line at a time. */
  readonly onProgress: (line: string) => void;
  /** Runs one of the benchmark's sides in a process of its own. */
  readonly runSide: <Input, Result>(side: Side<Input, Result>, input: Input) => Promise<Measured<Result>>;
}

/** One thing that is measured. Input and result cross a process boundary: plain data only. */
export type Side<Input, Result> = (input: Input) => Promise<Result>;

/** What a side answered, and the memory it took. */
export interface Measured<Result> {
  readonly result: Result;
  /** The most anonymous resident memory seen, in bytes; `undefined` where the system does not tell. */
  readonly peakBytes: number | undefined;
}

/** A bound and whether it held. */
export interface Bound {
  readonly name: string;
  /** As people write it: `at least 0.6`. */
  readonly bound: string;
  /** `null`: it could not be measured here, so it did not hold. */
  readonly measured: number | null;
  readonly held: boolean;
}

/** What one run found. */
export interface BenchmarkResult {
  readonly columns: readonly string[];
  readonly rows: readonly (readonly (string | number)[])[];
  readonly bounds: readonly Bound[];
  /** What a reader of the figures needs to know: what is in them and what is not. */
  readonly notes: readonly string[];
}

/** A benchmark. */
export interface Benchmark {
  /** One that starts a server in a container has its name in it: `scripts/run-built.mjs` prepares for that. */
  readonly name: string;
  /** What it measures and against what, in one sentence. */
  readonly measures: string;
  /** Everything that {@link RunOptions.runSide} may be asked for, by name. */
  // The inputs differ from side to side; runSide ties each to its own.
  readonly sides: Readonly<Record<string, Side<never, unknown>>>;
  run(options: RunOptions): Promise<BenchmarkResult>;
}

/** Holds if `measured` is at least `least`. */
export function atLeast(name: string, least: number, measured: number): Bound {
  return { name, bound: `at least ${least}`, measured: round(measured), held: measured >= least };
}

/** Holds if `measured` is at most `most`; `unit` is only shown. */
export function atMost(name: string, most: number, measured: number | undefined, unit = ""): Bound {
  const bound = `at most ${most}${unit === "" ? "" : ` ${unit}`}`;
  if (measured === undefined) return { name, bound, measured: null, held: false };
  return { name, bound, measured: round(measured), held: measured <= most };
}

/** Three significant digits, or whole numbers from 100 on. */
export function round(value: number): number {
  return Math.abs(value) >= 100 ? Math.round(value) : Number(value.toPrecision(3));
}

/** The middle one. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

export const MEGABYTE = 1_000_000;

/** Bytes as megabytes of 10^6. */
export function megabytes(bytes: number | undefined): number | undefined {
  return bytes === undefined ? undefined : bytes / MEGABYTE;
}

/** A number of members as people say it: `1 million`, `200,000`. */
export function membersText(members: number): string {
  return members % 1_000_000 === 0 ? `${members / 1_000_000} million` : members.toLocaleString("en");
}
