// The store on PostgreSQL: one row for each block of a member set, merged by the database. Every call is one statement, and so one
// transaction, which any server process behind a pooler may run; where one is not enough, repeating the call completes it.

import {
  type Block,
  CONTEXT_HASH_BYTES,
  type ContextHashes,
  concatHashes,
  type EnvironmentName,
  environmentNameSchema,
  type Fence,
  type FenceRefusal,
  type HandleState,
  hashAt,
  hashCount,
  idsByShardBits,
  type MemberSet,
  type MemberSetId,
  opening,
  parseName,
  RollcallError,
  refusedByFence,
  requireOpen,
  type SegmentKey,
  type SegmentStore,
  STORE_PORT_VERSION,
  type StoreCapabilities,
  type StoredMemberSet,
  shardBitsFor,
  shardOf,
} from "@rollcall/core";
import { decodeHashes, encodeHashes } from "./binary-array.js";
import { encodeFilters, filterOf } from "./block-filter.js";
import { createConnection, type PostgresClient, whileOpen } from "./connection.js";
import { type ClientSource, channelOf, clientSource, listenOn } from "./epoch-channel.js";
import { openEnvironment } from "./layout.js";
import { poolFor } from "./pool.js";
import { createRegistry } from "./registry.js";
import { type PostgresStoreOptions, settingsOf } from "./store-options.js";
import { parseStoreUrl } from "./store-url.js";

/** Members that a block holds at most on average when its set is written. It may become four times as large before core cuts it anew. */
const MOST_MEMBERS_PER_BLOCK = 64;
/** Shards that one step of a scan reads. */
const SHARDS_PER_SCAN = 256;
/** Numbers in use that an allocation passes over. */
const MOST_TAKEN_IDS = 10_000;
/** Shards that one step of a drop empties. */
const SHARDS_PER_DROP = 4_096;

const CAPABILITIES: StoreCapabilities = {
  portVersion: STORE_PORT_VERSION,
  fencing: "set",
  window: { maxMembers: 32_768, maxBlocks: 1_024, concurrency: 4 },
  maxLookup: 1_024,
};

/**
 * A store in the database of `client`: a `Pool` or a `Client` of pg, or anything else with their `query`, which stays the caller's to
 * close; or a URL (see {@link storeFactory}), for which a pool is made and closed with the store. No statement of others may be open in
 * a transaction on a `Client` that the store uses. A reader on a pool listens on one more connection, made as the pool's are.
 * @throws `invalid_request` if an option or the URL is not valid.
 */
export function createPostgresStore(client: PostgresClient | string, options: PostgresStoreOptions = {}): SegmentStore {
  const url = typeof client === "string" ? parseStoreUrl(client) : undefined;
  const settings = settingsOf(options, url?.options ?? {});
  const environment = parseName(environmentNameSchema, settings.environment, "the environment") as EnvironmentName;
  const pool = url === undefined ? undefined : poolFor(url, settings.timeoutMs);
  const target = pool ?? (client as PostgresClient);
  const watches = new Set<{ readonly end: () => void; readonly ended: Promise<void> }>();
  const onClosed = () => {
    for (const { end } of watches) end();
  };
  const connection = createConnection(target, { ...settings, environment, onClosed });
  const source = settings.listen ? clientSource(target) : undefined;
  const channel = settings.listen ? channelOf(settings.schema, environment) : undefined;
  const state: HandleState = { opened: false, closed: false };
  const { read, write } = whileOpen(connection, environment, state);
  const statements = statementsFor(`"${settings.schema}"`);

  const fenceValues = ({ id }: MemberSet, { segmentKey, generation, token, holder }: Fence) => {
    return [environment, id, segmentKey, generation, token, holder];
  };

  function watchOn(source: ClientSource, channel: string): NonNullable<SegmentStore["watchEpoch"]> {
    return async (onMoved, signal) => {
      requireOpen(environment, state);
      const stop = new AbortController();
      const end = () => stop.abort();
      if (signal.aborted) end();
      signal.addEventListener("abort", end);
      const ended = listenOn(channel, { ...settings, source, environment, onMoved, signal: stop.signal });
      const watch = { end, ended };
      watches.add(watch);
      try {
        await ended;
      } finally {
        watches.delete(watch);
        signal.removeEventListener("abort", end);
      }
    };
  }

  function requireAdmitted(set: MemberSet, fence: Fence, refusal: unknown): void {
    if (refusal !== null) throw refusedByFence(set, fence, refusal as FenceRefusal);
  }

  return {
    ...createRegistry({ read, write }, { environment, schema: settings.schema, channel }),
    ...(source === undefined || channel === undefined ? {} : { watchEpoch: watchOn(source, channel) }),
    environment,
    capabilities: CAPABILITIES,

    open: opening(environment, state, () => openEnvironment(connection, { ...settings, environment })),
    async close() {
      if (state.closed) return;
      state.closed = true;
      for (const { end } of watches) end();
      // How each of them ended is for those who began it.
      await Promise.allSettled(Array.from(watches, ({ ended }) => ended));
      await pool?.end();
    },

    async allocateMemberSet(shardBits, fence) {
      const { segmentKey, generation, token, holder } = fence;
      const values = [environment, shardBits, segmentKey, generation, token, holder];
      for (let taken = 0; taken < MOST_TAKEN_IDS; taken++) {
        const [row] = await write(statements.allocate, values);
        // None where the number is in use: the sequence was set back by hand, or is behind on a server that was a logical replica.
        if (row !== undefined) return { id: Number(row.id) as MemberSetId, shardBits };
      }
      throw new RollcallError(
        "corrupt_data",
        `PostgreSQL: the sequence of rollcall_member_sets gives numbers that are in use; set it to the greatest id, as the PostgreSQL page says under Moving`,
      );
    },
    chooseShardBits: ({ members }) => shardBitsFor(members, MOST_MEMBERS_PER_BLOCK),
    async raiseFence(set, fence) {
      const [row] = await write(statements.raiseFence, fenceValues(set, fence));
      requireAdmitted(set, fence, row?.refusal);
    },
    async writeBlocks(set, blocks, fence) {
      const [row] = await write(statements.writeBlocks, [...fenceValues(set, fence), ...blockValues(blocks)]);
      requireAdmitted(set, fence, row?.refusal);
      return { added: Number(row?.added), removed: Number(row?.removed) };
    },
    async findMemberSets(hashes, among) {
      const asked = askedAbout(among);
      const [size, ...otherSizes] = asked.sizes;
      // The usual question: one context, among sets of one size.
      if (size !== undefined && otherSizes.length === 0 && hashes.length === CONTEXT_HASH_BYTES) {
        const values = [...asked.values, shardOf(hashes, 0, size.shardBits), filterOf(hashes), uuidOf(hashes)];
        const [row] = await read(statements.findOne, values, { prepared: true });
        return [memberSetIds(row?.ids ?? [])];
      }
      const found: MemberSetId[][] = Array.from({ length: hashCount(hashes) }, () => []);
      if (size === undefined) return found;
      const rows = await read(statements.find, lookupValues(hashes, asked));
      for (const { line, ids } of rows) found[(Number(line) - 1) % found.length]?.push(...memberSetIds(ids));
      return found;
    },
    async *scanMembers(set) {
      const shards = 2 ** set.shardBits;
      for (let from = 0; from < shards; from += SHARDS_PER_SCAN) {
        const rows = await read(statements.scan, [environment, set.id, from, from + SHARDS_PER_SCAN]);
        if (rows.length > 0) yield concatHashes(rows.map(({ members }) => decodeHashes(members as Buffer)));
      }
    },
    async dropMemberSets(sets) {
      const ids = sets.map(({ id }) => id);
      // Waits for writes that were let in. None comes after it.
      const dropped = await write(statements.dropFences, [environment, ids]);
      for (const { id, shard_bits } of dropped) {
        const shards = 2 ** Number(shard_bits);
        for (let from = 0; from < shards; from += SHARDS_PER_DROP)
          await write(statements.dropBlocks, [id, from, from + SHARDS_PER_DROP]);
        await write(statements.dropSet, [id]);
      }
    },
    async listMemberSets() {
      const rows = await read(statements.listSets, [environment]);
      return rows.map((row): StoredMemberSet => {
        const set = { id: Number(row.id) as MemberSetId, shardBits: Number(row.shard_bits) };
        if (row.dropped === true) return set;
        const segmentKey = String(row.segment_key) as SegmentKey;
        const fence = { segmentKey, generation: Number(row.generation), holder: String(row.holder) };
        return { ...set, fence: { ...fence, token: Number(row.token) } };
      });
    },
  };
}

/** The window's changes in arrays: for each block its shard, and where its adds and removes end in all of them. */
function blockValues(blocks: readonly Block[]): unknown[] {
  // Core's order. But it is also what keeps two who write the same blocks from waiting for each other in a circle, and that is not left to others.
  const inOrder = blocks.toSorted((a, b) => a.shard - b.shard);
  const ends = (runOf: (block: Block) => ContextHashes) => {
    let end = 0;
    return inOrder.map((block) => {
      end += hashCount(runOf(block));
      return end;
    });
  };
  return [
    numbers(inOrder.map(({ shard }) => shard)),
    numbers(ends(({ adds }) => adds)),
    numbers(ends(({ removes }) => removes)),
    encodeFilters(inOrder.map(({ adds }) => filterOf(adds))),
    encodeHashes(inOrder.map(({ adds }) => adds)),
    encodeHashes(inOrder.map(({ removes }) => removes)),
  ];
}

/** The sets of a lookup, those of one size next to each other. */
interface AskedSets {
  /** Their ids, the least and the greatest of them: as values for parameters. */
  readonly values: readonly [ids: string, least: number, most: number];
  /** For each size where it begins and ends among the ids, from 1. */
  readonly sizes: readonly { readonly shardBits: number; readonly first: number; readonly last: number }[];
}

/** By the array: a reader passes the same one until the registry changes. */
const askedSets = new WeakMap<readonly MemberSet[], AskedSets>();

function askedAbout(among: readonly MemberSet[]): AskedSets {
  const known = askedSets.get(among);
  if (known !== undefined) return known;
  const ids: MemberSetId[] = [];
  const sizes = Array.from(idsByShardBits(among), ([shardBits, ofSize]) => {
    const first = ids.length + 1;
    ids.push(...ofSize);
    return { shardBits, first, last: ids.length };
  });
  const values = [numbers(ids), Math.min(...ids), Math.max(...ids)] as const;
  const asked = { values, sizes };
  askedSets.set(among, asked);
  return asked;
}

/** The sets; for each size all hashes, a line for each: which sets to look into, and where; and the hashes themselves. */
function lookupValues(hashes: ContextHashes, { values, sizes }: AskedSets): unknown[] {
  const [firsts, lasts, shards]: [number[], number[], number[]] = [[], [], []];
  for (const { shardBits, first, last } of sizes) {
    for (let index = 0; index < hashCount(hashes); index++) {
      firsts.push(first);
      lasts.push(last);
      shards.push(shardOf(hashes, index, shardBits));
    }
  }
  const each = Array.from({ length: hashCount(hashes) }, (_, index) => hashAt(hashes, index));
  const forEachSize = <T>(ofHashes: readonly T[]) => sizes.flatMap(() => ofHashes);
  const [filters, lines] = [forEachSize(each.map(filterOf)), forEachSize(each)];
  return [...values, numbers(firsts), numbers(lasts), numbers(shards), encodeFilters(filters), encodeHashes(lines)];
}

function memberSetIds(ids: unknown): MemberSetId[] {
  return (ids as readonly string[]).map((id) => Number(id) as MemberSetId);
}

function uuidOf(hash: ContextHashes): string {
  return Buffer.from(hash.buffer, hash.byteOffset, hash.byteLength).toString("hex");
}

/** An array of numbers as PostgreSQL reads it. */
function numbers(values: readonly number[]): string {
  return `{${values.join(",")}}`;
}

function statementsFor(schema: string) {
  const sets = `${schema}.rollcall_member_sets`;
  const blocks = `${schema}.rollcall_blocks`;
  // With its types: else the server might prefer another function of that name, which somebody has put there.
  const admit = `${schema}.rollcall_admit($1::text, $2::bigint, $3::text, $4::bigint, $5::bigint, $6::text)`;
  return {
    allocate: `
      INSERT INTO ${sets} (environment, shard_bits, segment_key, generation, token, holder)
      VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO NOTHING RETURNING id`,
    raiseFence: `SELECT ${admit} AS refusal`,
    // The refusal comes first, and a block is only looked at where there is none. Each call of a function sees what was committed
    // before it, and not before the statement: what the fence had to wait for too.
    writeBlocks: `
      SELECT fence.refusal, coalesce(sum((changed.counts).added), 0) AS added, coalesce(sum((changed.counts).removed), 0) AS removed
      FROM (SELECT ${admit} AS refusal OFFSET 0) AS fence
      LEFT JOIN LATERAL (
        SELECT ${schema}.rollcall_write_block($2::bigint, b.shard, b.filter,
          ($11::uuid[])[b.adds_after + 1 : b.adds_end], ($12::uuid[])[b.removes_after + 1 : b.removes_end]) AS counts
        FROM (
          SELECT u.shard, u.filter, u.adds_end, lag(u.adds_end, 1, 0) OVER (ORDER BY u.number) AS adds_after,
            u.removes_end, lag(u.removes_end, 1, 0) OVER (ORDER BY u.number) AS removes_after
          FROM unnest($7::int[], $8::int[], $9::int[], $10::bit(512)[])
            WITH ORDINALITY AS u (shard, adds_end, removes_end, filter, number)
          ORDER BY u.number
        ) AS b
        WHERE fence.refusal IS NULL
        OFFSET 0
      ) AS changed ON true
      GROUP BY fence.refusal`,
    findOne: `SELECT ${schema}.rollcall_find_one($1::bigint[], $2::bigint, $3::bigint, $4::int, $5::bit(512), $6::uuid) AS ids`,
    find: `
      SELECT line, ids FROM ${schema}.rollcall_find(
        $1::bigint[], $2::bigint, $3::bigint, $4::int[], $5::int[], $6::int[], $7::bit(512)[], $8::uuid[])`,
    // By ranges. Without statistics a planner would read all that is left of the set and sort it, for the first so many in order.
    scan: `
      SELECT array_send(b.members) AS members FROM ${blocks} b
      WHERE b.set_id = $2 AND b.shard >= $3 AND b.shard < $4
        AND EXISTS (SELECT FROM ${sets} s WHERE s.id = $2 AND s.environment = $1)`,
    dropFences: `
      WITH known AS (
        SELECT s.id FROM ${sets} s WHERE s.environment = $1 AND s.id = ANY ($2::bigint[]) ORDER BY s.id FOR UPDATE)
      UPDATE ${sets} s SET dropped = true FROM known WHERE s.id = known.id RETURNING s.id, s.shard_bits`,
    // The set first: two who drop the same one come after each other. Its number stands beside each table, or a planner could not
    // tell in which partition, or on which node, it is.
    dropBlocks: `
      WITH known AS (SELECT FROM ${sets} s WHERE s.id = $1 FOR UPDATE)
      DELETE FROM ${blocks} b USING known WHERE b.set_id = $1 AND b.shard >= $2 AND b.shard < $3`,
    dropSet: `DELETE FROM ${sets} WHERE id = $1 AND dropped`,
    listSets: `SELECT id, shard_bits, dropped, segment_key, generation, token, holder FROM ${sets} WHERE environment = $1`,
  };
}
