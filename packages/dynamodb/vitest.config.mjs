import { mergeConfig } from "vitest/config";
import shared from "../../vitest.shared.mjs";

const unitOnly = process.env.ROLLCALL_TESTS === "unit";

// One container per server, for all files of the run. DynamoDB Local answers a few hundred requests in a second, where others answer
// thousands, and fewer on a busy machine: a trial of a fault is some thousand.
export default mergeConfig(shared, {
  test: { globalSetup: unitOnly ? [] : ["src/servers.test-setup.ts"], testTimeout: 180_000 },
});
