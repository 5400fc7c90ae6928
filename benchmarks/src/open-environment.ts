// Our side of the benchmarks on a server, as a program of a user opens it.

import { createRollcall, type Rollcall, type RollcallOptions, type SegmentStore } from "@rollcall/core";

/** An open environment. */
export interface OpenEnvironment {
  readonly store: SegmentStore;
  readonly rollcall: Rollcall;
}

/** Opens `store`, runs `work` on it, and closes it. */
export async function withEnvironment<T>(
  store: SegmentStore,
  options: RollcallOptions,
  work: (environment: OpenEnvironment) => Promise<T>,
): Promise<T> {
  await store.open();
  const rollcall = createRollcall(store, options);
  try {
    return await work({ store, rollcall });
  } finally {
    await rollcall.close();
    await store.close();
  }
}
