// What tests with real servers need before they run: an engine, the images, and an end to all of it.
import { randomUUID } from "node:crypto";
import { findEngine } from "./engine.mjs";
import { prepareImage, prepareReaper } from "./images.mjs";
import { run, step } from "./workspace.mjs";

/**
 * Gets an engine and an image for each of `servers` (names, as in a package's `"rollcall": { "servers": […] }`), and tells the
 * tests about them by variables. Answers whether all of it worked, and a `release` to call when the tests are through; on
 * SIGINT and SIGTERM it is called from here.
 */
export async function prepareContainers(servers) {
  if (servers.length === 0) return { ok: true, release: async () => {} };
  const say = (text) => console.log(`      ${text} …`);
  const runId = randomUUID();
  process.env.ROLLCALL_TEST_RUN = runId;
  let stopEngine;
  let released;
  const release = () => {
    released ??= (async () => {
      for (const [signal] of signals) process.off(signal, onSignal);
      if (!stopEngine) return;
      await removeContainers(runId);
      await stopEngine();
    })();
    return released;
  };
  const onSignal = async (signal) => {
    console.log(`      ${signal}: removing the containers of this run`);
    await release();
    process.exit(signals.get(signal));
  };
  for (const [signal] of signals) process.on(signal, onSignal);

  const ok = await step("containers: an engine", async () => {
    const engine = await findEngine(say);
    stopEngine = engine.stop;
    return engine;
  });
  if (!ok) return { ok, release };
  for (const server of servers) {
    if (!(await step(`containers: an image for ${server}`, () => prepareImage(server, say))))
      return { ok: false, release };
  }
  await prepareReaper(say);
  return { ok: true, release };
}

const signals = new Map([
  ["SIGINT", 130],
  ["SIGTERM", 143],
]);

// What fixtures did not stop because their process was killed. Found by a label, so that nobody else's are touched.
async function removeContainers(runId) {
  const listed = await run("docker", ["ps", "--all", "--quiet", "--filter", `label=rollcall.test-run=${runId}`]);
  const left = listed.stdout.split("\n").filter(Boolean);
  if (left.length > 0) await run("docker", ["rm", "--force", "--volumes", ...left]);
}
