import { mergeConfig } from "vitest/config";
import shared from "../../vitest.shared.mjs";

// Most tests start a dozen processes one after another.
export default mergeConfig(shared, { test: { testTimeout: 120_000 } });
