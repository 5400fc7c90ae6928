// A core for the server alone. Where clients take turns with it on one, it is taken off that core in the middle of a command, for longer than its
// commands take: then SLOWLOG tells of the scheduler, which on a machine of the server's own does not happen.

import { execFile } from "node:child_process";
import { promisify } from "node:util";

const run = promisify(execFile);

/** What came of {@link leaveCoreFree}. */
export interface FreeCore {
  /** For the notes of a benchmark. */
  readonly note: string;
  /** Lets this process use every core again. */
  restore(): Promise<void>;
}

/**
 * Keeps this process, and those that it starts from now on, off one of its cores, where the system has `taskset` for it and the server
 * `isHere`: on this machine.
 */
export async function leaveCoreFree(isHere: boolean): Promise<FreeCore> {
  const nothing: FreeCore = {
    note: "No core could be left to the server alone (it takes a server that the benchmark started, more than one core, and the program taskset), so that what the system's scheduler adds is in them.",
    async restore() {},
  };
  const before = isHere ? await usableCores().catch(() => 0n) : 0n;
  const fewer = withoutHighest(before);
  if (fewer === 0n) return nothing;
  try {
    await useCores(fewer);
  } catch {
    await useCores(before).catch(() => {});
    return nothing;
  }
  return {
    note: "In these, loads and GETs keep off one core, which the server has to itself but for what else this machine does.",
    // What is measured is measured, also if a thread has ended meanwhile.
    restore: () => useCores(before).catch(() => {}),
  };
}

/** One bit for each core that this process may use. */
async function usableCores(): Promise<bigint> {
  const { stdout } = await run("taskset", ["--pid", String(process.pid)]);
  return BigInt(`0x${/([0-9a-f]+)\s*$/.exec(stdout)?.[1] ?? "0"}`);
}

async function useCores(cores: bigint): Promise<void> {
  await run("taskset", ["--all-tasks", "--pid", cores.toString(16), String(process.pid)]);
}

function withoutHighest(bits: bigint): bigint {
  return bits === 0n ? 0n : bits ^ (1n << BigInt(bits.toString(2).length - 1));
}
