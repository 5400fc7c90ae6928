// `npm test`: install, build, every check, every test of every package, and one last line with the count.
// With --unit, tests that need a real server (*.integration.test.ts) are left out. With --only <package>, that package's
// tests are all that runs after the build. Servers that the tests want are prepared before, and gone after.
import { existsSync, readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join, relative } from "node:path";
import { parseArgs } from "node:util";
import { runChecks } from "./check.mjs";
import { serversOf } from "./container-plan.mjs";
import { prepareContainers } from "./containers.mjs";
import { build, install, pnpm, requireNode, root, step, workspacePackages } from "./workspace.mjs";

requireNode();
const { values } = parseArgs({ options: { unit: { type: "boolean", default: false }, only: { type: "string" } } });
let unitOnly = values.unit;
const total = { passed: 0, failed: 0 };

if (await prepare()) {
  if (!values.only) add(await runChecks());
  add(await runTests());
}
console.log(`${total.passed} passed, ${total.failed} failed`);
process.exitCode = total.failed === 0 && total.passed > 0 ? 0 : 1;

function add({ passed, failed }) {
  total.passed += passed;
  total.failed += failed;
}

async function prepare() {
  if ((await step("install", install)) && (await step("build", build))) return true;
  total.failed += 1;
  return false;
}

async function runTests() {
  const packages = (await workspacePackages()).filter(({ name }) => !values.only || name === values.only);
  if (packages.length === 0) {
    console.log(`FAIL  the workspace has no package ${values.only}`);
    return { passed: 0, failed: 1 };
  }
  const containers = await prepareContainers(unitOnly ? [] : serversOf(packages));
  // One failure says more than every test that finds no server; what needs none still runs.
  if (!containers.ok) unitOnly = true;
  try {
    const tally = await runPackages(packages);
    if (!containers.ok) tally.failed += 1;
    return tally;
  } finally {
    await containers.release();
  }
}

async function runPackages(packages) {
  if (unitOnly) process.env.ROLLCALL_TESTS = "unit";
  // A result of an earlier run must never stand in for one that was not written now; turbo restores those it has cached.
  await Promise.all(packages.map(({ folder }) => rm(join(folder, ".results"), { recursive: true, force: true })));
  const filter = values.only ? [`--filter=${values.only}`] : [];
  const turbo = await pnpm(["exec", "turbo", "run", "test", ...filter, "--continue=always", "--log-order=grouped"], {
    show: true,
  });

  const tally = { passed: 0, failed: 0 };
  console.log();
  for (const pkg of packages) {
    if (!pkg.manifest.scripts?.test) {
      if (pkg.manifest.private) continue;
      tally.failed += 1;
      console.log(`FAIL  ${pkg.name}: a published package without a test script`);
      continue;
    }
    const { passed, failures } = readResult(pkg);
    tally.passed += passed;
    tally.failed += failures.length;
    console.log(`${failures.length === 0 ? "ok  " : "FAIL"}  ${pkg.name}: ${passed} passed, ${failures.length} failed`);
    for (const failure of failures) console.log(`        ${failure}`);
  }
  if (!turbo.ok && tally.failed === 0) {
    tally.failed += 1;
    console.log("FAIL  a test task failed although no result says so; see the output above");
  }
  return tally;
}

// What one package's result file says. Whatever was not run and passed is a failure, named.
function readResult({ folder }) {
  const file = join(folder, ".results", "vitest.json");
  if (!existsSync(file)) return { passed: 0, failures: [`no result: ${relative(root, file)} is missing`] };
  const result = JSON.parse(readFileSync(file, "utf8"));
  const failures = [];
  let passed = 0;
  for (const suite of result.testResults) {
    const before = failures.length;
    for (const test of suite.assertionResults) {
      if (test.status === "passed") passed += 1;
      else failures.push(`${test.status}: ${relative(folder, suite.name)} > ${test.fullName}`);
    }
    if (suite.status !== "passed" && failures.length === before) {
      failures.push(`${suite.status}: ${relative(folder, suite.name)} itself: ${suite.message}`);
    }
  }
  if (failures.length === 0 && !result.success) failures.push("an error outside any test; see the output above");
  if (failures.length === 0 && passed === 0 && !unitOnly) failures.push("ran no test");
  return { passed, failures };
}
