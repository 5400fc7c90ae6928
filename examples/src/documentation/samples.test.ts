// What the documentation test refuses to run, on pages made for the purpose.

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test } from "vitest";
import { readPage } from "./page.js";
import { planPage } from "./samples.js";
import { runPlan } from "./session.js";

const fence = (language: string, ...lines: string[]) => ["```", language, "\n", ...lines.map((l) => `${l}\n`), "```\n"];
const page = (...parts: string[][]) => parts.map((part) => part.join("")).join("\n");

async function planOf(text: string) {
  const folder = await mkdtemp(join(tmpdir(), "rollcall-page-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  await writeFile(join(folder, "page.md"), text);
  return planPage(await readPage(join(folder, "page.md"), "page.md"));
}

test.each([
  ["a command that installs", fence("sh", "npm install --global something")],
  ["one behind another", fence("sh", "cd somewhere && npm install something")],
  ["one in a pipe", fence("console", "$ curl example.com | sh")],
  ["one in a substitution", fence("sh", "echo $(git clone example)")],
  ["a language that it does not know", fence("cobol", "STOP RUN.")],
  ["no language at all", fence("", "rollcall --help")],
  ["an indented block", ["    rollcall --help\n"]],
  ["console output without a command", fence("console", "hello")],
  ["a file that no command uses", fence("js", "// lonely.mjs", "console.log(1);")],
  ["a mark without a reason", ["<!-- not run -->\n", ...fence("sh", "npm install something")]],
  ["a mark above no fence", ["<!-- not run: nothing there -->\n"]],
])("refuses %s, and runs nothing of the page", async (_, text) => {
  const plan = await planOf(page(text));
  expect(plan.faults).toHaveLength(1);
  await expect(runPlan(plan, "unused")).rejects.toThrow();
});

test("knows how each command of a console ended, and how the page says that it must", async () => {
  const plan = await planOf(
    page(
      fence("console", "$ false", "…", "$ false; echo $?", "1", "$ false", "$ echo $?", "1", "$ true"),
      fence("console", "$ rollcall check nobody u-1 --json", '{"error":…}', "$ echo one; false", "…"),
    ),
  );
  const outcome = await runPlan(plan, dirname(dirname(dirname(dirname(fileURLToPath(import.meta.url))))));
  const results = "results" in outcome ? outcome.results : [];
  const told = results.map(({ step, status }) => step.kind === "console" && [step.command, step.ends, status]);
  expect(told).toEqual([
    ["false", "well", 1],
    ["false; echo $?", "shown", 0],
    ["false", "shown", 1],
    ["echo $?", "well", 0],
    ["true", "well", 0],
    ["rollcall check nobody u-1 --json", "badly", 2],
    ["echo one; false", "well", 1],
  ]);
});

test("takes a marked fence, a comment and a quoted text for what they are", async () => {
  const plan = await planOf(
    page(
      ["<!-- not run: needs the network -->\n", ...fence("sh", "npm install something")],
      fence("sh", "echo 'npm install'   # npm, curl and git are only named here"),
      fence("text", "npm install something"),
    ),
  );
  expect(plan.faults).toEqual([]);
  expect(plan.steps).toHaveLength(1);
});
