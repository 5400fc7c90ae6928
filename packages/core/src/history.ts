// Keeps reports in the segment's history. A sync that is done stays done when its history entry cannot be written.

import type { Engine } from "./engine.js";
import type { SyncReport } from "./report.js";

/** Appends the report; what goes wrong is a warning. */
export async function appendHistory({ store, retrying, options }: Engine, report: SyncReport): Promise<void> {
  try {
    await retrying(() => store.appendHistory(report.segmentKey, report));
  } catch (error) {
    options.warn(error instanceof Error ? error : new Error(String(error)));
  }
}
