// Removes one context from everything that the store holds: current lists and retired sets, of live and deleted segments.

import { contextHash } from "./context-hash.js";
import { type ContextHashes, shardOf } from "./context-hashes.js";
import type { Engine } from "./engine.js";
import { isRollcallError, RollcallError } from "./errors.js";
import { type HeldLease, isActive, withLease } from "./lease.js";
import { contextKindSchema, parseName } from "./names.js";
import type { CallOptions, ForgetReport } from "./rollcall.js";
import { LIST_NAMES, type ListName, type MemberSet, type MemberSetId, type Segment } from "./segment.js";
import type { Fence } from "./store.js";

/** See `Rollcall.forget`. */
export async function forget(
  engine: Engine,
  context: { readonly kind: string; readonly key: string },
  options: CallOptions,
): Promise<ForgetReport> {
  const { store, clock, retrying } = engine;
  const kind = parseName(contextKindSchema, context.kind, "context kind");
  const hash = contextHash(context.key, engine.options.pepper);
  if (hash === undefined) throw new RollcallError("invalid_request", "the context key cannot be a member; check it");
  const segments: string[] = [];
  const { signal } = options;
  for (const segment of await retrying(() => store.listSegments(), { signal })) {
    if (segment.contextKind !== kind) continue;
    // A writer under way may be about to bring the context in: then the lease must be waited for.
    const mayHold = isActive(segment, clock.now()) || segment.lease.holder !== undefined;
    if (!mayHold && (await setsWith(engine, hash, setsOf(segment), signal)).length === 0) continue;
    const leased = await withLease(
      engine,
      {
        segmentKey: segment.key,
        changes: LIST_NAMES,
        signal,
        prepare: (current) => (current?.contextKind === kind ? current : undefined),
      },
      (lease) => removeFrom(engine, lease, hash),
    );
    if (leased?.result === true) segments.push(segment.key);
  }
  return { segments: segments.sort() };
}

function setsOf(segment: Segment): MemberSet[] {
  const current = LIST_NAMES.map((list) => segment[list].set).filter((set) => set !== undefined);
  return [...current, ...segment.staged, ...segment.retired.map(({ set }) => set)];
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

async function removeFrom(engine: Engine, lease: HeldLease, hash: ContextHashes): Promise<boolean> {
  const { store, retrying } = engine;
  const { segment, fence, signal } = lease;
  const removed: Record<ListName, number> = { included: 0, excluded: 0 };
  const exact: Record<ListName, boolean> = { ...lease.wasExact };
  const found = await setsWith(engine, hash, setsOf(segment), signal);
  const fences = await fencesOfRetired(engine, lease, found);
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
      const isRetired = segment.retired.some((retired) => retired.set.id === set.id);
      if (!isRetired || !isRollcallError(error, "stale_lease")) throw error;
      // Not by a newer writer, for the lease is held: a sweep has begun to drop the retired set. Complete the drop, and the context is gone with it.
      await lease.update((current) => current);
      await retrying(() => store.dropMemberSets([set]), { signal });
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

// A retired set may be of an earlier generation of the segment; its fence takes a newer token of its own generation only.
async function fencesOfRetired(
  { store, retrying }: Engine,
  { segment, fence, signal }: HeldLease,
  found: readonly MemberSet[],
): Promise<ReadonlyMap<MemberSetId, Fence>> {
  const retired = new Set(segment.retired.map(({ set }) => set.id));
  if (!found.some((set) => retired.has(set.id))) return new Map();
  const known = await retrying(() => store.listMemberSets(), { signal });
  const fences = new Map<MemberSetId, Fence>();
  for (const { id, fence: stored } of known) {
    if (stored !== undefined && retired.has(id)) fences.set(id, { ...fence, generation: stored.generation });
  }
  return fences;
}
