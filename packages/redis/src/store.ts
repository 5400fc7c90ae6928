// The store on Redis: one HASH for each shard of contexts, and scripts that check the fence in the step that writes. It is longer
// than a thin adapter because the layout is by context: the database cannot merge packed ids, so scripts do.

import { createHash, randomUUID } from "node:crypto";
import {
  CONTEXT_HASH_BYTES,
  concatHashes,
  decodeEnvironment,
  decodeFence,
  decodeSegment,
  type EnvironmentName,
  encodeEnvironment,
  encodeFence,
  encodeSegment,
  environmentNameSchema,
  type Fence,
  type FenceRefusal,
  HISTORY_LIMIT,
  handleNotOpen,
  hashAt,
  hashCount,
  idsByShardBits,
  isRollcallError,
  type MemberSet,
  type MemberSetId,
  missingRecord,
  newEnvironment,
  parseName,
  RollcallError,
  refusedByFence,
  revisionConflict,
  type SegmentStore,
  STORE_PORT_VERSION,
  type StoreCapabilities,
  type StoredMemberSet,
  shardBitsFor,
  shardOf,
  syncReportSchema,
} from "@rollcall/core";
import { bufferOf, groupBlocks } from "./block-group.js";
import { clientFor } from "./client.js";
import {
  type Argument,
  type Command,
  type Connection,
  createConnection,
  type RedisClient,
  requireFitClient,
  type ScriptCall,
} from "./connection.js";
import { packId, unpackIds } from "./member-set-ids.js";
import { createRecordKeys, type Run, type ShardKeys } from "./record-key.js";
import * as scripts from "./script.js";
import { requireFitServer } from "./server-check.js";
import { impliedBytes, passShards, type ShardPart, setBits, type VisitedPart, wholeHashes } from "./shard-pass.js";
import { type RedisStoreOptions, settingsOf } from "./store-options.js";
import { optionsOf } from "./store-url.js";

/** The layout that this version reads and writes. */
const LAYOUT = 1;

/**
 * Contexts that a HASH holds at most on average. Redis keeps it compact up to 512 and searches it from its start, so fewer are faster;
 * half as many would take 2 bytes more for each context.
 */
const MOST_CONTEXTS_PER_SHARD = 64;
/** Entries that one step reads or strips of a shard that has outgrown the compact form; a compact one comes whole. */
const ENTRIES_PER_STEP = 256;
/** Records that one step of a listing reads. */
const RECORDS_PER_STEP = 500;

/**
 * A store on the server of `client`: a `Redis` or a `Cluster` of ioredis 5 or 6, which stays the caller's to close, or a URL (see
 * {@link storeFactory}), for which a client is made and closed with the store.
 * @throws `invalid_request` if an option or the URL is not valid, or if the client resends writes by itself.
 */
export function createRedisStore(client: RedisClient | string, options: RedisStoreOptions = {}): SegmentStore {
  const settings = settingsOf(options, typeof client === "string" ? optionsOf(client) : {});
  const environment = parseName(environmentNameSchema, settings.environment, "the environment") as EnvironmentName;
  const own = typeof client === "string" ? clientFor(client, settings.timeoutMs) : undefined;
  const redis = own ?? (client as RedisClient);
  requireFitClient(redis);
  const keys = createRecordKeys(settings.prefix, environment);
  const live = createConnection(redis, { ...settings, environment, requireSameServer });
  let opening: Promise<Place> | undefined;
  let place: Place | undefined;
  let closed = false;

  const capabilities: StoreCapabilities = {
    portVersion: STORE_PORT_VERSION,
    fencing: "set",
    window: { maxMembers: 16_384, maxBlocks: 1_024, concurrency: 4 },
    maxLookup: 1_024,
  };

  /** What opening learned. */
  interface Place {
    readonly slots: number;
    /** The layout record: it holds a name that no other environment has had. */
    readonly layout: string;
  }

  async function openOnce(): Promise<Place> {
    await live.open();
    const servers = await live.info();
    for (const info of servers)
      requireFitServer(info, { cluster: redis.isCluster, allowEviction: settings.allowEviction });
    const layout = (await storedLayout(live.send)) ?? (await createRecords());
    return { slots: slotsOf(layout), layout };
  }

  // Not by the script: a user who may only read opens what exists.
  async function storedLayout(send: Connection["send"]): Promise<string | undefined> {
    const [layout] = await send([["hget", keys.registry, "layout"]]);
    return textOf(layout);
  }

  /** A server that comes back without its data knows nobody, and would answer that nobody is a member. */
  async function requireSameServer(send: Connection["send"]): Promise<void> {
    if (place !== undefined && (await storedLayout(send)) !== place.layout) throw lostEnvironment(environment);
  }

  async function createRecords(): Promise<string> {
    if (settings.readOnly) throw missingEnvironment(environment);
    const slots = settings.slots ?? (redis.isCluster ? 256 : 1);
    const record = newEnvironment();
    const text = `${record.revision}\n${encodeEnvironment(record)}`;
    const args = [JSON.stringify({ layout: LAYOUT, slots, id: randomUUID() }), text, record.revision];
    const [layout] = await live.write([{ script: scripts.createEnvironment, keys: [keys.registry], args }]);
    return textOf(layout) ?? "";
  }

  function slotsOf(text: string): number {
    const layout = parsedJson(text);
    if (typeof layout.layout !== "number" || typeof layout.slots !== "number")
      throw new RollcallError("layout_mismatch", `Redis: ${keys.registry} holds something else; use another prefix`);
    if (layout.layout !== LAYOUT)
      throw new RollcallError(
        "layout_mismatch",
        `Redis: environment ${environment} has layout ${layout.layout}, this version reads ${LAYOUT}; upgrade @rollcall/redis`,
      );
    return layout.slots;
  }

  function opened(): Place & { readonly redis: Connection } {
    if (place === undefined || closed) throw handleNotOpen(environment, closed ? "closed" : "not opened");
    return { ...place, redis: live };
  }

  /** Writes a record. `args`: the revision expected, the new one, the record, and what the epoch becomes; nothing for none. */
  async function swap(what: string, [table, field]: readonly [string, string], args: readonly string[]): Promise<void> {
    const { redis: connection, layout } = opened();
    const call = { script: scripts.putRecord, keys: [keys.registry, table], args: [layout, field, ...args] };
    const [written] = await connection.write([call]);
    if (written === null) throw lostEnvironment(environment);
    if (written === 0) throw revisionConflict(what);
  }

  async function readField(field: string): Promise<string> {
    const { redis: connection, layout } = opened();
    const [values] = await connection.send([["hmget", keys.registry, "layout", field]]);
    const [present, text] = (values as unknown[]).map(textOf);
    if (present !== layout) throw lostEnvironment(environment);
    if (text === undefined) throw missingRecord(environment);
    return text;
  }

  async function raiseRecord(set: MemberSet, fence: Fence): Promise<void> {
    const args = [set.id, ...shortFence(fence), fenceRecord(set.shardBits, fence)];
    const [refusal] = await opened().redis.write([{ script: scripts.raiseFence, keys: [keys.sets], args }]);
    throwRefusal(set, fence, refusal);
  }

  /**
   * Puts the fence back into runs that lost it in a fail-over, while the record has it. Where a drop came in between, the
   * record has it no more, and they are taken out again before anybody has written.
   */
  async function restoreFences(set: MemberSet, fence: Fence, runs: readonly Run[]): Promise<void> {
    const { redis: connection } = opened();
    const short = shortFence(fence).join(" ");
    await connection.write(runs.map(({ fences }): Command => ["hsetnx", fences, set.id, short]));
    try {
      await raiseRecord(set, fence);
    } catch (error) {
      if (isRollcallError(error, "stale_lease"))
        await connection.write(runs.map(({ fences }): Command => ["hdel", fences, set.id]));
      throw error;
    }
  }

  /** All entries of a HASH, in steps. An entry that comes twice counts once. */
  async function readEntries(key: string): Promise<Map<string, string>> {
    const entries = new Map<string, string>();
    let cursor = "0";
    do {
      const [part] = await opened().redis.send([["hscan", key, cursor, "COUNT", RECORDS_PER_STEP]]);
      const [next, flat] = part as [Buffer, Buffer[]];
      for (let i = 0; i < flat.length; i += 2) entries.set(String(flat[i]), String(flat[i + 1]));
      cursor = String(next);
    } while (cursor !== "0");
    return entries;
  }

  /** Reads the values that stand in the overflow from there, in place of their markers. */
  async function resolveOverflow(reads: readonly Read[], values: unknown[]): Promise<void> {
    for (let attempt = 0; attempt < 5; attempt++) {
      const marked = reads.flatMap((read, index) => (isMarker(values[index]) ? [{ ...read, position: index }] : []));
      if (marked.length === 0) return;
      // Both: since the marker was read the ids may have moved back.
      const replies = await opened().redis.send(
        marked.flatMap(({ at, field }): Command[] => [
          ["hget", at.overflow, field],
          ["hget", at.shard, field],
        ]),
      );
      marked.forEach(({ position }, order) => {
        values[position] = replies[2 * order] ?? replies[2 * order + 1];
      });
    }
    throw new RollcallError("corrupt_data", `environment ${environment}: ids are missing from an overflow; run verify`);
  }

  /** Runs a script on each part of every shard that has had members. */
  async function* passUsedShards(
    shardBits: number,
    exchange: (calls: readonly ScriptCall[]) => Promise<unknown[]>,
    callFor: (part: ShardPart) => ScriptCall,
  ): AsyncGenerator<VisitedPart[]> {
    const width = CONTEXT_HASH_BYTES - impliedBytes(shardBits);
    for (const { used, firstShard } of keys.runs(opened().slots, shardBits)) {
      const [bitmap] = await opened().redis.send([["get", used]]);
      if (bitmap === null) continue;
      yield* passShards(setBits(bitmap as Buffer, firstShard), width, (parts) => exchange(parts.map(callFor)));
    }
  }

  const store: SegmentStore = {
    environment,
    capabilities,

    async open() {
      if (closed) throw handleNotOpen(environment, "closed");
      opening ??= openOnce();
      try {
        place = await opening;
      } catch (error) {
        opening = undefined;
        throw error;
      }
    },
    async close() {
      if (closed) return;
      closed = true;
      live.close({ disconnect: own !== undefined });
    },

    getEnvironment: async () => decodeEnvironment(bodyOf(await readField("environment"))),
    async putEnvironment(next, expectedRevision) {
      const args = [expectedRevision, next.revision, encodeEnvironment(next), ""];
      await swap("the environment record", [keys.registry, "environment"], args);
    },
    async getSegment(key) {
      const [value] = await opened().redis.send([["hget", keys.segments, key]]);
      const text = textOf(value);
      return text === undefined ? undefined : decodeSegment(bodyOf(text));
    },
    listSegments: async () =>
      Array.from((await readEntries(keys.segments)).values(), (text) => decodeSegment(bodyOf(text))),
    async putSegment(next, expectedRevision) {
      // The epoch is not a counter: a server restored from a copy would count through numbers that readers have seen.
      const args = [expectedRevision ?? "", next.revision, encodeSegment(next), next.revision];
      await swap(`segment ${next.key}`, [keys.segments, next.key], args);
    },
    getEpoch: () => readField("epoch"),

    async appendHistory(key, report) {
      const list = keys.history(key);
      await opened().redis.write([
        ["lpush", list, JSON.stringify(report)],
        ["ltrim", list, 0, HISTORY_LIMIT - 1],
      ]);
    },
    async getHistory(key) {
      const [texts] = await opened().redis.send([["lrange", keys.history(key), 0, HISTORY_LIMIT - 1]]);
      return (texts as Buffer[]).map((text) => syncReportSchema.parse(JSON.parse(String(text))));
    },

    async allocateMemberSet(shardBits, fence) {
      const { redis: connection, slots, layout } = opened();
      const short = shortFence(fence).join(" ");
      const record = short + fenceRecord(shardBits, fence);
      for (;;) {
        const call = { script: scripts.allocateSet, keys: [keys.registry, keys.sets], args: [layout, record] };
        const [id] = await connection.write([call]);
        if (id === null) throw lostEnvironment(environment);
        const set: MemberSet = { id: Number(id) as MemberSetId, shardBits };
        const created = await connection.write(
          keys.runs(slots, shardBits).map(({ fences }): Command => ["hsetnx", fences, set.id, short]),
        );
        // A fence that is there already is of a set whose record a fail-over has lost; the sweep drops this number.
        if (created.every((fresh) => fresh === 1)) return set;
      }
    },
    chooseShardBits: ({ members, contexts }) => shardBitsFor(Math.max(members, contexts), MOST_CONTEXTS_PER_SHARD),
    async raiseFence(set, fence) {
      const { redis: connection, slots } = opened();
      const args: Argument[] = [set.id, ...shortFence(fence)];
      const runs = keys.runs(slots, set.shardBits);
      // The record decides between racing writers; the runs follow it.
      await raiseRecord(set, fence);
      const refusals = await connection.write(
        runs.map(({ fences }) => ({ script: scripts.raiseFence, keys: [fences], args: [...args, ""] })),
      );
      const lost = runs.filter((_, index) => String(refusals[index]) === "dropped");
      if (lost.length > 0) await restoreFences(set, fence, lost);
      for (const refusal of refusals) {
        if (String(refusal) === "newer") {
          // Usually the record knows of that writer too by now.
          await raiseRecord(set, fence);
          throw aheadOfRecord(set, fence);
        }
        if (String(refusal) !== "dropped") throwRefusal(set, fence, refusal);
      }
    },
    async writeBlocks(set, blocks, fence) {
      const head = [set.id, ...shortFence(fence), packId(set.id), impliedBytes(set.shardBits)];
      const { redis: connection, slots } = opened();
      const groups = groupBlocks(blocks, (shard) => keys.shardKeys(slots, set.shardBits, shard));
      const replies = await connection.write(
        groups.map(({ run, blocks: group }) => ({
          script: scripts.writeBlocks,
          keys: [run.fences, run.used, ...group.flatMap(({ at }) => [at.shard, at.overflow])],
          args: [
            ...head,
            ...group.flatMap(({ shard, adds, removes }) => [shard - run.firstShard, bufferOf(adds), bufferOf(removes)]),
          ],
        })),
      );
      let [added, removed] = [0, 0];
      for (const reply of replies) {
        if (!Array.isArray(reply)) throwRefusal(set, fence, reply);
        const [more, less] = reply as [number, number];
        added += more;
        removed += less;
      }
      return { added, removed };
    },
    async findMemberSets(hashes, among) {
      const { redis: connection, slots } = opened();
      const found: MemberSetId[][] = Array.from({ length: hashCount(hashes) }, () => []);
      const reads: Read[] = [];
      for (const [shardBits, ids] of idsByShardBits(among)) {
        for (let index = 0; index < found.length; index++) {
          const at = keys.shardKeys(slots, shardBits, shardOf(hashes, index, shardBits));
          reads.push({ index, at, ids, field: bufferOf(hashAt(hashes, index).subarray(impliedBytes(shardBits))) });
        }
      }
      if (reads.length === 0) return found;
      const values = await connection.send(reads.map(({ at, field }): Command => ["hget", at.shard, field]));
      await resolveOverflow(reads, values);
      reads.forEach(({ index, ids }, position) => {
        const value = values[position];
        if (value !== null) found[index]?.push(...unpackIds(value as Buffer, ids));
      });
      return found;
    },
    async *scanMembers(set) {
      const id = packId(set.id);
      const { shardBits } = set;
      const { redis: connection, slots } = opened();
      const passing = passUsedShards(shardBits, connection.run, ({ shard, cursor }) => {
        const at = keys.shardKeys(slots, shardBits, shard);
        return { script: scripts.scanShard, keys: [at.shard, at.overflow], args: [cursor, ENTRIES_PER_STEP, id] };
      });
      for await (const parts of passing) {
        const members = parts.map(({ shard, fields }) => wholeHashes(shard, shardBits, fields));
        if (members.some(({ length }) => length > 0)) yield concatHashes(members);
      }
    },
    async dropMemberSets(sets) {
      const { redis: connection, slots } = opened();
      if (sets.length > 0) {
        const args = sets.flatMap(({ id, shardBits }) => [id, droppedRecord(shardBits)]);
        await connection.write([{ script: scripts.dropRecords, keys: [keys.sets], args }]);
        await connection.write(
          sets.flatMap(({ id, shardBits }) =>
            keys.runs(slots, shardBits).map(({ fences }): Command => ["hdel", fences, id]),
          ),
        );
      }
      // Sets of a drop that was interrupted are on the list too: one pass over the shards serves all.
      const dropped = (await store.listMemberSets()).filter(({ fence }) => fence === undefined);
      for (const [shardBits, ids] of idsByShardBits(dropped)) {
        const packed = Array.from(ids, packId);
        const passing = passUsedShards(shardBits, connection.write, ({ shard, cursor }) => {
          const at = keys.shardKeys(slots, shardBits, shard);
          const place = shard - at.run.firstShard;
          return {
            script: scripts.stripShard,
            keys: [at.shard, at.overflow, at.run.used],
            args: [cursor, ENTRIES_PER_STEP, place, ...packed],
          };
        });
        for await (const _ of passing);
        await connection.write([["hdel", keys.sets, ...ids]]);
      }
    },
    async listMemberSets() {
      const records = await readEntries(keys.sets);
      return Array.from(records, ([id, text]) => storedSet(Number(id) as MemberSetId, text));
    },
  };
  return store;
}

/** One value to read. */
interface Read {
  /** Which of the hashes asked about. */
  readonly index: number;
  readonly at: ShardKeys;
  readonly field: Buffer;
  readonly ids: ReadonlySet<MemberSetId>;
}

// A fail-over has taken back what the registry knew of its leases. Each one that is taken anew comes nearer to the run's.
function aheadOfRecord({ id }: MemberSet, { segmentKey }: Fence): RollcallError {
  return new RollcallError(
    "store_unavailable",
    `Redis: member set ${id} of segment ${segmentKey} knows a newer lease than the registry, which a fail-over took back; repeat the sync`,
  );
}

function lostEnvironment(environment: string): RollcallError {
  return new RollcallError(
    "corrupt_data",
    `Redis: environment ${environment} is not the one that was opened: the server came back without its data, or the environment was removed; open the store again, and repeat the snapshot of every segment`,
  );
}

function missingEnvironment(environment: string): RollcallError {
  return new RollcallError(
    "store_read_only",
    `Redis: there is no environment ${environment} under this prefix; check both names, or open it for writing to make it`,
  );
}

/** A fence as each slot keeps it: the token, and digests of who holds it and whose set it is. */
function shortFence({ segmentKey, generation, holder, token }: Fence): [token: string, holder: string, owner: string] {
  return [String(token), digest(holder), digest(`${segmentKey} ${generation}`)];
}

/** 72 bits: enough to tell the writers and owners of one set apart, and short. */
function digest(text: string): string {
  return createHash("sha256").update(text).digest("base64url").slice(0, 12);
}

function throwRefusal(set: MemberSet, fence: Fence, reply: unknown): void {
  if (reply !== null) throw refusedByFence(set, fence, String(reply) as FenceRefusal);
}

// A set's record: its fence as each run keeps it, a line feed, and all of it as JSON; without the fence once it is dropped.

function fenceRecord(shardBits: number, fence: Fence): string {
  return `\n${encodeFence({ id: 0 as MemberSetId, shardBits }, fence)}`;
}

function droppedRecord(shardBits: number): string {
  return `\n${JSON.stringify({ shardBits })}`;
}

function storedSet(id: MemberSetId, record: string): StoredMemberSet {
  const text = bodyOf(record);
  if (record.startsWith("\n")) return { id, shardBits: Number(parsedJson(text).shardBits) };
  return { id, ...decodeFence(text) };
}

/** What follows the first line. */
function bodyOf(record: string): string {
  return record.slice(record.indexOf("\n") + 1);
}

function parsedJson(text: string): Record<string, unknown> {
  try {
    return Object(JSON.parse(text));
  } catch {
    return {};
  }
}

function textOf(reply: unknown): string | undefined {
  return reply === null ? undefined : String(reply);
}

/** What a shard holds instead of ids that stand in its overflow. */
function isMarker(value: unknown): boolean {
  return Buffer.isBuffer(value) && value.length === 1 && value[0] === 0;
}
