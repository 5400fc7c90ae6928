// Removes one context from everything that the store holds: current lists and retired sets, of live and deleted segments.

import { contextHash } from "./context-hash.js";
import { type ContextHashes, shardOf } from "./context-hashes.js";
import type { Engine } from "./engine.js";
import { isLossOfMembers, isRollcallError, RollcallError } from "./errors.js";
import { type HeldLease, withLease } from "./lease.js";
import { type ContextKind, contextKindSchema, parseName } from "./names.js";
import type { CallOptions, ForgetReport } from "./rollcall.js";
import { LIST_NAMES, type ListName, type MemberSet, type MemberSetId, type Segment } from "./segment.js";
import { unlessLost } from "./set-writer.js";
import type { Fence } from "./store.js";

/** See `Rollcall.forget`. */
export async function forget(
  engine: Engine,
  context: { readonly kind: string; readonly key: string },
  options: CallOptions,
): Promise<ForgetReport> {
  const { store, retrying } = engine;
  const kind = parseName(contextKindSchema, context.kind, "context kind");
  const hash = contextHash(context.key, engine.options.pepper);
  if (hash === undefined) throw new RollcallError("invalid_request", "the context key cannot be a member; check it");
  const segments: string[] = [];
  const { signal } = options;
  for (const segment of await retrying(() => store.listSegments(), { signal })) {
    // Retired sets may be of a former life of the segment, with another kind.
    const isOfKind = segment.contextKind === kind;
    if (!isOfKind && segment.retired.length === 0) continue;
    // A writer under way may be about to bring the context in: then the lease must be waited for.
    const mayHold = isOfKind && segment.lease.holder !== undefined;
    // A set that has lost members may be one that waits for its sweep: it is looked at under the lease.
    const holding = mayHold ? undefined : await unlessLost(setsWith(engine, hash, setsOf(segment, kind), signal));
    if (holding?.length === 0) continue;
    const leased = await withLease(
      engine,
      {
        segmentKey: segment.key,
        changes: LIST_NAMES,
        signal,
        prepare: (current) => current,
      },
      (lease) => removeFrom(engine, lease, hash, kind),
    );
    if (leased?.result === true) segments.push(segment.key);
  }
  return { segments: segments.sort() };
}

function setsOf(segment: Segment, kind: ContextKind): MemberSet[] {
  const current = LIST_NAMES.map((list) => segment[list].set).filter((set) => set !== undefined);
  const inUse = segment.contextKind === kind ? [...current, ...segment.staged] : [];
  return [...inUse, ...segment.retired.map(({ set }) => set)];
}

async function setsWith(
  { store, retrying }: Engine,
  hash: ContextHashes,
  among: readonly MemberSet[],
  signal: AbortSignal | undefined,
) {
  if (among.length === 0) return [];
  const [ids] = await retrying(() => store.findMemberSets(hash, among), { signal });
  return among.filter((set) => ids?.includes(set.id));
}

async function removeFrom(engine: Engine, lease: HeldLease, hash: ContextHashes, kind: ContextKind): Promise<boolean> {
  const { store, retrying } = engine;
  const { segment, fence, signal } = lease;
  const removed: Record<ListName, number> = { included: 0, excluded: 0 };
  const exact: Record<ListName, boolean> = { ...lease.wasExact };
  const fences = await fencesOfRetired(engine, lease);
  // A writer that is gone may still have a write on its way, into its staged set too, which is retired by now.
  for (const set of setsOf(segment, kind)) await shutOut(engine, lease, set, fences.get(set.id) ?? fence);
  const found = await setsWith(engine, hash, setsOf(segment, kind), signal);
  for (const set of found) {
    const block = { shard: shardOf(hash, 0, set.shardBits), adds: new Uint8Array(0), removes: hash };
    const list = LIST_NAMES.find((name) => segment[name].set?.id === set.id);
    const onRetry = () => {
      if (list !== undefined) exact[list] = false;
    };
    const writer = fences.get(set.id) ?? fence;
    try {
      const changes = await retrying(() => store.writeBlocks(set, [block], writer), { signal, onRetry });
      if (list !== undefined) removed[list] += changes.removed;
    } catch (error) {
      await completeDrop(engine, lease, set, error);
    }
  }
  await lease.finish((current) => {
    const next = { ...current };
    for (const list of LIST_NAMES) {
      const value = Math.max(0, segment[list].count.value - removed[list]);
      next[list] = { ...current[list], count: { value, exact: exact[list] } };
    }
    return next;
  });
  return found.length > 0;
}

async function shutOut(engine: Engine, lease: HeldLease, set: MemberSet, fence: Fence): Promise<void> {
  try {
    await engine.retrying(() => engine.store.raiseFence(set, fence), { signal: lease.signal });
  } catch (error) {
    await completeDrop(engine, lease, set, error);
  }
}

// A retired set that refuses the newest writer is being dropped by a sweep, or has lost members: once it is dropped, the context
// is gone with it.
async function completeDrop(engine: Engine, lease: HeldLease, set: MemberSet, refusal: unknown): Promise<void> {
  if (!isRollcallError(refusal, "stale_lease") && !isLossOfMembers(refusal)) throw refusal;
  await lease.update((current) => current);
  if (!lease.segment.retired.some((retired) => retired.set.id === set.id)) throw refusal;
  await engine.retrying(() => engine.store.dropMemberSets([set]), { signal: lease.signal });
}

// A retired set may be of an earlier generation of the segment; its fence takes a newer token of its own generation only.
async function fencesOfRetired(
  { store, retrying }: Engine,
  { segment, fence, signal }: HeldLease,
): Promise<ReadonlyMap<MemberSetId, Fence>> {
  const fences = new Map<MemberSetId, Fence>();
  if (segment.retired.length === 0) return fences;
  const retired = new Set(segment.retired.map(({ set }) => set.id));
  for (const { id, fence: stored } of await retrying(() => store.listMemberSets(), { signal })) {
    if (stored !== undefined && retired.has(id)) fences.set(id, { ...fence, generation: stored.generation });
  }
  return fences;
}
