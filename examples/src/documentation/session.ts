// Runs the plan of a page in a folder of its own: one shell from the first command to the last, so that what one fence
// sets up is there for the next. The folder looks like a clone whose packages are built.

import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { cp, mkdir, mkdtemp, open, readdir, readFile, realpath, rm, symlink, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { OUTSIDE_COMMANDS, type Plan, runnable, type Step } from "./samples.js";

const run = promisify(execFile);
const require = createRequire(import.meta.url);

/** Between two steps, and between the output of a step and its status: characters that no command prints. */
const MARK = "\x1e";
const STATUS_MARK = "\x1f";

/** A page that takes longer hangs. */
const MOST_MS = 240_000;

/** What became of a step. */
export interface StepResult {
  readonly step: Step;
  readonly output: string;
  /** The exit code of its last command; `undefined` if the shell did not get past the step. */
  readonly status: number | undefined;
}

/**
 * Compiles the samples of `plan` and runs its steps. Answers what the compiler complains of, or else every step's result.
 * A plan with faults is not run: what is not marked may be anything.
 */
export async function runPlan(
  plan: Plan,
  root: string,
): Promise<{ readonly complaints: string } | { readonly results: readonly StepResult[] }> {
  if (plan.faults.length > 0) throw new Error("a page with faults is not run; mend them first");
  const folder = await realpath(await mkdtemp(join(tmpdir(), "rollcall-docs-")));
  try {
    await prepare(folder, root);
    const complaints = await compile(plan, folder);
    if (complaints !== "") return { complaints };
    return { results: await runSteps(plan, folder, root) };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function prepare(folder: string, root: string): Promise<void> {
  const modules = join(folder, "node_modules");
  await mkdir(join(modules, "@rollcall"), { recursive: true });
  for (const name of await readdir(join(root, "packages")))
    await symlink(join(root, "packages", name), join(modules, "@rollcall", name), "junction");
  for (const name of ["lmdb", "vitest", "@types"])
    await symlink(join(root, "examples", "node_modules", name), join(modules, name), "junction");
  for (const [adapter, client] of [
    ["redis", "ioredis"],
    ["postgres", "pg"],
    ["dynamodb", "@aws-sdk"],
  ] as const)
    await symlink(join(root, "packages", adapter, "node_modules", client), join(modules, client), "junction");
  await writeFile(join(folder, "package.json"), JSON.stringify({ private: true, type: "module" }));
  // Copies and no links: whatever a page does to its clone, it does to nothing else.
  const bin = join(folder, "clone", "packages", "cli", "bin");
  await mkdir(bin, { recursive: true });
  await writeFile(join(bin, "rollcall.js"), `import ${JSON.stringify(pathToFileURL(programOf(root)).href)};\n`);
  await cp(join(root, "examples", "dist"), join(folder, "clone", "examples", "dist"), { recursive: true });
}

function programOf(root: string): string {
  return join(root, "packages", "cli", "bin", "rollcall.js");
}

async function compile({ samples }: Plan, folder: string): Promise<string> {
  if (samples.length === 0) return "";
  const sources = join(folder, "samples");
  await mkdir(sources);
  for (const { file, text } of samples) await writeFile(join(sources, file), text);
  const compilerOptions = {
    ...{ target: "es2023", lib: ["es2023"], types: ["node"], module: "nodenext", moduleDetection: "force" },
    ...{ strict: true, noUncheckedIndexedAccess: true, exactOptionalPropertyTypes: true, skipLibCheck: true },
    ...{ allowJs: true, noEmitOnError: true, rootDir: sources, outDir: join(folder, "compiled") },
  };
  await writeFile(
    join(folder, "tsconfig.json"),
    JSON.stringify({ compilerOptions, files: samples.map(({ file }) => join(sources, file)) }),
  );
  const compiler = join(dirname(require.resolve("typescript/package.json")), "bin", "tsc");
  try {
    await run(process.execPath, [compiler, "-p", folder, "--pretty", "false"], { cwd: folder });
    return "";
  } catch (error) {
    const { stdout = String(error) } = error as { stdout?: string };
    // A line of the compiler names the file; the reader of the message wants the page.
    return samples.reduce((text, { file, place }) => text.replaceAll(`samples/${file}`, `${place} ${file}`), stdout);
  }
}

async function runSteps({ steps }: Plan, folder: string, root: string): Promise<StepResult[]> {
  const tools = join(folder, "bin");
  await mkdir(tools);
  const tool = (name: string, line: string) => writeFile(join(tools, name), `#!/bin/sh\n${line}\n`, { mode: 0o755 });
  await tool("rollcall", `exec "${process.execPath}" "${programOf(root)}" "$@"`);
  for (const name of OUTSIDE_COMMANDS)
    await tool(name, `echo "${name} is not run by this test: mark the fence"; exit 97`);
  const script = join(folder, "page.sh");
  await writeFile(script, steps.map((step, index) => commandsOf(step, index, folder)).join(""));
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(?:ROLLCALL|VITEST)/i.test(name)));
  env.PATH = [tools, dirname(process.execPath), process.env.PATH].join(delimiter);
  env.NO_COLOR = "1";
  delete env.FORCE_COLOR;
  // One file for both streams, so that their order is kept.
  const log = join(folder, "output.txt");
  const output = await open(log, "a");
  try {
    await endOf(script, { cwd: join(folder, "clone"), env, output: output.fd });
  } finally {
    await output.close();
  }
  const [, ...parts] = (await readFile(log, "utf8")).split(MARK);
  return steps.map((step, index) => {
    const [output = "", status] = parts[index]?.split(STATUS_MARK) ?? [];
    return { step, output, status: status === undefined ? undefined : Number(status) };
  });
}

function commandsOf(step: Step, index: number, folder: string): string {
  const begin = index === 0 ? "printf '\\036'\n" : "";
  // What a person would see of the exit code must survive the marks.
  const end = "rollcall_status=$?; printf '\\037%s\\036' \"$rollcall_status\"\n";
  switch (step.kind) {
    case "shell":
      return `${begin}set -e\n${step.text}\nset +e\n${end}`;
    case "console":
      return `${begin}(exit \${rollcall_status:-0})\n${step.command}\n${end}`;
    case "run":
      return `${begin}set -e\nnode "${join(folder, "compiled", runnable(step.sample.file))}"\nset +e\n${end}`;
    case "save":
      return `${begin}set -e\ncp "${join(folder, "compiled", runnable(step.sample.file))}" .\nset +e\n${end}`;
  }
}

async function endOf(script: string, { cwd, env, output }: { cwd: string; env: NodeJS.ProcessEnv; output: number }) {
  // `sh` expands aliases in scripts; bash under its own name does not.
  const shell = spawn("sh", [script], { cwd, env, stdio: ["ignore", output, output], timeout: MOST_MS });
  await once(shell, "close");
}
