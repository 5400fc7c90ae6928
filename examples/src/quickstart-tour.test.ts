// The tour of `npm run quickstart`, on a small audience: it checks itself at every step.

import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, onTestFinished, test } from "vitest";

const run = promisify(execFile);
const script = join(dirname(dirname(dirname(fileURLToPath(import.meta.url)))), "scripts", "quickstart-tour.mjs");

test("the tour ends as expected, whatever store the environment names", { timeout: 300_000 }, async () => {
  const folder = await mkdtemp(join(tmpdir(), "rollcall tour-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  const env = { ...process.env, ROLLCALL_STORE: "lmdb:/nowhere/at/all", ROLLCALL_ENVIRONMENT: "not this one" };
  const { stdout } = await run(process.execPath, [script, "--members", "20000", "--folder", folder], { env });
  expect(stdout).toContain("All of it as expected");
});
