// The public face of @rollcall/conformance.

export { type Check, type CheckContext, PROMISES, type PromiseName } from "./check.js";
export {
  createFaultyStore,
  type Fault,
  type FaultKind,
  type FaultyStore,
  type FaultyStoreOptions,
  type StoreMethod,
} from "./faulty-store.js";
export type { ConformanceDatabase, ConformanceOptions, Harness } from "./harness.js";
export { codeOf, expectRefusal, findSecrets, type Refusal } from "./refusal.js";
export { type CheckResult, runConformance } from "./run.js";
export { checks } from "./suite.js";
export { type Activity, createVirtualClock, type VirtualClock } from "./virtual-clock.js";
export { conformance } from "./vitest-suite.js";
