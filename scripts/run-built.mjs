// Builds the workspace, then runs one of its built programs: node scripts/run-built.mjs <file> [arguments]
// The build speaks on standard error only, so that a program's --json stays clean.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { build, requireNode, root, step } from "./workspace.mjs";

requireNode();
const [file, ...args] = process.argv.slice(2);
if (!file) {
  console.error("usage: node scripts/run-built.mjs <file> [arguments]");
  process.exit(2);
}
if (!(await step("build", build, console.error))) process.exit(1);
const program = join(root, file);
if (!existsSync(program)) {
  console.error(`${file} was not built: its source is missing.`);
  process.exit(1);
}
// Relative paths among the arguments are meant from where the caller stood, not from the workspace root.
const child = spawn(process.execPath, ["--enable-source-maps", program, ...args], {
  cwd: process.env.INIT_CWD ?? process.cwd(),
  stdio: "inherit",
});
// The terminal sends Ctrl-C to both; the program decides how to end, and this process follows it.
process.on("SIGINT", () => {});
process.on("SIGTERM", () => child.kill("SIGTERM"));
child.on("close", (code, signal) => {
  process.exitCode = signal ? 1 : code;
});
