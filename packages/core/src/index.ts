// The public face of @rollcall/core.

export type { AnswerStatus, Context, Decision, MemberAnswer, Membership } from "./answer.js";
export { type Clock, systemClock } from "./clock.js";
export { type Consumption, countConsumption, measureConsumption } from "./consumption.js";
export {
  contextHash,
  createHashWriter,
  type HashWriter,
  MAX_KEY_BYTES,
  type Pepper,
  pepperCheck,
} from "./context-hash.js";
export {
  CONTEXT_HASH_BYTES,
  type ContextHashes,
  compareHashes,
  concatHashes,
  findHash,
  hashAt,
  hashCount,
  MAX_SHARD_BITS,
  shardBitsFor,
  shardOf,
} from "./context-hashes.js";
export { type CopyOptions, type CopyReport, copy } from "./copy.js";
export type { CostEstimate, CostWorkload, MonthlyCosts, UnitPrices } from "./cost.js";
export {
  handleNotOpen,
  isRollcallError,
  lostMembers,
  missingRecord,
  otherTimeline,
  RollcallError,
  type RollcallErrorCode,
  type RollcallErrorOptions,
  revisionConflict,
} from "./errors.js";
export {
  decodeFence,
  encodeFence,
  type FenceRefusal,
  isNewerFence,
  refusedByFence,
  requireFence,
  requireOwnFence,
} from "./fence.js";
export { type HandleState, opening, requireOpen } from "./handle-state.js";
export {
  deltaSchema,
  jsonSchemas,
  memberChangeSchema,
  memberSchema,
  snapshotSchema,
} from "./json-schema.js";
export { requireKnownOptions } from "./known-options.js";
export type { Batched, Delta, Member, MemberChange, MemberFormat, Snapshot } from "./members.js";
export {
  createMemoryDatabase,
  createMemoryStore,
  type MemoryDatabase,
  type MemoryStoreOptions,
  memoryStoreFactory,
} from "./memory-store.js";
export {
  type ContextKind,
  contextKindSchema,
  type EnvironmentName,
  environmentNameSchema,
  parseName,
  type SegmentKey,
  segmentKeySchema,
} from "./names.js";
export { type ErrorMeaning, errorMeaning, nativeCode, networkMeanings } from "./native-error.js";
export { findStoreFactory, type OpenStoreOptions, openStore } from "./open-store.js";
export { createPace, type Pace, type PaceOptions } from "./pace.js";
export { createSegmentReader, type ReaderStats, type SegmentReader, type SegmentReaderOptions } from "./reader.js";
export {
  decodeReport,
  HISTORY_LIMIT,
  MAX_LISTED_REJECTIONS,
  type RejectionReason,
  type SyncReport,
  syncReportSchema,
} from "./report.js";
export {
  type CallOptions,
  createRollcall,
  type Finding,
  type ForgetReport,
  type MergeOptions,
  type Progress,
  type ReplaceOptions,
  type Rollcall,
  type RollcallOptions,
  type SourcePosition,
  type SweepReport,
  type SyncOptions,
  type VerifyReport,
} from "./rollcall.js";
export {
  type Count,
  type Details,
  type DetailsPatch,
  decodeEnvironment,
  decodeSegment,
  detailsPatchSchema,
  type Environment,
  encodeEnvironment,
  encodeSegment,
  idsByShardBits,
  LAYOUT_VERSION,
  type Lease,
  LIST_NAMES,
  type ListName,
  type MemberSet,
  type MemberSetId,
  newEnvironment,
  type Origin,
  type Revision,
  type Segment,
} from "./segment.js";
export {
  type Block,
  type Epoch,
  type Fence,
  type MemberChanges,
  type PlannedList,
  type PlannedSync,
  type PutSegmentOptions,
  type SegmentStore,
  type SetSizes,
  STORE_PORT_VERSION,
  type StoreCapabilities,
  type StoredMemberSet,
  type StoreFactory,
  type StoreOptions,
  type StoreRecords,
  type Timeline,
} from "./store.js";
export { syncOptionsSchema } from "./sync-request.js";
export { parseUrlParameters, type UrlParameters, unreadableUrl } from "./url-parameters.js";
