// pnpm torture: syncs that are killed with SIGKILL at a random moment, on any store, under the eyes of a warm reader.
//
// After each kill the same sync is repeated, and what the store then holds is compared with a model, member by member. While a
// writer lives and after it died, the reader may see the old state or the new one; of a snapshot never a mixture, and never the
// old one again once it saw the new one.

import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes, randomInt } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import {
  contextHash,
  createRollcall,
  createSegmentReader,
  hashAt,
  hashCount,
  openStore,
  type Rollcall,
  type SegmentReader,
  type SegmentStore,
} from "@rollcall/core";
import { storeFactory } from "@rollcall/lmdb";
import Table from "cli-table3";
import { deltaChanges, inDelta, inSnapshot, keyOf, snapshotMembers, universe } from "./torture-audience.js";

const USAGE = `Usage: pnpm torture [--store URL] [--environment NAME] [--runs N] [--members N] [--seed N] [--json]

  --store        any store; default: an LMDB folder in the system's folder for temporary files
  --environment  default: a new one
  --runs         killed syncs of each mode, beside those that finish before the kill; default 50
  --members      members of the segment, about; default 200000
  --seed         replays the moments of killing, as far as the machine allows`;

const LEASE_TTL_MS = 1_000;
const GRACE_MS = 4_000;
const SAMPLE = 400;

type Mode = "replace" | "merge";

interface Tally {
  mode: Mode;
  runs: number;
  /** Where the kill met the writer. */
  killedBeforeAcknowledged: number;
  finishedBeforeKill: number;
  /** What readers saw right after the kill, before the repeat. */
  seenOld: number;
  seenNew: number;
  /** A killed merge may have changed some members: each of them is old or new. */
  seenPartial: number;
  observations: number;
  deviations: string[];
}

interface Torture {
  readonly url: string;
  readonly environment: string;
  readonly members: number;
  readonly store: SegmentStore;
  readonly rollcall: Rollcall;
  readonly random: () => number;
}

const { values } = parseArgs({
  options: {
    store: { type: "string" },
    environment: { type: "string", default: `torture-${randomBytes(4).toString("hex")}` },
    runs: { type: "string", default: "50" },
    members: { type: "string", default: "200000" },
    seed: { type: "string", default: String(randomInt(2 ** 31)) },
    json: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});
if (values.help) {
  console.log(USAGE);
  process.exit(0);
}

const runs = wholeNumber("runs", 1);
const members = wholeNumber("members", 1_000);
const seed = wholeNumber("seed", 0);
const folder = values.store === undefined ? await mkdtemp(join(tmpdir(), "rollcall-torture-")) : undefined;
const url = values.store ?? `lmdb:${folder}`;
log(
  `torture: ${runs} killed syncs of each mode, about ${values.members} members, environment ${values.environment}, seed ${seed}`,
);

const store = await openStore(url, { environment: values.environment, factories: [storeFactory] });
const torture: Torture = {
  url,
  environment: values.environment,
  members,
  store,
  rollcall: createRollcall(store, { leaseTtlMs: LEASE_TTL_MS, graceMs: GRACE_MS }),
  random: generator(seed),
};
const tallies = [await run(torture, "replace", runs), await run(torture, "merge", runs)];
const leftOver = await sweepAll(torture);
await torture.rollcall.close();
await store.close();
if (folder !== undefined) await rm(folder, { recursive: true, force: true });

const deviations = tallies.flatMap((tally) => tally.deviations).concat(leftOver);
if (values.json) console.log(JSON.stringify({ seed, members: torture.members, tallies, deviations }));
else print(tallies, deviations);
process.exit(deviations.length === 0 ? 0 : 1);

function wholeNumber(name: "runs" | "members" | "seed", least: number): number {
  const number = Number(values[name]);
  if (Number.isSafeInteger(number) && number >= least) return number;
  console.error(`--${name} must be a whole number of ${least} or more\n\n${USAGE}`);
  process.exit(2);
}

async function run(context: Torture, mode: Mode, count: number): Promise<Tally> {
  const segmentKey = `torture-${mode}`;
  const tally: Tally = {
    mode,
    runs: 0,
    killedBeforeAcknowledged: 0,
    finishedBeforeKill: 0,
    seenOld: 0,
    seenNew: 0,
    seenPartial: 0,
    observations: 0,
    deviations: [],
  };
  const { members, rollcall } = context;
  await rollcall.replace(segmentKey, { included: asAsync(snapshotMembers(members, 0)) });
  let model: Uint8Array = new Uint8Array(universe(members)).map((_, index) => Number(inSnapshot(index, 0)));
  const usualMs = await timeToFinish(context, segmentKey, mode);
  model = applied(model, mode, 1);
  await compareWithModel(context, segmentKey, model, tally, "before the first kill");
  // A writer that finishes first was not killed: its run is not one of those that are asked for.
  for (let version = 2; tally.killedBeforeAcknowledged < count; version++) {
    const next = applied(model, mode, version);
    const watcher = watch(context, segmentKey, { mode, model, next, tally, version });
    await watcher.warm();
    const writer = startWriter(context, segmentKey, mode, version);
    await writer.started;
    const ended = await killAfter(writer.child, usualMs * 1.15 * context.random());
    if (ended) tally.finishedBeforeKill++;
    else tally.killedBeforeAcknowledged++;
    await watcher.lookAfterKill();
    await repeat(context, segmentKey, mode, version);
    await watcher.stop();
    await compareWithModel(context, segmentKey, next, tally, `${mode} ${version}`);
    await rollcall.sweep();
    model = next;
    tally.runs++;
    log(
      `${mode} ${tally.killedBeforeAcknowledged}/${count}: ${ended ? "finished before the kill" : "killed"}, ${tally.deviations.length} deviations`,
    );
  }
  return tally;
}

function applied(model: Uint8Array, mode: Mode, version: number): Uint8Array {
  return model.map((present, index) => {
    if (mode === "replace") return Number(inSnapshot(index, version));
    const change = inDelta(index, version);
    return change === undefined ? present : Number(change === "add");
  });
}

async function repeat({ rollcall, members }: Torture, segmentKey: string, mode: Mode, version: number): Promise<void> {
  if (mode === "replace") await rollcall.replace(segmentKey, { included: asAsync(snapshotMembers(members, version)) });
  else await rollcall.merge(segmentKey, { changes: asAsync(deltaChanges(members, version)) });
}

interface Writer {
  readonly child: ChildProcess;
  readonly started: Promise<void>;
}

function startWriter({ url, environment, members }: Torture, segmentKey: string, mode: Mode, version: number): Writer {
  const script = fileURLToPath(new URL("./torture-writer.js", import.meta.url));
  const words = [url, environment, segmentKey, mode, members, version, LEASE_TTL_MS].map(String);
  const child = spawn(process.execPath, [script, ...words], { stdio: ["ignore", "pipe", "inherit"] });
  const started = new Promise<void>((resolve, reject) => {
    child.stdout?.once("data", () => resolve());
    child.once("exit", (code) => reject(new Error(`the writer ended with ${code} before it started`)));
  });
  return { child, started };
}

async function timeToFinish(context: Torture, segmentKey: string, mode: Mode): Promise<number> {
  const { child, started } = startWriter(context, segmentKey, mode, 1);
  await started;
  const begin = performance.now();
  const code = await new Promise((resolve) => child.once("exit", resolve));
  if (code !== 0) throw new Error(`the writer failed with ${String(code)}`);
  return performance.now() - begin;
}

/** Whether the writer had ended by itself. */
async function killAfter(child: ChildProcess, ms: number): Promise<boolean> {
  const exit = new Promise<void>((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) resolve();
    else child.once("exit", () => resolve());
  });
  const timer = setTimeout(() => child.kill("SIGKILL"), ms);
  await exit;
  clearTimeout(timer);
  if (child.signalCode === null && child.exitCode !== 0)
    throw new Error(`the writer failed with ${String(child.exitCode)}`);
  return child.signalCode === null;
}

interface Watched {
  readonly mode: Mode;
  readonly model: Uint8Array;
  readonly next: Uint8Array;
  readonly tally: Tally;
  readonly version: number;
}

/** Asks one warm reader for a sample of members all the time, and judges every answer. */
function watch(
  { store, members, random }: Torture,
  segmentKey: string,
  { mode, model, next, tally, version }: Watched,
) {
  const reader: SegmentReader = createSegmentReader({
    store,
    pollMs: 20,
    cacheTtlMs: 50,
    maxRegistryAgeMs: 1_000,
    onError: "throw",
  });
  const sample = Array.from({ length: SAMPLE }, () => Math.floor(random() * universe(members)));
  let stopped = false;
  let sawNew = false;
  let latest = { old: 0, new: 0 };

  async function look(): Promise<void> {
    const seen = { old: 0, new: 0 };
    for (const index of sample) {
      const { member } = await reader.isMember(segmentKey, { kind: "user", key: keyOf(index) });
      tally.observations++;
      const isOld = Number(member) === model[index];
      const isNew = Number(member) === next[index];
      if (!isOld && !isNew) deviation(`member ${index} is neither as before nor as after`);
      if (isOld === isNew) continue;
      if (isNew) seen.new++;
      else seen.old++;
      if (mode !== "replace") continue;
      if (isNew) sawNew = true;
      else if (sawNew) deviation(`member ${index} is as before although the snapshot had been seen`);
    }
    latest = seen;
  }

  function deviation(what: string): void {
    if (tally.deviations.length < 100) tally.deviations.push(`${mode} ${version}: ${what}`);
  }

  const watching = { done: Promise.resolve() };
  return {
    async warm() {
      await look();
      watching.done = (async () => {
        while (!stopped) {
          await look();
          await new Promise((resolve) => setImmediate(resolve));
        }
      })();
    },
    async lookAfterKill() {
      await reader.refresh();
      await look();
      const { old, new: fresh } = latest;
      if (fresh === 0) tally.seenOld++;
      else if (old === 0) tally.seenNew++;
      else tally.seenPartial++;
      if (mode === "replace" && old > 0 && fresh > 0)
        deviation(`after the kill ${old} members are as before and ${fresh} as after`);
    },
    async stop() {
      stopped = true;
      await watching.done;
      reader.close();
    },
  };
}

async function compareWithModel(
  { store, rollcall }: Torture,
  segmentKey: string,
  model: Uint8Array,
  tally: Tally,
  when: string,
): Promise<void> {
  const deviation = (what: string) => tally.deviations.push(`${when}: ${what}`);
  const expected = new Set<string>();
  model.forEach((present, index) => {
    if (present === 1) expected.add(hex(contextHash(keyOf(index))));
  });
  const { included } = (await rollcall.getSegment(segmentKey)) ?? {};
  if (included?.set === undefined) {
    deviation("the segment has no members");
    return;
  }
  if (included.count.value !== expected.size || !included.count.exact) {
    deviation(`the count is ${included.count.value} (exact: ${included.count.exact}), the model has ${expected.size}`);
  }
  let found = 0;
  let foreign = 0;
  for await (const hashes of store.scanMembers(included.set)) {
    for (let i = 0; i < hashCount(hashes); i++) {
      found++;
      if (!expected.has(hex(hashAt(hashes, i)))) foreign++;
    }
  }
  if (found !== expected.size || foreign > 0)
    deviation(`${found} members, ${foreign} of them wrong; the model has ${expected.size}`);
  const { findings } = await rollcall.verify();
  for (const finding of findings) if (finding.kind !== "orphan_set") deviation(`verify: ${finding.message}`);
}

// Once no reader is left and every grace period is over, only the sets that the segments point at may remain.
async function sweepAll({ store, rollcall }: Torture): Promise<string[]> {
  await new Promise((resolve) => setTimeout(resolve, GRACE_MS + LEASE_TTL_MS));
  await rollcall.sweep();
  const segments = await rollcall.listSegments();
  const used = new Set(segments.flatMap(({ included, excluded }) => [included.set?.id, excluded.set?.id]));
  const left = (await store.listMemberSets()).filter(({ id }) => !used.has(id));
  const { findings } = await rollcall.verify();
  return [
    ...left.map(({ id }) => `member set ${id} is left over after the sweep`),
    ...findings.map(({ message }) => `verify after the sweep: ${message}`),
  ];
}

function print(tallies: readonly Tally[], deviations: readonly string[]): void {
  const table = new Table({
    head: ["mode", "runs", "killed", "finished first", "then seen: old", "new", "partly", "observations", "deviations"],
  });
  for (const tally of tallies) {
    table.push([
      tally.mode,
      tally.runs,
      tally.killedBeforeAcknowledged,
      tally.finishedBeforeKill,
      tally.seenOld,
      tally.seenNew,
      tally.seenPartial,
      tally.observations,
      tally.deviations.length,
    ]);
  }
  console.log(table.toString());
  for (const deviation of deviations) console.log(deviation);
  console.log(
    deviations.length === 0 ? "no deviation; nothing left over after the sweep" : `${deviations.length} deviations`,
  );
}

function hex(hash: Uint8Array | undefined): string {
  return Buffer.from(hash ?? []).toString("hex");
}

async function* asAsync<T>(batches: Iterable<T>): AsyncGenerator<T> {
  yield* batches;
}

// mulberry32, public domain: small, seeded, good enough to spread moments of killing.
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b_79f5) >>> 0;
    let value = Math.imul(state ^ (state >>> 15), 1 | state);
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value;
    return ((value ^ (value >>> 14)) >>> 0) / 2 ** 32;
  };
}

function log(line: string): void {
  process.stderr.write(`${line}\n`);
}
