// Every check there is, in the order in which an adapter's author should make them pass.

import type { Check } from "./check.js";
import { blockChecks } from "./checks/blocks.js";
import { copyChecks } from "./checks/copying.js";
import { crashChecks } from "./checks/crash.js";
import { dropChecks } from "./checks/drop.js";
import { fenceChecks } from "./checks/fence.js";
import { historyChecks } from "./checks/history.js";
import { isolationChecks } from "./checks/isolation.js";
import { keyChecks } from "./checks/keys.js";
import { lifecycleChecks } from "./checks/lifecycle.js";
import { lookupChecks } from "./checks/lookup.js";
import { mergeChecks } from "./checks/merge.js";
import { randomChecks } from "./checks/random.js";
import { readingChecks } from "./checks/reading.js";
import { recordChecks } from "./checks/records.js";
import { registryChecks } from "./checks/registry.js";
import { replaceChecks } from "./checks/replace.js";
import { scaleChecks } from "./checks/scale.js";
import { scanChecks } from "./checks/scan.js";
import { upkeepChecks } from "./checks/upkeep.js";
import { watchingChecks } from "./checks/watching.js";

export const checks: readonly Check[] = [
  ...lifecycleChecks,
  ...registryChecks,
  ...watchingChecks,
  ...historyChecks,
  ...fenceChecks,
  ...blockChecks,
  ...lookupChecks,
  ...scanChecks,
  ...dropChecks,
  ...isolationChecks,
  ...mergeChecks,
  ...replaceChecks,
  ...keyChecks,
  ...recordChecks,
  ...readingChecks,
  ...upkeepChecks,
  ...copyChecks,
  ...crashChecks,
  ...randomChecks,
  ...scaleChecks,
];
