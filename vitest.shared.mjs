// How every package's tests run. A package's own vitest.config.mjs hands this on, and may add to it.
import { configDefaults, defineConfig } from "vitest/config";

const unitOnly = process.env.ROLLCALL_TESTS === "unit";

export default defineConfig({
  test: {
    include: ["src/**/*.test.ts"],
    exclude: unitOnly ? [...configDefaults.exclude, "src/**/*.integration.test.ts"] : configDefaults.exclude,
    // A package may consist of integration tests alone.
    passWithNoTests: unitOnly,
    // The JSON is what `npm test` adds up.
    reporters: ["default", "json"],
    outputFile: { json: ".results/vitest.json" },
    testTimeout: 30_000,
    hookTimeout: 60_000,
  },
});
