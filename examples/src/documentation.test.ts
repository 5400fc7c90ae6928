// Every command and every program that README and docs show is run, compiled, or marked with the reason why not.

import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { dirname, join, posix } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { readPage } from "./documentation/page.js";
import { type ConsoleStep, planPage } from "./documentation/samples.js";
import { runPlan } from "./documentation/session.js";

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

describe.each(await pages())("%s", async (name) => {
  const page = await readPage(join(root, name), name);
  const plan = planPage(page);

  test("marks what is not run", () => {
    expect(plan.faults).toEqual([]);
  });

  test("links to what is there", async () => {
    const missing: string[] = [];
    for (const { place, path, anchor } of page.links) {
      const target = path === "" ? name : posix.join(posix.dirname(name), path);
      const isThere = existsSync(join(root, target));
      const hasAnchor = async () => (await readPage(join(root, target), target)).anchors.has(anchor ?? "");
      if (!isThere || (anchor !== undefined && !(await hasAnchor()))) missing.push(`${place}: ${path}#${anchor ?? ""}`);
    }
    expect(missing).toEqual([]);
  });

  if (plan.samples.length + plan.steps.length === 0) return;
  test("does what it shows", { timeout: 300_000 }, async () => {
    const outcome = await runPlan(plan, root);
    if ("complaints" in outcome) return expect.fail(outcome.complaints);
    for (const { step, output, status } of outcome.results) {
      if (status === undefined) expect.fail(`${step.place} failed:\n${output}`);
      if (step.kind !== "console") continue;
      expectOutput(step.place, output, step.output);
      expectStatus(step, output, status);
    }
  });
});

async function pages(): Promise<string[]> {
  const docs = (await readdir(join(root, "docs"))).filter((name) => name.endsWith(".md")).map((name) => `docs/${name}`);
  const packages = (await readdir(join(root, "packages"))).map((name) => `packages/${name}/README.md`);
  const all = ["README.md", "CONTRIBUTING.md", "examples/README.md", ...docs, ...packages];
  return all.filter((name) => existsSync(join(root, name)));
}

function expectOutput(place: string, output: string, shown: string): void {
  const got = comparable(output);
  const wanted = comparable(shown);
  if (!pattern(wanted).test(got)) expect(got, place).toBe(wanted);
}

/** A `…` matches an error as well: whether the command did what the page shows, its exit code says. */
function expectStatus({ place, command, ends }: ConsoleStep, output: string, status: number): void {
  if (ends === "shown" || (ends === "well") === (status === 0)) return;
  expect.fail(`${place}: ${command}\nended with exit code ${status}:\n${output}`);
}

/** Without what differs from run to run: times, durations, the width of columns, and the remark on where the store is. */
function comparable(text: string): string {
  return text
    .split("\n")
    .filter((line) => !/^store: .* \(made here by "rollcall init"\)$/.test(line))
    .map((line) =>
      line
        .replace(/\d{4}-\d\d-\d\d[ T]\d\d:\d\d(?::\d\d)?Z?/g, "<time>")
        .replace(/\b\d+(?:\.\d+)? (?:ms|s)\b/g, "<duration>")
        .replace(/ +/g, " ")
        .trim(),
    )
    .join("\n")
    .trim();
}

/** A `…` stands for whatever is left out: on a line of its own for lines, else for the rest of a line's word or sentence. */
function pattern(wanted: string): RegExp {
  const source = wanted
    .split("\n")
    .map((line) => (line === "…" ? "[^]*" : line.split("…").map(literal).join(".*")))
    .join("\n");
  return new RegExp(`^${source}$`);
}

function literal(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}
