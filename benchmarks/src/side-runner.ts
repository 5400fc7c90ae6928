// Runs one side of a benchmark in a process of its own, so that no side lives with another's garbage or compiled code,
// and watches how much memory it takes.

import { fork } from "node:child_process";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import type { Benchmark, Measured, RunOptions, Side } from "./benchmark.js";

/** What goes to the process: which side of which benchmark. */
export interface SideRequest {
  readonly benchmark: string;
  readonly side: string;
  readonly input: unknown;
}

/** What comes back. */
export type SideReply = { readonly result: unknown } | { readonly error: string };

const PROGRAM = fileURLToPath(new URL("./side-process.js", import.meta.url));
const SAMPLE_MS = 10;

/** The `runSide` of a benchmark's run. */
export function createSideRunner(benchmark: Benchmark): RunOptions["runSide"] {
  return async <Input, Result>(side: Side<Input, Result>, input: Input): Promise<Measured<Result>> => {
    const name = Object.keys(benchmark.sides).find((key) => (benchmark.sides[key] as unknown) === side);
    if (name === undefined) throw new Error(`${benchmark.name} does not list the side ${side.name}`);
    const { reply, peakBytes } = await runProcess({ benchmark: benchmark.name, side: name, input });
    if ("error" in reply) throw new Error(`${benchmark.name}, ${name}: ${reply.error}`);
    return { result: reply.result as Result, peakBytes };
  };
}

async function runProcess(request: SideRequest): Promise<{ reply: SideReply; peakBytes: number | undefined }> {
  // The parent may run under other flags, of a debugger for instance; each side runs as a user's program does.
  const child = fork(PROGRAM, {
    execArgv: [],
    serialization: "advanced",
    stdio: ["ignore", "inherit", "inherit", "ipc"],
  });
  let peakBytes: number | undefined;
  // From outside: a side that sorts or hashes does not come round to its own timers.
  const sampler = setInterval(async () => {
    const bytes = await anonymousBytes(child.pid);
    if (bytes !== undefined) peakBytes = Math.max(peakBytes ?? 0, bytes);
  }, SAMPLE_MS);
  try {
    const reply = await new Promise<SideReply>((resolve, reject) => {
      child.once("message", (message) => resolve(message as SideReply));
      child.once("error", reject);
      child.once("exit", (code, signal) => reject(new Error(`the process ended early (${signal ?? code})`)));
      child.send(request);
    });
    return { reply, peakBytes };
  } finally {
    clearInterval(sampler);
    child.kill();
  }
}

/** `RssAnon`: what the process holds of its own; a mapped file is not counted, as the system can take it back at will. */
async function anonymousBytes(pid: number | undefined): Promise<number | undefined> {
  const status = await readFile(`/proc/${pid}/status`, "utf8").catch(() => "");
  const kilobytes = /^RssAnon:\s+(\d+) kB$/m.exec(status)?.[1];
  return kilobytes === undefined ? undefined : Number(kilobytes) * 1024;
}
