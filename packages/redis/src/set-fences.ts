// Member sets and their fences. A set has one record beside the registry, which decides between writers, and a fence in each of its
// runs, which the scripts there check. The fence is in a run before any member, so a run without it has lost its members.

import { createHash } from "node:crypto";
import {
  decodeFence,
  type EnvironmentName,
  encodeFence,
  type Fence,
  type FenceRefusal,
  idsByShardBits,
  lostMembers,
  MAX_SHARD_BITS,
  type MemberSet,
  type MemberSetId,
  RollcallError,
  refusedByFence,
  type SegmentStore,
  type StoredMemberSet,
} from "@rollcall/core";
import type { Argument, Command } from "./commands.js";
import type { Connection } from "./connection.js";
import type { RecordKeys } from "./record-key.js";
import { bodyOf, lostEnvironment, parsedJson, type Registry, readHash } from "./registry.js";
import * as scripts from "./script.js";

/** The fences of one environment's sets. */
export interface SetFences
  extends Pick<SegmentStore, "allocateMemberSet" | "raiseFence" | "listMemberSets" | "dropMemberSets"> {
  /** What a script that writes members gets first, after the set's id. */
  argsOf(fence: Fence): readonly Argument[];
  /** Throws what a script's refusal means: `stale_lease`, or `corrupt_data` where the run has lost the set. */
  throwRefusal(set: MemberSet, fence: Fence, refusal: FenceRefusal): Promise<never>;
  /** Whether all of `sets` were found whole since a connection was last lost. */
  areWhole(sets: readonly MemberSet[]): boolean;
  /**
   * Checks that no server has come back without the members of `sets`. A set that was dropped is whole: it has none. Costs nothing for
   * sets that were checked since a connection was last lost: then there is nothing to wait for. @throws `corrupt_data`.
   */
  requireWhole(sets: readonly MemberSet[]): Promise<void> | undefined;
}

/** The fences of the sets of `registry`. Where a drop has taken the fences away, `strip` removes the members. */
export function createSetFences(
  connection: Connection,
  options: {
    readonly environment: EnvironmentName;
    readonly keys: RecordKeys;
    readonly registry: Registry;
    readonly strip: (shardBits: number, ids: ReadonlySet<MemberSetId>) => Promise<void>;
  },
): SetFences {
  const { environment, keys, registry, strip } = options;
  let whole = new Set<MemberSetId>();
  let lost = new Set<MemberSetId>();
  let checkedAt = -1;
  let checking: Promise<void> | undefined;

  /**
   * A fence as each run keeps it: the token, and digests of who holds it and whose set it is. A set of the same number and segment in
   * an environment that was made anew is another one.
   */
  function argsOf({ segmentKey, generation, holder, token }: Fence): [token: string, holder: string, owner: string] {
    const { layout } = registry.opened();
    return [String(token), digest(holder), digest(`${layout} ${segmentKey} ${generation}`)];
  }

  const runsOf = (shardBits: number) => keys.runs(registry.opened().slots, shardBits);

  async function raiseRecord(set: MemberSet, fence: Fence): Promise<void> {
    const args = [set.id, ...argsOf(fence), fenceRecord(set.shardBits, fence)];
    const [refusal] = await connection.write([{ script: scripts.raiseFence, keys: [keys.sets], args }]);
    if (refusal !== null) throw refusedByFence(set, fence, String(refusal) as FenceRefusal);
  }

  async function throwRefusal(set: MemberSet, fence: Fence, refusal: FenceRefusal): Promise<never> {
    // The record says whether the set was dropped.
    if (refusal === "dropped") await raiseRecord(set, fence);
    throw refusal === "dropped" ? lostMembers(environment, [set.id]) : refusedByFence(set, fence, refusal);
  }

  // The record has let this writer pass, and usually knows of the newer one by now. If not, a fail-over has taken back what it knew of
  // its leases. Each one that is taken anew comes nearer to the run's.
  async function throwAheadOfRecord(set: MemberSet, fence: Fence): Promise<never> {
    await raiseRecord(set, fence);
    throw new RollcallError(
      "store_unavailable",
      `Redis: member set ${set.id} of segment ${fence.segmentKey} knows a newer lease than the registry, which a fail-over took back; repeat the sync`,
    );
  }

  function requireWhole(sets: readonly MemberSet[]): Promise<void> | undefined {
    return sets.every(isWhole) ? undefined : untilWhole(sets);
  }

  async function untilWhole(sets: readonly MemberSet[]): Promise<void> {
    for (;;) {
      const doubtful = sets.filter((set) => !isWhole(set));
      if (doubtful.length === 0) return;
      // One at a time: when a connection was lost, all who look something up ask for the same sets.
      if (checking === undefined) {
        checking = check(doubtful, checkedAt).finally(() => {
          checking = undefined;
        });
        await checking;
      } else {
        await checking.catch(() => {});
      }
    }
  }

  function isWhole({ id }: MemberSet): boolean {
    if (checkedAt !== connection.losses) {
      whole = new Set();
      lost = new Set();
      checkedAt = connection.losses;
    }
    return whole.has(id);
  }

  async function check(doubtful: readonly MemberSet[], now: number): Promise<void> {
    // What is lost stays so until the set is dropped, so it is looked for once.
    const missing = new Set(doubtful.flatMap(({ id }) => (lost.has(id) ? [id] : [])));
    for (const [shardBits, ids] of idsByShardBits(doubtful.filter(({ id }) => !lost.has(id)))) {
      const all = Array.from(ids);
      const replies = await connection.send(runsOf(shardBits).map(({ fences }): Command => ["hmget", fences, ...all]));
      for (const fences of replies as unknown[][])
        for (const [index, fence] of fences.entries()) if (fence === null) missing.add(all[index] as MemberSetId);
    }
    const gone = await notDropped([...missing]);
    if (connection.losses === now) {
      for (const { id } of doubtful) (gone.includes(id) ? lost : whole).add(id);
    }
    if (gone.length > 0) throw lostMembers(environment, gone);
  }

  async function notDropped(ids: readonly MemberSetId[]): Promise<MemberSetId[]> {
    if (ids.length === 0) return [];
    const [records] = (await connection.send([["hmget", keys.sets, ...ids]])) as [unknown[]];
    return ids.filter((_, index) => records[index] !== null && !isDropped(String(records[index])));
  }

  async function listMemberSets(): Promise<StoredMemberSet[]> {
    registry.opened();
    const records = await readHash(connection, keys.sets);
    return Array.from(records, ([id, text]) => storedSet(Number(id) as MemberSetId, text));
  }

  return {
    argsOf,
    throwRefusal,
    areWhole: (sets) => sets.every(isWhole),
    requireWhole,
    listMemberSets,
    async allocateMemberSet(shardBits, fence) {
      const { layout } = registry.opened();
      const short = argsOf(fence).join(" ");
      const args = [layout, short + fenceRecord(shardBits, fence)];
      for (;;) {
        const { losses } = connection;
        const [id] = await connection.write([{ script: scripts.allocateSet, keys: [keys.registry, keys.sets], args }]);
        if (id === null) throw lostEnvironment(environment);
        const set: MemberSet = { id: Number(id) as MemberSetId, shardBits };
        const created = await connection.write(
          runsOf(shardBits).map(({ fences }): Command => ["hsetnx", fences, set.id, short]),
        );
        // A fence that is there already is of a set whose record a fail-over has lost; the sweep drops this number.
        if (created.some((fresh) => Number(fresh) !== 1)) continue;
        if (connection.losses === losses && checkedAt === losses) whole.add(set.id);
        return set;
      }
    },
    async raiseFence(set, fence) {
      const args: Argument[] = [set.id, ...argsOf(fence), ""];
      // The record decides between racing writers; the runs follow it.
      await raiseRecord(set, fence);
      const refusals = await connection.write(
        runsOf(set.shardBits).map(({ fences }) => ({ script: scripts.raiseFence, keys: [fences], args })),
      );
      for (const refusal of refusals) {
        if (refusal === null) continue;
        if (String(refusal) === "newer") await throwAheadOfRecord(set, fence);
        await throwRefusal(set, fence, String(refusal) as FenceRefusal);
      }
    },
    async dropMemberSets(sets) {
      registry.opened();
      if (sets.length > 0) {
        const args = sets.flatMap(({ id, shardBits }) => [id, droppedRecord(shardBits)]);
        await connection.write([{ script: scripts.dropRecords, keys: [keys.sets], args }]);
      }
      // Sets of a drop that was interrupted are on the list too, and may have fences yet: one pass over the shards serves all.
      const dropped = (await listMemberSets()).filter(({ fence }) => fence === undefined);
      const groups = idsByShardBits(dropped);
      for (const [shardBits, ids] of groups)
        await connection.write(runsOf(shardBits).map(({ fences }): Command => ["hdel", fences, ...ids]));
      for (const [shardBits, ids] of groups) {
        await strip(shardBits, ids);
        await connection.write([["hdel", keys.sets, ...ids]]);
      }
    },
  };
}

/** 72 bits: enough to tell the writers and owners of one set apart, and short. */
function digest(text: string): string {
  return createHash("sha256").update(text).digest("base64url").slice(0, 12);
}

// A set's record: its fence as each run keeps it, a line feed, and all of it as JSON; without the fence once it is dropped.

function fenceRecord(shardBits: number, fence: Fence): string {
  return `\n${encodeFence({ id: 0 as MemberSetId, shardBits }, fence)}`;
}

function droppedRecord(shardBits: number): string {
  return `\n${JSON.stringify({ shardBits })}`;
}

function isDropped(record: string): boolean {
  return record.startsWith("\n");
}

function storedSet(id: MemberSetId, record: string): StoredMemberSet {
  const text = bodyOf(record);
  if (!isDropped(record)) return { id, ...decodeFence(text) };
  const { shardBits } = parsedJson(text);
  if (typeof shardBits === "number" && Number.isInteger(shardBits) && shardBits >= 0 && shardBits <= MAX_SHARD_BITS)
    return { id, shardBits };
  throw new RollcallError("corrupt_data", `the record of member set ${id} is damaged; restore the store from a copy`);
}
