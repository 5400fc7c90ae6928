// Recounts every member set and looks for what must never be: orphans, missing fences, sets pointed at twice, members that
// are stored twice. Mends it on request.

import { hashCount } from "./context-hashes.js";
import type { Engine } from "./engine.js";
import { rewriteSet, scanSet } from "./growth.js";
import { isActive, raiseFence, withLease } from "./lease.js";
import type { CallOptions, Finding, VerifyReport } from "./rollcall.js";
import { LIST_NAMES, type ListName, type MemberSet, type Segment } from "./segment.js";
import type { StoredMemberSet } from "./store.js";
import { confirmOrphans, findOrphans, pointedAt, retireAbandoned } from "./sweep.js";

/** Options of {@link verify}. */
export interface VerifyOptions extends CallOptions {
  readonly repair?: boolean | undefined;
}

// Without the lease a count holds only if nobody wrote meanwhile.
const TRIES_WITHOUT_LEASE = 3;

/** See `Rollcall.verify`. */
export async function verify(engine: Engine, options: VerifyOptions): Promise<VerifyReport> {
  const { store, clock, retrying } = engine;
  const { signal } = options;
  // In this order, as in a sweep: a set that is allocated later is not listed.
  const allocated = await retrying(() => store.listMemberSets(), { signal });
  const listed = await retrying(() => store.listSegments(), { signal });
  const segments = options.repair === true ? await retireAbandoned(engine, allocated, listed) : listed;
  // And again: every set that a segment points at was allocated before.
  const known = await retrying(() => store.listMemberSets(), { signal });
  const findings: Finding[] = [];
  const orphans = await confirmOrphans(engine, findOrphans(allocated, segments, clock.now()), options);
  await findOrphanSets(engine, orphans, findings, options);
  const live = segments.filter((segment) => segment.state === "live");
  const users = new Map<number, number>();
  for (const set of live.flatMap(pointedAt)) users.set(set.id, (users.get(set.id) ?? 0) + 1);
  let members = 0;
  for (const segment of live) {
    for (const list of LIST_NAMES) {
      const { set } = segment[list];
      if (set === undefined) continue;
      const shared = (users.get(set.id) ?? 0) > 1;
      members += await verifyList(engine, { segment, list, set, shared }, known, findings, options);
    }
  }
  return { segments: live.length, members, findings };
}

async function findOrphanSets(
  { store, retrying }: Engine,
  orphans: readonly StoredMemberSet[],
  findings: Finding[],
  { repair, signal }: VerifyOptions,
): Promise<void> {
  if (orphans.length === 0) return;
  if (repair === true) await retrying(() => store.dropMemberSets(orphans), { signal });
  for (const { id } of orphans) {
    findings.push({
      kind: "orphan_set",
      set: id,
      message: `no segment points at member set ${id}`,
      repaired: repair === true,
    });
  }
}

interface ListToVerify {
  readonly segment: Segment;
  readonly list: ListName;
  readonly set: MemberSet;
  readonly shared: boolean;
}

async function verifyList(
  engine: Engine,
  { segment, list, set, shared }: ListToVerify,
  known: readonly StoredMemberSet[],
  findings: Finding[],
  options: VerifyOptions,
): Promise<number> {
  const repaired = options.repair === true;
  const found = (kind: Finding["kind"], message: string) =>
    findings.push({
      kind,
      segmentKey: segment.key,
      set: set.id,
      message: `segment ${segment.key}, ${list}: ${message}`,
      repaired,
    });
  const counted = repaired
    ? await countUnderLease(engine, segment, list, set, options)
    : await countAsIs(engine, segment, list, set, options);
  if (counted === undefined) {
    findings.push({
      kind: "busy",
      segmentKey: segment.key,
      message: `segment ${segment.key} is being written; verify it again later`,
      repaired: false,
    });
    return segment[list].count.value;
  }
  const { stored, unique, scanned, isWhole } = counted;
  const unfenced = !known.some(({ id, fence }) => id === set.id && fence?.segmentKey === segment.key);
  if (unfenced) found("missing_fence", `member set ${set.id} has no fence of this segment`);
  if (!isWhole) found("lost_members", `member set ${set.id} has lost members; ${unique} are left`);
  if (shared) found("shared_set", `member set ${set.id} is pointed at twice`);
  if (scanned !== unique)
    found("misplaced_member", `member set ${set.id} yields ${scanned} members, ${unique} of them distinct`);
  if (stored.value !== unique) found("count", `the record says ${stored.value} members, there are ${unique}`);
  else if (!stored.exact) found("count", `the count of ${unique} is right but was marked inexact`);
  if (repaired && (unfenced || !isWhole || shared || scanned !== unique))
    await rewriteSet(engine, segment, list, set, options);
  return unique;
}

interface Counted {
  readonly stored: Segment["included"]["count"];
  readonly scanned: number;
  readonly unique: number;
  /** Whether the set has lost nothing. */
  readonly isWhole: boolean;
}

async function countAsIs(
  engine: Engine,
  { key }: Segment,
  list: ListName,
  set: MemberSet,
  options: VerifyOptions,
): Promise<Counted | undefined> {
  const { store, clock, retrying } = engine;
  for (let attempt = 0; attempt < TRIES_WITHOUT_LEASE; attempt++) {
    const before = await retrying(() => store.getSegment(key), options);
    if (before === undefined || before[list].set?.id !== set.id || isActive(before, clock.now())) continue;
    const counts = await countMembersOf(engine, set, options);
    const after = await retrying(() => store.getSegment(key), options);
    if (after?.revision === before.revision) return { stored: before[list].count, ...counts };
  }
  return undefined;
}

async function countUnderLease(
  engine: Engine,
  { key }: Segment,
  list: ListName,
  set: MemberSet,
  options: VerifyOptions,
): Promise<Counted | undefined> {
  const leased = await withLease(
    engine,
    {
      segmentKey: key,
      changes: [],
      signal: options.signal,
      prepare: (current) => (current?.state === "live" && current[list].set?.id === set.id ? current : undefined),
    },
    async (lease) => {
      // No write of an earlier lease may change what is being counted; a set that has lost its fence takes none.
      await raiseFence(engine, lease, set);
      const counts = await countMembersOf(engine, set, { ...options, signal: lease.signal });
      const { value } = lease.segment[list].count;
      await lease.finish((current) => ({
        ...current,
        [list]: { ...current[list], count: { value: counts.unique, exact: true } },
      }));
      return { stored: { value, exact: lease.wasExact[list] }, ...counts };
    },
  );
  return leased?.result;
}

async function countMembersOf(
  engine: Engine,
  set: MemberSet,
  options: VerifyOptions,
): Promise<Omit<Counted, "stored">> {
  const { members, loss } = await scanSet(engine, set, options);
  try {
    let unique = 0;
    for await (const chunk of members.chunks()) unique += hashCount(chunk.adds);
    return { scanned: members.count, unique, isWhole: loss === undefined };
  } finally {
    await members.dispose();
  }
}
