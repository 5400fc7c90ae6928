// The public face of @rollcall/conformance/faults: a sync that something happens to, what must be true in the end, and the faults that
// every server can have.

export { type Change, changeOf, type Members, MODES, type Mode, UNIVERSE } from "./change.js";
export { type FullHarness, fullFaults } from "./full-faults.js";
export {
  brokenServer,
  type FaultHarness,
  type FaultStoreOptions,
  forgetSwallowed,
  startLine,
  swallowReplies,
} from "./line.js";
export { type NetworkHarness, networkFaults } from "./network-faults.js";
export { restartFaults } from "./restart-faults.js";
export {
  endOf,
  expectApplied,
  expectLoss,
  expectRefused,
  expectState,
  membersIn,
  newTrial,
  nextOf,
  type Outcome,
  openInSmallSteps,
  quickRollcall,
  type RecordingStore,
  snapshotInstead,
  startTrial,
  sync,
  syncHeld,
  syncWithLoss,
  type Trial,
} from "./trial.js";
export { type WatchingReader, watchSegment } from "./watching-reader.js";
