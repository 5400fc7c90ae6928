import { mergeConfig } from "vitest/config";
import shared from "../../vitest.shared.mjs";

const unitOnly = process.env.ROLLCALL_TESTS === "unit";

// One container per server, for all files of the run.
export default mergeConfig(shared, { test: { globalSetup: unitOnly ? [] : ["src/servers.test-setup.ts"] } });
