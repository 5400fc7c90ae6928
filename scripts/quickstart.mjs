// `npm run quickstart`: from a fresh clone, with only Node and npm, to the command line at work on a real audience.
import { runQuickstart } from "./quickstart-tour.mjs";
import { buildForUse, install, requireNode, step } from "./workspace.mjs";

requireNode();
console.log("Setting up. The first time takes a minute or two; after that it is a matter of seconds.\n");
if (!((await step("install", install)) && (await step("build", buildForUse)))) process.exit(1);
console.log();
await runQuickstart();
