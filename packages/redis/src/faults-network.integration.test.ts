// A network that breaks in the middle of a sync.

import { networkFaults } from "@rollcall/conformance/faults";
import { inject } from "vitest";
import { reaching } from "./fault-line.test-setup.js";
import * as scripts from "./script.js";

networkFaults({
  ...reaching(() => inject("redisServer")),
  requests: {
    writeBlocks: scripts.writeBlocks.sha1,
    allocateMemberSet: [
      ["its number", scripts.allocateSet.sha1],
      ["its fences", "hsetnx"],
    ],
  },
});
