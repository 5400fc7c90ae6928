// A network that breaks in the middle of a sync.

import { networkFaults } from "@rollcall/conformance/faults";
import { reaching } from "./fault-line.test-setup.js";
import { SERVER } from "./place.test-setup.js";

networkFaults({
  ...reaching(() => SERVER),
  requests: {
    writeBlocks: "UPDATED_OLD",
    allocateMemberSet: [
      ["its number", "UPDATED_NEW"],
      ["its record", /PutItem[\s\S]*fence_holder/],
    ],
  },
  // A block of a set that was dropped is in nobody's way, and goes with a later drop.
  refusals: { merge: "ConditionalCheckFailed", replace: undefined },
});
