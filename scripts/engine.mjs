// The container engine that tests run on: the one that answers, or Docker from Debian's packages, which is then stopped
// at the end.
import { spawn } from "node:child_process";
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync } from "node:fs";
import { delimiter, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { planEngine } from "./container-plan.mjs";
import { root, run } from "./workspace.mjs";

const advice = "Install and start Docker (or set DOCKER_HOST), or run the tests without servers: npm run test:unit";

/**
 * Finds an engine, or installs and starts one. Answers `{ ok: true, stop }`, with a `stop` that does nothing to an engine
 * that was not started here, or `{ ok: false, output }`.
 */
export async function findEngine(say) {
  const answers = await engineAnswers();
  const chosen = answers ? undefined : await chosenEngine();
  const plan = planEngine({ answers, chosen, canBeInstalled: isRootOnDebian() });
  if (plan.use === "none") {
    const client = onPath("docker") ? "" : ", and there is no docker client on the path";
    return { ok: false, output: `${plan.because}${client}.\n${advice}` };
  }
  if (plan.use === "running") {
    await nameContext();
    return { ok: true, stop: async () => {} };
  }
  const installed = await installDocker(say);
  if (!installed.ok) return installed;
  // Where systemd runs, the package has started the service.
  if (await engineAnswers()) return { ok: true, stop: async () => {} };
  return startEngine(say);
}

/** Whether this process may install packages as Debian and Ubuntu know them. */
export function isRootOnDebian() {
  if (process.getuid?.() !== 0 || !onPath("apt-get") || !existsSync("/etc/os-release")) return false;
  return /^ID(?:_LIKE)?=.*\b(?:debian|ubuntu)\b/m.test(readFileSync("/etc/os-release", "utf8"));
}

/** Installs those of Debian's packages whose programs are not on the path. */
export async function installPackages(programs, say) {
  const missing = Object.entries(programs).filter(([program]) => !onPath(program));
  if (missing.length === 0) return { ok: true };
  const packages = [...new Set(missing.flatMap(([, names]) => names))];
  say(`installing ${packages.join(", ")} from Debian's packages`);
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  const updated = await run("apt-get", ["update"], { env });
  if (!updated.ok) return { ok: false, output: `apt-get update failed:\n${updated.output}` };
  return run("apt-get", ["install", "-y", "--no-install-recommends", ...packages], { env });
}

function onPath(program) {
  return (process.env.PATH ?? "").split(delimiter).some((folder) => existsSync(join(folder, program)));
}

// The server's version, not the client's: a client may be there without any engine.
async function engineAnswers() {
  const args = ["version", "--format", "{{.Server.Version}}"];
  // An engine that hangs does not answer.
  return (await run("docker", args, { timeout: 30_000 }).catch(() => undefined))?.ok ?? false;
}

async function chosenEngine() {
  if (process.env.DOCKER_HOST) return process.env.DOCKER_HOST;
  const { name, host } = await context();
  return name === "default" ? undefined : `${host} (the context ${name})`;
}

// Testcontainers does not know the client's contexts, and would look in the usual places.
async function nameContext() {
  if (process.env.DOCKER_HOST) return;
  const { name, host } = await context();
  if (name !== "default" && host) process.env.DOCKER_HOST = host;
}

async function context() {
  const format = "{{.Name}} {{.Endpoints.docker.Host}}";
  const shown = await run("docker", ["context", "inspect", "--format", format]).catch(() => undefined);
  const [name, host] = shown?.ok ? shown.stdout.trim().split(" ") : [];
  return { name: name ?? "default", host };
}

function installDocker(say) {
  return installPackages({ dockerd: ["docker.io"], docker: ["docker.io"], iptables: ["iptables"] }, say);
}

// Where dockerd, and the containerd that it starts, note their process.
const pidFiles = { "/var/run/docker.pid": "dockerd", "/var/run/docker/containerd/containerd.pid": "containerd" };

/**
 * Removes a PID file whose process is not `program`, and answers whether it did. A machine that was cut off, or that is a
 * copy of one, holds the file of a daemon that is gone; once another process has its number, dockerd refuses to start.
 */
export function removeStalePidFile(file, program) {
  if (!existsSync(file) || programOf(readFileSync(file, "utf8").trim()) === program) return false;
  rmSync(file);
  return true;
}

/** The program of a process that runs; of one that has ended, and that nobody has taken note of, there is none. */
function programOf(pid) {
  try {
    const [, program, state] = /^\d+ \((.*)\) (.)/s.exec(readFileSync(`/proc/${pid}/stat`, "utf8")) ?? [];
    return state === "Z" ? undefined : program;
  } catch {
    return undefined;
  }
}

/** Starts dockerd in the background, its output in a log of its own, and answers when it does. */
async function startEngine(say) {
  const log = join(root, "node_modules", ".cache", "rollcall", "dockerd.log");
  mkdirSync(join(log, ".."), { recursive: true });
  for (const [file, program] of Object.entries(pidFiles)) {
    if (removeStalePidFile(file, program)) say(`removed ${file}, left by a ${program} that is gone`);
  }
  say("starting dockerd");
  const output = openSync(log, "w");
  // In a group of its own, so that Ctrl-C reaches it only after the tests' containers are gone.
  const daemon = spawn("dockerd", [], {
    detached: true,
    stdio: ["ignore", output, output],
  });
  closeSync(output);
  let ended = false;
  for (const event of ["exit", "error"]) {
    daemon.on(event, () => {
      ended = true;
    });
  }
  daemon.unref();
  // The last resort, for a process that ends without having stopped it: a signal is all that can still be sent.
  const onExit = () => daemon.kill("SIGTERM");
  process.on("exit", onExit);
  const stop = async () => {
    process.off("exit", onExit);
    if (ended) return;
    daemon.kill("SIGTERM");
    const deadline = performance.now() + 30_000;
    while (!ended && performance.now() < deadline) await sleep(50);
    if (!ended) console.log(`      dockerd (process ${daemon.pid}) does not end; see ${log}`);
  };
  const deadline = performance.now() + 60_000;
  while (!(await engineAnswers())) {
    if (ended || performance.now() > deadline) {
      await stop();
      const lines = existsSync(log) ? readFileSync(log, "utf8").trim().split("\n").slice(-15).join("\n") : "";
      return { ok: false, output: `dockerd ${ended ? "ended" : "did not answer within 60 s"}:\n${lines}\n${advice}` };
    }
    await sleep(100);
  }
  return { ok: true, stop };
}
