// Builds the workspace, then runs one of its built programs: node scripts/run-built.mjs <file> [arguments]
// What comes before the program speaks on standard error only, so that its --json stays clean.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { prepareContainers } from "./containers.mjs";
import { build, requireNode, root, step } from "./workspace.mjs";

requireNode();
const [file, ...args] = process.argv.slice(2);
if (!file) {
  console.error("usage: node scripts/run-built.mjs <file> [arguments]");
  process.exit(2);
}
console.log = console.error;
if (!(await step("build", build))) process.exit(1);
const program = join(root, file);
if (!existsSync(program)) {
  console.error(`${file} was not built: its source is missing.`);
  process.exit(1);
}
// A benchmark has the server that it starts in its name (replace-redis), and a torture after --on; one at a URL is there already.
const has = (option) => args.some((arg) => arg === option || arg.startsWith(`${option}=`));
const isThere = has("--server") || (Boolean(process.env.ROLLCALL_BENCH_REDIS) && !has("--on"));
const isNamed = (server) => args.some((arg) => arg.split(/[-=]/).includes(server));
const containers = await prepareContainers(isThere ? [] : ["redis", "postgres", "dynamodb"].filter(isNamed));
if (!containers.ok) {
  await containers.release();
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
child.on("close", async (code, signal) => {
  await containers.release();
  process.exitCode = signal ? 1 : code;
});
