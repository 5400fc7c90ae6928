// `npm run build`: installs and builds every package, with or without pnpm on the path.
import { build, install, requireNode, step } from "./workspace.mjs";

requireNode();
process.exitCode = (await step("install", install)) && (await step("build", build)) ? 0 : 1;
