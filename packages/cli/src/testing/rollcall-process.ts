// Runs the built command as a user does: a process of its own, in a folder of its own, on a real LMDB store.

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable, Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import { runCli } from "../cli.js";

const BIN = fileURLToPath(new URL("../../bin/rollcall.js", import.meta.url));

/** What a finished run left. */
export interface Finished {
  /** The exit code, or the signal that killed it. */
  readonly exit: number | NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A run under way. */
export interface Running {
  readonly child: ChildProcess;
  readonly finished: Promise<Finished>;
}

export interface RunOptions {
  readonly stdin?: string | Buffer;
  readonly env?: Record<string, string>;
  /** Run by this shell line instead, in which `"$@"` is the command. */
  readonly shell?: string;
}

/** A folder to work in. */
export interface Workplace {
  readonly folder: string;
  file(name: string, contents: string | Buffer): string;
  path(name: string): string;
  run(argv: readonly string[], options?: RunOptions): Promise<Finished>;
  /** Without input: stdin stays open. */
  start(argv: readonly string[], options?: RunOptions): Running;
  /** Runs with `--json`, expects success and answers the object. */
  json<T>(argv: readonly string[], options?: RunOptions): Promise<T>;
  remove(): void;
}

export function createWorkplace(): Workplace {
  const folder = mkdtempSync(join(tmpdir(), "rollcall-cli-"));
  const path = (name: string) => join(folder, name);

  function start(argv: readonly string[], options: RunOptions = {}): Running {
    const command = [process.execPath, BIN, ...argv];
    const [program = "", ...rest] =
      options.shell === undefined ? command : ["bash", "-c", options.shell, "rollcall", ...command];
    const child = spawn(program, rest, { cwd: folder, env: environmentOf(options.env), stdio: "pipe" });
    if (options.stdin !== undefined) child.stdin.end(options.stdin);
    // A command that fails early leaves its input unread.
    child.stdin.on("error", () => {});
    const finished = new Promise<Finished>((resolve, reject) => {
      let stdout = "";
      let stderr = "";
      child.stdout.setEncoding("utf8").on("data", (text: string) => {
        stdout += text;
      });
      child.stderr.setEncoding("utf8").on("data", (text: string) => {
        stderr += text;
      });
      child.on("error", reject);
      child.on("close", (code, signal) => resolve({ exit: code ?? signal, stdout, stderr }));
    });
    return { child, finished };
  }

  const run = (argv: readonly string[], options: RunOptions = {}) => start(argv, { stdin: "", ...options }).finished;

  return {
    folder,
    path,
    file(name, contents) {
      writeFileSync(path(name), contents);
      return name;
    },
    run,
    start,
    async json<T>(argv: readonly string[], options: RunOptions = {}): Promise<T> {
      const { exit, stdout, stderr } = await run([...argv, "--json"], options);
      if (exit !== 0) throw new Error(`exit ${exit}: ${stderr}`);
      return JSON.parse(stdout) as T;
    },
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}

/** Nothing of the tester's own settings. */
function environmentOf(extra: Record<string, string> = {}): NodeJS.ProcessEnv {
  const { PATH, HOME, TMPDIR } = process.env;
  return { PATH, HOME, ...(TMPDIR === undefined ? {} : { TMPDIR }), ...extra };
}

/** The error that a run with `--json` ended with. */
export function errorOf({ stderr }: Finished): { code: string; message: string; retryable: boolean } {
  const line = stderr.trim().split("\n").at(-1) ?? "";
  return (JSON.parse(line) as { error: { code: string; message: string; retryable: boolean } }).error;
}

/** Keys `from` to `to`, one a line. */
export function keyLines(from: number, to: number): string {
  let text = "";
  for (let index = from; index < to; index++) text += `user-${index}\n`;
  return text;
}

/** Runs within this process: for what needs no process of its own, and many times faster. */
export async function runHere(argv: readonly string[], stdin = ""): Promise<Finished> {
  const output = { stdout: "", stderr: "" };
  const collect = (name: keyof typeof output) =>
    new Writable({
      write(chunk, _encoding, done) {
        output[name] += String(chunk);
        done();
      },
    });
  const exit = await runCli(argv, {
    stdin: Readable.from(stdin === "" ? [] : [Buffer.from(stdin)]),
    stdout: collect("stdout"),
    stderr: collect("stderr"),
    env: {},
    signal: new AbortController().signal,
  });
  return { exit, ...output };
}
