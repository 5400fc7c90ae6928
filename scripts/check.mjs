// `pnpm check`: everything that can be said about the code without running its tests. Each check counts as one.
import { pathToFileURL } from "node:url";
import { checkInstalledAlone, checkPackedPackages } from "./check-packed.mjs";
import { checkLicenses, checkTraces } from "./check-sources.mjs";
import { build, install, pnpm, requireNode, run, step } from "./workspace.mjs";

/** Runs every check on a built workspace and counts them. */
export async function runChecks() {
  const tally = { passed: 0, failed: 0 };
  const check = async (name, work) => {
    tally[(await step(name, work)) ? "passed" : "failed"] += 1;
  };
  await check("types: tsc -b, tests included", () => pnpm(["exec", "tsc", "-b"]));
  await check("format and lint: biome", () => pnpm(["exec", "biome", "check", "--error-on-warnings", "."]));
  await check("unused files, exports and dependencies: knip", () => pnpm(["exec", "knip"]));
  await check("what npm test decides about containers", () =>
    run(process.execPath, ["--test", "scripts/container-plan.test.mjs", "scripts/engine.test.mjs"]),
  );
  await check("licenses: every package carries the root's", checkLicenses);
  await check("traces: no registry, no home folder", checkTraces);
  const tarballs = await checkPackedPackages(check);
  for (const adapter of ["lmdb", "redis", "postgres", "dynamodb"]) {
    await check(`packed: core with @rollcall/${adapter} alone, installed and used`, () =>
      checkInstalledAlone(tarballs, adapter),
    );
  }
  return tally;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "-").href) {
  requireNode();
  if (!((await step("install", install)) && (await step("build", build)))) process.exit(1);
  const { passed, failed } = await runChecks();
  console.log(`${passed} passed, ${failed} failed`);
  process.exitCode = failed === 0 ? 0 : 1;
}
