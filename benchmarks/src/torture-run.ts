// One mode of the torture run: sync after sync in a process that is killed at a random moment, each repeated and compared with a model.

import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { deltaChanges, inDelta, inSnapshot, snapshotMembers, universe } from "./torture-audience.js";
import { compareWithModel } from "./torture-model.js";
import { LEASE_TTL_MS, type Mode, type Tally, type Torture } from "./torture-tally.js";
import { watch } from "./torture-watcher.js";

/** Runs one mode until `count` of its syncs were killed before they were acknowledged. */
export async function torture(context: Torture, mode: Mode, count: number): Promise<Tally> {
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
    context.log(
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

function startWriter(
  { place, environment, members }: Torture,
  segmentKey: string,
  mode: Mode,
  version: number,
): Writer {
  const script = fileURLToPath(new URL("./torture-writer.js", import.meta.url));
  const words = [JSON.stringify(place), environment, segmentKey, mode, members, version, LEASE_TTL_MS].map(String);
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

async function* asAsync<T>(batches: Iterable<T>): AsyncGenerator<T> {
  yield* batches;
}
