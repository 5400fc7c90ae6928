// What the workspace's commands share: the pinned pnpm, found or fetched by npm, and running a step quietly.
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { basename, delimiter, dirname, join, sep } from "node:path";
import { fileURLToPath } from "node:url";

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
const pinnedPnpm = manifest.packageManager.slice("pnpm@".length).split("+")[0];

// Read anew for each command: a step may set variables for those after it.
const environment = () => ({
  ...process.env,
  TURBO_TELEMETRY_DISABLED: "1",
  TURBO_NO_UPDATE_NOTIFIER: "1",
  // A corepack shim would otherwise wait for an answer on a terminal.
  COREPACK_ENABLE_DOWNLOAD_PROMPT: "0",
});

/** Ends the process with one clear line when this Node is older than the packages support. */
export function requireNode() {
  const [major, minor] = process.versions.node.split(".").map(Number);
  const [wantedMajor, wantedMinor] = manifest.engines.node.match(/\d+/g).map(Number);
  if (major > wantedMajor || (major === wantedMajor && minor >= wantedMinor)) return;
  console.error(`Node ${process.versions.node} is too old: this workspace needs Node ${manifest.engines.node}.`);
  process.exit(1);
}

/**
 * Runs a command in `cwd` and resolves to its exit code and output; never rejects for a failing command.
 * With `show`, the output goes to this process's own instead; `timeout` is in milliseconds.
 */
export function run(command, args, { cwd = root, env = environment(), show = false, shell = false, timeout } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd,
      env,
      shell,
      timeout,
      stdio: ["ignore", show ? "inherit" : "pipe", show ? "inherit" : "pipe"],
    });
    let output = "";
    let stdout = "";
    child.stdout?.setEncoding("utf8").on("data", (text) => {
      stdout += text;
      output += text;
    });
    child.stderr?.setEncoding("utf8").on("data", (text) => {
      output += text;
    });
    child.on("error", reject);
    child.on("close", (code, signal) => {
      resolve({ ok: code === 0, output: signal ? `${output}\nended by ${signal}` : output, stdout });
    });
  });
}

/** Runs the pinned pnpm at the root. */
export async function pnpm(args, options) {
  const { command, prefix, bin, shell } = await findPnpm();
  const env = environment();
  if (bin) env.PATH = `${bin}${delimiter}${env.PATH}`;
  return run(command, [...prefix, ...args], { ...options, env, shell });
}

/** Installs exactly what the lock file says. */
export function install() {
  return pnpm(["install", "--frozen-lockfile"]);
}

/** Builds every package, in the order of their dependencies. */
export function build() {
  return pnpm(["exec", "turbo", "run", "build", "--output-logs=errors-only"]);
}

/** Builds all that a user runs, and leaves out the benchmarks. */
export function buildForUse() {
  return pnpm(["exec", "turbo", "run", "build", "--filter=!@rollcall/benchmarks", "--output-logs=errors-only"]);
}

/** Every package of the workspace but the root: name, folder, and its manifest. */
export async function workspacePackages() {
  const listed = await pnpm(["list", "--recursive", "--depth", "-1", "--json"]);
  if (!listed.ok) throw new Error(`pnpm list failed:\n${listed.output}`);
  return JSON.parse(listed.stdout)
    .filter(({ path }) => path !== root)
    .map(({ name, path }) => ({
      name,
      folder: path,
      manifest: JSON.parse(readFileSync(join(path, "package.json"), "utf8")),
    }));
}

/** Runs one step, says on one line how it went and how long it took, and shows its output only if it failed. */
export async function step(name, work, write = console.log) {
  const started = performance.now();
  let result;
  try {
    result = await work();
  } catch (error) {
    result = { ok: false, output: error.stack };
  }
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  write(`${result.ok ? "ok  " : "FAIL"}  ${name} (${seconds} s)`);
  if (!result.ok) write(result.output.trimEnd().replace(/^/gm, "      "));
  return result.ok;
}

/** Runs a command of npm, which comes with Node, whether or not npm started this process. */
export function npm(args, options) {
  const cli = process.env.npm_execpath;
  if (cli && basename(cli) === "npm-cli.js") return run(process.execPath, [cli, ...args], options);
  return run("npm", args, { ...options, shell: process.platform === "win32" });
}

let found;

// A pnpm of the pinned version on the path is used as it is; otherwise npm fetches that version into its own cache.
// Either way it ends up on the path of what runs below it, since turbo starts each package's scripts with it.
function findPnpm() {
  found ??= (async () => {
    const shell = process.platform === "win32";
    const present = await run("pnpm", ["--version"], { shell }).catch(() => undefined);
    if (present?.ok && present.stdout.trim() === pinnedPnpm) {
      return { command: "pnpm", prefix: [], shell };
    }
    const fetched = await npm(["exec", "--yes", `--package=pnpm@${pinnedPnpm}`, "-c", "node -p process.env.PATH"]);
    const bin = fetched.stdout
      .trim()
      .split(delimiter)
      .find((entry) => entry.includes(`${sep}_npx${sep}`));
    if (!fetched.ok || !bin) throw new Error(`npm could not fetch pnpm ${pinnedPnpm}:\n${fetched.output}`);
    return {
      command: process.execPath,
      prefix: [join(dirname(bin), "pnpm", "bin", "pnpm.cjs")],
      bin,
      shell: false,
    };
  })();
  return found;
}
