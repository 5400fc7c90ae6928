// Runs checks against a harness, each on a database of its own, and says how each one ended.

import { createRollcall, createSegmentReader, type RollcallOptions, type SegmentStore } from "@rollcall/core";
import type { Check, CheckContext } from "./check.js";
import { createFaultyStore, type FaultyStore, type FaultyStoreOptions } from "./faulty-store.js";
import type { ConformanceDatabase, ConformanceOptions, Harness } from "./harness.js";
import { checks } from "./suite.js";
import { createVirtualClock } from "./virtual-clock.js";

/** The environment that checks use unless they say otherwise. */
const ENVIRONMENT = "production";
const DEFAULT_RUNS = 100;
const DEFAULT_SCALE_MEMBERS = 200_000;
const DEFAULT_TIMEOUT_MS = 600_000;
/** How long what a check has left running may take to end. */
const TIDY_UP_MS = 5_000;

/** How one check ended. */
export interface CheckResult {
  readonly name: string;
  readonly outcome: "passed" | "failed";
  /** Why it failed. */
  readonly error?: unknown;
}

/** Runs every check of the suite, one after the other, without a test runner. Never rejects for a failed check. */
export async function runConformance(harness: Harness, options: ConformanceOptions = {}): Promise<CheckResult[]> {
  const results: CheckResult[] = [];
  for (const check of selectChecks(options)) results.push(await runCheck(check, harness, options));
  return results;
}

/** The checks that `options` ask for. */
export function selectChecks(options: ConformanceOptions): readonly Check[] {
  return options.only === undefined ? checks : checks.filter(options.only);
}

/** How long a check may take. */
export function timeoutOf(options: ConformanceOptions): number {
  return options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
}

/** Runs one check. */
export async function runCheck(check: Check, harness: Harness, options: ConformanceOptions): Promise<CheckResult> {
  const { name } = check;
  const workplace = createWorkplace(harness, options);
  try {
    const context = await workplace.start();
    await withDeadline(check.run(context), name, timeoutOf(options));
    return { name, outcome: "passed" };
  } catch (error) {
    return { name, outcome: "failed", error };
  } finally {
    await workplace.end();
  }
}

async function withDeadline(work: Promise<void>, name: string, timeoutMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`the check "${name}" did not end within ${timeoutMs} ms`)), timeoutMs);
  });
  try {
    await Promise.race([work, deadline]);
  } finally {
    clearTimeout(timer);
  }
}

/** No real pauses between retries. Warnings are what the planned faults lead to; a check that wants them passes its own. */
const WRITER: RollcallOptions = { retry: { minDelayMs: 0 }, onWarning: () => {} };

/** Keeps account of everything that a check makes, and tidies up after it. */
function createWorkplace(harness: Harness, options: ConformanceOptions) {
  const databases: ConformanceDatabase[] = [];
  const handles: FaultyStore[] = [];
  const closers: (() => Promise<void> | void)[] = [];
  const clock = createVirtualClock({
    inFlight: () => handles.reduce((sum, handle) => sum + handle.inFlight, 0),
    watched: () => handles.reduce((sum, handle) => sum + handle.watched, 0),
  });

  async function createDatabase(): Promise<ConformanceDatabase> {
    const database = await harness.createDatabase();
    databases.push(database);
    return database;
  }

  async function createHandle(
    database: ConformanceDatabase,
    environment: string,
    overrides?: FaultyStoreOptions,
  ): Promise<FaultyStore> {
    const handle = createFaultyStore(await database.createStore(environment), overrides);
    handles.push(handle);
    return handle;
  }

  async function opened(handle: FaultyStore): Promise<FaultyStore> {
    await handle.open();
    return handle;
  }

  async function start(): Promise<CheckContext> {
    const database = await createDatabase();
    const { capabilities } = await createHandle(database, ENVIRONMENT);
    const open: CheckContext["open"] = async (environment = ENVIRONMENT, overrides) =>
      opened(await createHandle(database, environment, overrides));
    return {
      capabilities,
      seed: options.seed ?? seedFromEnvironment(),
      runs: options.runs ?? (Number(process.env.ROLLCALL_RUNS) || DEFAULT_RUNS),
      shrink: options.shrink ?? true,
      scaleMembers: options.scaleMembers ?? DEFAULT_SCALE_MEMBERS,
      timeoutMs: timeoutOf(options),
      clock,
      open,
      openElsewhere: async () => opened(await createHandle(await createDatabase(), ENVIRONMENT)),
      async rollcall(store: SegmentStore | undefined, more) {
        const rollcall = createRollcall(store ?? (await open()), { ...WRITER, clock, ...more });
        closers.push(() => rollcall.close());
        return rollcall;
      },
      async reader(store, more) {
        const reader = createSegmentReader({ store: store ?? (await open()), clock: clock.passive, ...more });
        closers.push(() => reader.close());
        return reader;
      },
    };
  }

  async function end(): Promise<void> {
    for (const handle of handles) {
      handle.plan(undefined);
      handle.resume();
    }
    await settled(closers.map(async (close) => close()));
    await settled(handles.map((handle) => handle.close()));
    for (const database of databases) await database.dispose?.();
  }

  return { start, end };
}

// What a failed check left running may fail as well, or hang: the check has its verdict already.
async function settled(work: readonly Promise<void>[]): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const outOfPatience = new Promise((resolve) => {
    timer = setTimeout(resolve, TIDY_UP_MS);
  });
  await Promise.race([Promise.allSettled(work), outOfPatience]);
  clearTimeout(timer);
}

let chosenSeed: number | undefined;

/** One seed for the whole process: `ROLLCALL_SEED`, else a new one. */
function seedFromEnvironment(): number {
  chosenSeed ??= Number(process.env.ROLLCALL_SEED) || Math.floor(Math.random() * 0x7fff_ffff);
  return chosenSeed;
}
