// What is in the schema: tables, the functions that write and find members, and what analysts read. One entry for each version of the layout,
// never changed once released. Names begin with rollcall_, so that a schema may be shared with other tables.

/** The layout that this version reads and writes: as many migrations as there are. */
export const LAYOUT = 1;

/** Tables, with the rights that a process needs that syncs. One that only asks needs SELECT. */
export const TABLE_RIGHTS: ReadonlyMap<string, readonly string[]> = new Map([
  ["rollcall_layout", ["SELECT"]],
  ["rollcall_environments", ["SELECT", "INSERT", "UPDATE"]],
  ["rollcall_segments", ["SELECT", "INSERT", "UPDATE"]],
  ["rollcall_history", ["SELECT", "INSERT", "DELETE"]],
  ["rollcall_member_sets", ["SELECT", "INSERT", "UPDATE", "DELETE"]],
  ["rollcall_blocks", ["SELECT", "INSERT", "UPDATE", "DELETE"]],
]);

/** The statement that brings `schema` up to {@link LAYOUT}, from whatever it is. Harmless where that was done already. */
export function migration(schema: string): string {
  const steps = MIGRATIONS.map(
    (step, index) => `
  IF version < ${index + 1} THEN
${step(`"${schema}"`)}
    INSERT INTO "${schema}".rollcall_layout (version) VALUES (${index + 1});
  END IF;`,
  );
  // One transaction: all of it or nothing. The lock lets one process at a time in, and the next one finds the work done.
  return `DO $migration$
DECLARE
  version int := 0;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('rollcall layout of ' || '${schema}', 0));
  -- Even IF NOT EXISTS wants the right to create it.
  IF to_regnamespace('"${schema}"') IS NULL THEN
    CREATE SCHEMA "${schema}";
  END IF;
  IF to_regclass('"${schema}".rollcall_layout') IS NULL THEN
    CREATE TABLE "${schema}".rollcall_layout (
      version int PRIMARY KEY,
      since timestamptz NOT NULL DEFAULT now()
    );
  END IF;
  SELECT coalesce(max(l.version), 0) INTO version FROM "${schema}".rollcall_layout l;${steps.join("")}
END
$migration$`;
}

const MIGRATIONS: readonly ((schema: string) => string)[] = [
  (schema) => `
    CREATE TABLE ${schema}.rollcall_environments (
      name text COLLATE "C" PRIMARY KEY,
      revision text NOT NULL,
      record text NOT NULL,
      epoch text NOT NULL
    ) WITH (fillfactor = 50);

    -- The columns behind the record are what the view needs of it.
    CREATE TABLE ${schema}.rollcall_segments (
      environment text COLLATE "C",
      key text COLLATE "C",
      revision text NOT NULL,
      record text NOT NULL,
      context_kind text NOT NULL,
      included_set bigint,
      excluded_set bigint,
      PRIMARY KEY (environment, key)
    ) WITH (fillfactor = 50);

    CREATE TABLE ${schema}.rollcall_history (
      environment text COLLATE "C",
      segment_key text COLLATE "C",
      number bigint GENERATED ALWAYS AS IDENTITY,
      report text NOT NULL,
      PRIMARY KEY (environment, segment_key, number)
    );

    -- A set and its fence. An identity never comes back, also where a transaction that took it fails.
    CREATE TABLE ${schema}.rollcall_member_sets (
      id bigint GENERATED ALWAYS AS IDENTITY (MINVALUE 1 MAXVALUE 4294967295) PRIMARY KEY,
      environment text COLLATE "C" NOT NULL,
      shard_bits int NOT NULL,
      dropped boolean NOT NULL DEFAULT false,
      segment_key text COLLATE "C" NOT NULL,
      generation bigint NOT NULL,
      token bigint NOT NULL,
      holder text COLLATE "C" NOT NULL
    ) WITH (fillfactor = 50);
    CREATE INDEX ON ${schema}.rollcall_member_sets (environment);

    -- The members of one set in one shard, in any order, and a Bloom filter of them: two bits for each member, of 512. It has the bits
    -- of all members, and may have more. The primary key holds it, and has the blocks of one shard side by side: a lookup goes past
    -- most sets that a context is not in without reading their blocks. The other index has the blocks of one set side by side.
    -- What a drop or a merge leaves behind is cleared early and not when a fifth of the table is dead. A row keeps what it
    -- replaces on its page as long as there is room (fillfactor), which spares most of the log. A block that has grown stays in its
    -- row for as long as a page can hold it.
    CREATE TABLE ${schema}.rollcall_blocks (
      set_id bigint,
      shard int,
      filter bit(512) NOT NULL,
      members uuid[] NOT NULL,
      PRIMARY KEY (shard, set_id) INCLUDE (filter)
    ) WITH (
      fillfactor = 85,
      toast_tuple_target = 8160,
      autovacuum_vacuum_scale_factor = 0.05,
      autovacuum_vacuum_threshold = 1000,
      autovacuum_vacuum_insert_scale_factor = 0.2,
      autovacuum_analyze_scale_factor = 0.05,
      autovacuum_vacuum_cost_limit = 1000
    );
    CREATE INDEX ON ${schema}.rollcall_blocks (set_id, shard);
    -- Hashes do not compress.
    ALTER TABLE ${schema}.rollcall_blocks ALTER COLUMN members SET STORAGE EXTERNAL;

    -- Lets a writer in and raises the fence if it is newer, or says why not. Until the transaction ends the fence stays as it is:
    -- whoever takes over waits for writes that were let in, and writes that come after it find the newer fence.
    CREATE FUNCTION ${schema}.rollcall_admit(
      p_environment text, p_set bigint, p_segment text, p_generation bigint, p_token bigint, p_holder text
    ) RETURNS text LANGUAGE plpgsql AS $body$
    DECLARE
      fence ${schema}.rollcall_member_sets;
    BEGIN
      -- Looked at first without a lock: two writers that both held the weak one could not both get the strong one.
      IF EXISTS (SELECT FROM ${schema}.rollcall_member_sets s WHERE s.id = p_set AND s.token < p_token) THEN
        SELECT * INTO fence FROM ${schema}.rollcall_member_sets s
          WHERE s.id = p_set AND s.environment = p_environment FOR NO KEY UPDATE;
      ELSE
        SELECT * INTO fence FROM ${schema}.rollcall_member_sets s
          WHERE s.id = p_set AND s.environment = p_environment FOR SHARE;
      END IF;
      IF NOT FOUND OR fence.dropped THEN
        RETURN 'dropped';
      ELSIF fence.segment_key <> p_segment OR fence.generation <> p_generation THEN
        RETURN 'foreign';
      ELSIF fence.token > p_token OR (fence.token = p_token AND fence.holder <> p_holder) THEN
        RETURN 'newer';
      ELSIF fence.token < p_token THEN
        UPDATE ${schema}.rollcall_member_sets s SET token = p_token, holder = p_holder WHERE s.id = p_set;
      END IF;
      RETURN NULL;
    END
    $body$;

    -- The two bits of a member: one in each half, by its last two bytes. A part of the layout, as the client computes them too.
    CREATE FUNCTION ${schema}.rollcall_filter(member uuid) RETURNS bit
      LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $body$
      SELECT set_bit(set_bit(0::bit(512), get_byte(uuid_send(member), 14), 1), 256 + get_byte(uuid_send(member), 15), 1)
    $body$;

    -- Changes one block and counts; p_filter has the bits of what is added. Only after rollcall_admit, in the same transaction. Never by
    -- reading the whole table: a plan that was made while the table was small would, and the server keeps plans.
    CREATE FUNCTION ${schema}.rollcall_write_block(
      p_set bigint, p_shard int, p_filter bit(512), p_adds uuid[], p_removes uuid[], OUT added int, OUT removed int
    ) LANGUAGE plpgsql SET enable_seqscan = off AS $body$
    DECLARE
      present uuid[];
      bits bit(512);
      fresh uuid[] := p_adds;
      kept uuid[];
    BEGIN
      LOOP
        SELECT b.members, b.filter INTO present, bits FROM ${schema}.rollcall_blocks b
          WHERE b.set_id = p_set AND b.shard = p_shard FOR UPDATE;
        EXIT WHEN FOUND;
        added := cardinality(p_adds);
        removed := 0;
        IF added > 0 THEN
          INSERT INTO ${schema}.rollcall_blocks (set_id, shard, filter, members) VALUES (p_set, p_shard, p_filter, p_adds)
            ON CONFLICT (shard, set_id) DO NOTHING;
          -- The same write over another connection was quicker: look again.
          CONTINUE WHEN NOT FOUND;
        END IF;
        RETURN;
      END LOOP;
      kept := present;
      -- Each with each, which is quickest for a block as core cuts it, and would take hours for one that a huge delta has made of a
      -- small set. EXCEPT hashes or sorts, whatever the planner believes of the arrays.
      IF cardinality(p_adds)::bigint * cardinality(present) > 1000000 THEN
        fresh := ARRAY(SELECT unnest(p_adds) EXCEPT SELECT unnest(present));
      ELSIF cardinality(p_adds) > 0 THEN
        fresh := ARRAY(SELECT a FROM unnest(p_adds) a WHERE a <> ALL (present));
      END IF;
      IF cardinality(p_removes)::bigint * cardinality(present) > 1000000 THEN
        kept := ARRAY(SELECT unnest(present) EXCEPT SELECT unnest(p_removes));
      ELSIF cardinality(p_removes) > 0 THEN
        kept := ARRAY(SELECT m FROM unnest(present) m WHERE m <> ALL (p_removes));
      END IF;
      added := cardinality(fresh);
      removed := cardinality(present) - cardinality(kept);
      IF added = 0 AND removed = 0 THEN
        RETURN;
      ELSIF added + cardinality(kept) = 0 THEN
        DELETE FROM ${schema}.rollcall_blocks b WHERE b.set_id = p_set AND b.shard = p_shard;
      ELSE
        -- Bits of removed members stay until there are two and a half for each member: making them anew costs as much as some changes.
        bits := bits | p_filter;
        IF 2 * bit_count(bits) > 5 * (added + cardinality(kept)) THEN
          SELECT bit_or(${schema}.rollcall_filter(m)) INTO bits FROM unnest(fresh || kept) m;
        END IF;
        -- New members go in front: then the log takes only them, since the rest of the row is as it was.
        UPDATE ${schema}.rollcall_blocks b SET filter = bits, members = fresh || kept
          WHERE b.set_id = p_set AND b.shard = p_shard;
      END IF;
    END
    $body$;

    -- The sets out of p_sets, from p_least to p_most, that a context is in, whose shard in them is p_shard and whose bits are p_filter.
    -- Where these numbers are close together: by the filters of all sets between them, and then the blocks of those that are left.
    -- Else, so that sets that were not asked about cost nothing, and where there are few: block by block. Here, because the server keeps
    -- the plans of a function and makes that of a statement anew each time, which takes longer than the lookup; and never by reading
    -- the whole table, as above.
    CREATE FUNCTION ${schema}.rollcall_find_one(
      p_sets bigint[], p_least bigint, p_most bigint, p_shard int, p_filter bit(512), p_hash uuid
    ) RETURNS bigint[] LANGUAGE plpgsql STABLE PARALLEL SAFE SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $body$
    BEGIN
      IF cardinality(p_sets) <= 4 OR p_most - p_least >= 4 * cardinality(p_sets) THEN
        RETURN ARRAY(
          SELECT s.id FROM unnest(p_sets) AS s (id)
          WHERE p_hash = ANY (
            (SELECT b.members FROM ${schema}.rollcall_blocks b WHERE b.shard = p_shard AND b.set_id = s.id)::uuid[]));
      END IF;
      RETURN ARRAY(
        SELECT likely.set_id
        FROM (
          SELECT b.set_id FROM ${schema}.rollcall_blocks b
          WHERE b.shard = p_shard AND b.set_id BETWEEN p_least AND p_most AND (b.filter & p_filter) = p_filter
          OFFSET 0
        ) AS likely
        WHERE likely.set_id = ANY (p_sets) AND p_hash = ANY (
          (SELECT b.members FROM ${schema}.rollcall_blocks b WHERE b.shard = p_shard AND b.set_id = likely.set_id)::uuid[]));
    END
    $body$;

    -- The same for many contexts, or for sets of several sizes: each line of the arrays asks about p_sets[first : last]. For one it takes
    -- a fifth longer at least, so that has a function of its own.
    CREATE FUNCTION ${schema}.rollcall_find(
      p_sets bigint[], p_least bigint, p_most bigint,
      p_firsts int[], p_lasts int[], p_shards int[], p_filters bit(512)[], p_hashes uuid[]
    ) RETURNS TABLE (line bigint, ids bigint[])
      LANGUAGE plpgsql STABLE PARALLEL SAFE SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $body$
    BEGIN
      IF cardinality(p_sets) <= 4 OR p_most - p_least >= 4 * cardinality(p_sets) THEN
        RETURN QUERY
          SELECT asked.line, ARRAY(
            SELECT s.id FROM unnest(p_sets[asked.first : asked.last]) AS s (id)
            WHERE asked.hash = ANY (
              (SELECT b.members FROM ${schema}.rollcall_blocks b WHERE b.shard = asked.shard AND b.set_id = s.id)::uuid[]))
          FROM unnest(p_firsts, p_lasts, p_shards, p_hashes) WITH ORDINALITY AS asked (first, last, shard, hash, line);
        RETURN;
      END IF;
      RETURN QUERY
        SELECT asked.line, ARRAY(
          SELECT likely.set_id
          FROM (
            SELECT b.set_id FROM ${schema}.rollcall_blocks b
            WHERE b.shard = asked.shard AND b.set_id BETWEEN p_least AND p_most AND (b.filter & asked.filter) = asked.filter
            OFFSET 0
          ) AS likely
          WHERE likely.set_id = ANY (p_sets[asked.first : asked.last]) AND asked.hash = ANY (
            (SELECT b.members FROM ${schema}.rollcall_blocks b WHERE b.shard = asked.shard AND b.set_id = likely.set_id)::uuid[]))
        FROM unnest(p_firsts, p_lasts, p_shards, p_filters, p_hashes) WITH ORDINALITY AS asked (first, last, shard, filter, hash, line);
    END
    $body$;

    -- The context hash of a key, in an environment without a pepper: the first 16 bytes of SHA-256 (FIPS 180-4) of its UTF-8.
    CREATE FUNCTION ${schema}.rollcall_context_hash(key text) RETURNS uuid
      LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
      AS $body$ SELECT encode(substring(sha256(convert_to(key, 'UTF8')) FOR 16), 'hex')::uuid $body$;

    -- Every member of every list that is current. A statement sees a segment before a snapshot or after it, and nothing between.
    CREATE VIEW ${schema}.rollcall_memberships AS
      SELECT s.environment, s.key AS segment, s.context_kind, l.list, m.context_hash
      FROM ${schema}.rollcall_segments s
      CROSS JOIN LATERAL (VALUES ('included', s.included_set), ('excluded', s.excluded_set)) AS l (list, set_id)
      JOIN ${schema}.rollcall_blocks b ON b.set_id = l.set_id
      CROSS JOIN LATERAL unnest(b.members) AS m (context_hash);
`,
];
