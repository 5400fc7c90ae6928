// `npm run quickstart`: from a fresh clone, with only Node and npm, to the command line at work on a real audience.
import { existsSync } from "node:fs";
import { buildCli, install, requireNode, step } from "./workspace.mjs";

requireNode();
console.log("Setting up. The first time takes a minute or two; after that it is a matter of seconds.\n");
if (!((await step("install", install)) && (await step("build", buildCli)))) process.exit(1);

const tour = new URL("./quickstart-tour.mjs", import.meta.url);
if (existsSync(tour)) {
  console.log();
  const { runQuickstart } = await import(tour.href);
  await runQuickstart();
}
