// A network that breaks in the middle of a sync.

import { networkFaults } from "@rollcall/conformance/faults";
import { ownSchema } from "./fault-line.test-setup.js";

networkFaults({
  ...ownSchema(),
  requests: {
    writeBlocks: "rollcall_write_block",
    allocateMemberSet: [["its number", /INSERT INTO \S+rollcall_member_sets/]],
  },
});
