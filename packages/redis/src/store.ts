// The store on Redis: one HASH for each shard of contexts, and scripts that check the fence in the step that writes. With its registry
// and its fences it is longer than a thin adapter because the layout is by context: the database cannot merge packed ids, so scripts do.

import {
  CONTEXT_HASH_BYTES,
  type ContextHashes,
  concatHashes,
  type EnvironmentName,
  environmentNameSchema,
  type FenceRefusal,
  hashAt,
  hashCount,
  idsByShardBits,
  type MemberSet,
  type MemberSetId,
  parseName,
  RollcallError,
  type SegmentStore,
  STORE_PORT_VERSION,
  type StoreCapabilities,
  shardBitsFor,
  shardOf,
} from "@rollcall/core";
import { type BlockGroup, createPackingRooms, groupBlocks } from "./block-group.js";
import { clientFor } from "./client.js";
import { requireFitClient } from "./client-check.js";
import type { Argument, Command, RedisClient, ScriptCall } from "./commands.js";
import { type Connection, createConnection } from "./connection.js";
import { fieldOf, readCalls } from "./member-reads.js";
import { packId, unpackIds } from "./member-set-ids.js";
import { createRecordKeys } from "./record-key.js";
import { createRegistry } from "./registry.js";
import * as scripts from "./script.js";
import { requireFitServer, requireNoReplica } from "./server-check.js";
import { createSetFences } from "./set-fences.js";
import { impliedBytes, passShards, type ShardPart, setBits, type VisitedPart, wholeHashes } from "./shard-pass.js";
import { type RedisStoreOptions, settingsOf } from "./store-options.js";
import { optionsOf } from "./store-url.js";

/**
 * Contexts that a HASH holds at most on average. Redis keeps it compact up to 512. It searches it from its start, so fewer are found
 * faster; but each HASH is a key and each block a call, so fewer take more bytes, and longer to write beside other segments
 * (`pnpm bench replace-redis`).
 */
const MOST_CONTEXTS_PER_SHARD = 64;
/** Entries that one step reads or strips of a shard that has outgrown the compact form; a compact one comes whole. */
const ENTRIES_PER_STEP = 256;
/** How often ids are looked for that move between a shard and its overflow. */
const MOST_LOOKS = 5;
/** Runs into which a new environment deals its shards. */
const SLOTS_OF_CLUSTER = 256;

const CAPABILITIES: StoreCapabilities = {
  portVersion: STORE_PORT_VERSION,
  fencing: "set",
  window: { maxMembers: 16_384, maxBlocks: 512, concurrency: 4 },
  maxLookup: 1_024,
};

/**
 * A store on the server of `client`: a `Redis` or a `Cluster` of ioredis 5 or 6, which stays the caller's to close, or a URL (see
 * {@link storeFactory}), for which a client is made and closed with the store.
 * @throws `invalid_request` if an option or the URL is not valid, or if the client resends writes by itself.
 */
export function createRedisStore(client: RedisClient | string, options: RedisStoreOptions = {}): SegmentStore {
  const settings = settingsOf(options, typeof client === "string" ? optionsOf(client) : {});
  const environment = parseName(environmentNameSchema, settings.environment, "the environment") as EnvironmentName;
  const redis = typeof client === "string" ? clientFor(client, settings.timeoutMs) : client;
  requireFitClient(redis);
  const keys = createRecordKeys(settings.prefix, environment);
  const connection = createConnection(redis, {
    ...settings,
    environment,
    ownsClient: redis !== client,
    async requireSameServer(send) {
      // What a name leads to may have become a replica; of a Cluster the client knows who is.
      if (!redis.isCluster) requireNoReplica(String((await send([["info", "replication"]]))[0]));
      await registry.requireSame(send);
    },
  });
  const slots = settings.slots ?? (redis.isCluster ? SLOTS_OF_CLUSTER : 1);
  const registry = createRegistry(connection, { environment, keys, readOnly: settings.readOnly, slots });
  const fences = createSetFences(connection, { environment, keys, registry, strip });
  const rooms = createPackingRooms();
  const sizesOf = lastAnswer((sets: readonly MemberSet[]) => [...idsByShardBits(sets)]);
  let opening: Promise<void> | undefined;

  async function openOnce(): Promise<void> {
    await connection.open();
    for (const info of await connection.info())
      requireFitServer(info, { cluster: redis.isCluster, allowEviction: settings.allowEviction });
    await registry.open();
  }

  function nameOf(shardBits: number): (shard: number) => string {
    const runOf = keys.runOf(registry.opened().slots, shardBits);
    return (shard) => runOf(shard).base + shard;
  }

  /** What stands in the shards of one size for each of `hashes`. */
  async function valuesOf(send: Connection["send"], hashes: ContextHashes, shardBits: number): Promise<Value[]> {
    const reads = { hashes, shardBits, nameOf: nameOf(shardBits), isCluster: redis.isCluster };
    const values = (await send(readCalls(reads))).flat() as Value[];
    await resolveOverflow(send, hashes, shardBits, values);
    return values;
  }

  /** Reads the values that stand in the overflow from there, in place of their markers. */
  async function resolveOverflow(
    send: Connection["send"],
    hashes: ContextHashes,
    shardBits: number,
    values: Value[],
  ): Promise<void> {
    const { slots } = registry.opened();
    for (let looks = 0; looks < MOST_LOOKS; looks++) {
      const marked = values.flatMap((value, index) => (isMarker(value) ? [index] : []));
      if (marked.length === 0) return;
      // Both: since the marker was read the ids may have moved back.
      const commands = marked.flatMap((index): Command[] => {
        const { shard, overflow } = keys.shardKeys(slots, shardBits, shardOf(hashes, index, shardBits));
        const field = fieldOf(hashAt(hashes, index), shardBits);
        return [
          ["hget", overflow, field],
          ["hget", shard, field],
        ];
      });
      const replies = (await send(commands)) as Value[];
      marked.forEach((index, order) => {
        values[index] = replies[2 * order] ?? replies[2 * order + 1] ?? null;
      });
    }
    throw new RollcallError("corrupt_data", `environment ${environment}: ids are missing from an overflow; run verify`);
  }

  /** The usual question: one context, among sets of one size. `undefined` for any other, and where something is to be looked after first. */
  function findOne(hashes: ContextHashes, among: readonly MemberSet[]): Promise<MemberSetId[][]> | undefined {
    if (hashes.length !== CONTEXT_HASH_BYTES || !fences.areWhole(among)) return undefined;
    const [size, ...others] = sizesOf(among);
    if (size === undefined || others.length > 0) return undefined;
    const [shardBits, ids] = size;
    const shard = nameOf(shardBits)(shardOf(hashes, 0, shardBits));
    const reply = connection.sendAtOnce(["hget", shard, fieldOf(hashes, shardBits)]) as Promise<Value> | undefined;
    const idsIn = (value: Value | undefined) => (value ? unpackIds(value, ids) : []);
    return reply?.then(async (value) => {
      if (!isMarker(value)) return [idsIn(value)];
      const values = [value];
      await connection.steadily((send) => resolveOverflow(send, hashes, shardBits, values));
      return values.map(idsIn);
    });
  }

  function findAll(hashes: ContextHashes, among: readonly MemberSet[]): Promise<MemberSetId[][]> {
    return connection.steadily(async (send) => {
      const check = fences.requireWhole(among);
      if (check !== undefined) await check;
      const found: MemberSetId[][] = Array.from({ length: hashCount(hashes) }, () => []);
      // All sizes at once.
      await Promise.all(
        sizesOf(among).map(async ([shardBits, ids]) => {
          const values = await valuesOf(send, hashes, shardBits);
          values.forEach((value, index) => {
            if (value) found[index]?.push(...unpackIds(value, ids));
          });
        }),
      );
      return found;
    });
  }

  /** Runs a script on each part of every shard that has had members. */
  async function* passUsedShards(
    shardBits: number,
    exchange: (calls: readonly ScriptCall[]) => Promise<unknown[]>,
    callFor: (part: ShardPart) => ScriptCall,
  ): AsyncGenerator<VisitedPart[]> {
    const width = CONTEXT_HASH_BYTES - impliedBytes(shardBits);
    for (const { used, firstShard } of keys.runs(registry.opened().slots, shardBits)) {
      const [bitmap] = await connection.send([["get", used]]);
      if (bitmap === null) continue;
      yield* passShards(setBits(bitmap as Buffer, firstShard), width, (parts) => exchange(parts.map(callFor)));
    }
  }

  /** Removes the ids of dropped sets from every shard. */
  async function strip(shardBits: number, ids: ReadonlySet<MemberSetId>): Promise<void> {
    const packed = Array.from(ids, packId);
    const passing = passUsedShards(shardBits, connection.write, ({ shard, cursor }) => {
      const at = keys.shardKeys(registry.opened().slots, shardBits, shard);
      const place = shard - at.run.firstShard;
      return {
        script: scripts.stripShard,
        keys: [at.shard, at.overflow, at.run.used],
        args: [cursor, ENTRIES_PER_STEP, place, ...packed],
      };
    });
    for await (const _ of passing);
  }

  return {
    ...registry.records,
    environment,
    capabilities: CAPABILITIES,

    async open() {
      registry.requireNotClosed();
      opening ??= openOnce();
      try {
        await opening;
      } catch (error) {
        opening = undefined;
        throw error;
      }
    },
    async close() {
      if (registry.close()) connection.close();
    },

    allocateMemberSet: fences.allocateMemberSet,
    chooseShardBits: ({ members, contexts }) => shardBitsFor(Math.max(members, contexts), MOST_CONTEXTS_PER_SHARD),
    raiseFence: fences.raiseFence,
    async writeBlocks(set, blocks, fence) {
      // Runs that these blocks do not touch count too.
      const check = fences.requireWhole([set]);
      // Nothing is awaited in vain: these blocks are to leave before the next window is cut.
      if (check !== undefined) await check;
      const { slots } = registry.opened();
      const head = [set.id, ...fences.argsOf(fence), packId(set.id), impliedBytes(set.shardBits)];
      const room = rooms.take(blocks);
      const groups = groupBlocks(blocks, keys.runOf(slots, set.shardBits), room);
      const replies = await connection.write(writesOf(head, groups));
      // Not after an error: the client may then still have something of it to send.
      rooms.giveBack(room);
      let [added, removed] = [0, 0];
      for (const reply of replies) {
        if (!Array.isArray(reply)) await fences.throwRefusal(set, fence, String(reply) as FenceRefusal);
        const [more, less] = reply as [number, number];
        added += Number(more);
        removed += Number(less);
      }
      return { added, removed };
    },
    findMemberSets(hashes, among) {
      try {
        return findOne(hashes, among) ?? findAll(hashes, among);
      } catch (error) {
        return Promise.reject(error);
      }
    },
    async *scanMembers(set) {
      const id = packId(set.id);
      const { shardBits } = set;
      const passing = passUsedShards(shardBits, connection.send, ({ shard, cursor }) => {
        const at = keys.shardKeys(registry.opened().slots, shardBits, shard);
        return { script: scripts.scanShard, keys: [at.shard, at.overflow], args: [cursor, ENTRIES_PER_STEP, id] };
      });
      for await (const parts of passing) {
        const members = parts.map(({ shard, fields }) => wholeHashes(shard, shardBits, fields));
        if (members.some(({ length }) => length > 0)) yield concatHashes(members);
      }
      await fences.requireWhole([set]);
    },
    dropMemberSets: fences.dropMemberSets,
    listMemberSets: fences.listMemberSets,
  };
}

type Value = Buffer | null;

function* writesOf(head: readonly Argument[], groups: Iterable<BlockGroup>): Generator<ScriptCall> {
  for (const { run, packed } of groups)
    yield { script: scripts.writeBlocks, keys: [run.fences, run.used, run.absent], args: [...head, packed] };
}

/** Remembers the last answer of `work`: a reader asks about the same sets until the registry changes. */
function lastAnswer<Question extends object, Answer>(work: (question: Question) => Answer) {
  let last: { readonly question: Question; readonly answer: Answer } | undefined;
  return (question: Question): Answer => {
    if (last?.question !== question) last = { question, answer: work(question) };
    return last.answer;
  };
}

/** What a shard holds instead of ids that stand in its overflow. */
function isMarker(value: Value | undefined): boolean {
  return value?.length === 1 && value[0] === 0;
}
