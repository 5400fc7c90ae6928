// A server that is killed in the middle of a sync, and comes back.

import { startDynamoDbServer } from "@rollcall/conformance/containers";
import { brokenServer, restartFaults } from "@rollcall/conformance/faults";
import { describe } from "vitest";
import { reaching } from "./fault-line.test-setup.js";

describe("a server", () => {
  const broken = brokenServer(() => startDynamoDbServer());
  restartFaults(broken, reaching(broken.server));
});
