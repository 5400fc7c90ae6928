// The records of one environment: itself, its segments and their history. Each call is one statement.

import {
  decodeEnvironment,
  decodeReport,
  decodeSegment,
  type EnvironmentName,
  encodeEnvironment,
  encodeSegment,
  HISTORY_LIMIT,
  missingRecord,
  otherTimeline,
  RollcallError,
  revisionConflict,
  type Segment,
  type StoreRecords,
  type Timeline,
} from "@rollcall/core";
import type { Connection } from "./connection.js";

/** The registry of `environment` in `schema`. What moves the epoch notifies `channel`, if there is one. */
export function createRegistry(
  { read, write }: Connection,
  options: { readonly environment: EnvironmentName; readonly schema: string; readonly channel: string | undefined },
): StoreRecords {
  const { environment, channel } = options;
  const statements = statementsFor(`"${options.schema}"`);

  async function readEnvironment(column: "record" | "epoch"): Promise<string> {
    const [row] = await read(statements.getEnvironment, [environment]);
    // Each new connection may lead to another server, and a standby answers readers with what was true some time ago.
    if (row?.is_standby === true)
      throw new RollcallError(
        "store_unavailable",
        "PostgreSQL: the server is a standby now, which lags behind what was acknowledged; repeat when its name leads to the primary",
      );
    if (row === undefined) throw missingRecord(environment);
    return String(row[column]);
  }

  return {
    getEnvironment: async () => decodeEnvironment(await readEnvironment("record")),
    async putEnvironment(next, expectedRevision) {
      const values = [environment, expectedRevision, next.revision, encodeEnvironment(next)];
      const written = await write(statements.putEnvironment, values);
      if (written.length === 0) throw revisionConflict("the environment record");
    },
    async getSegment(key) {
      const [row] = await read(statements.getSegment, [environment, key]);
      return row === undefined ? undefined : decodeSegment(String(row.record));
    },
    async listSegments() {
      const rows = await read(statements.listSegments, [environment]);
      return rows.map(({ record }) => decodeSegment(String(record)));
    },
    async putSegment(next, expectedRevision, { changesAnswers = true, timeline, reports = [] } = {}) {
      const { key, revision, contextKind } = next;
      const told = changesAnswers ? channel : undefined;
      const record = [encodeSegment(next), contextKind, ...currentSets(next)];
      const values = [environment, key, revision, ...record, told ?? null, timeline ?? null];
      if (expectedRevision !== undefined) values.push(expectedRevision);
      const put = expectedRevision === undefined ? statements.createSegment : statements.replaceSegment;
      const [written] =
        reports.length === 0
          ? await write(put.alone, values)
          : await write(put.reported, [...values, reports.map((report) => JSON.stringify(report))]);
      const present = written?.timeline as Timeline;
      if (timeline !== undefined && timeline !== present) throw otherTimeline(`segment ${key}`);
      if (Number(written?.segments) === 0) throw revisionConflict(`segment ${key}`);
      if (Number(written?.epochs) === 0) throw missingRecord(environment);
      return present;
    },
    getEpoch: () => readEnvironment("epoch"),

    async getHistory(key) {
      const rows = await read(statements.getHistory, [environment, key]);
      return rows.map(({ report }) => decodeReport(String(report)));
    },
  };
}

/** The sets of its lists, for the view. */
function currentSets({ state, included, excluded }: Segment): (number | null)[] {
  return [included, excluded].map(({ set }) => (state === "live" && set !== undefined ? set.id : null));
}

function statementsFor(schema: string) {
  const environments = `${schema}.rollcall_environments`;
  const segments = `${schema}.rollcall_segments`;
  const history = `${schema}.rollcall_history`;
  // The segment first, then the environment, in every transaction: so nobody waits for one who waits for him. Not a counter: a server
  // that was restored from a copy would count through numbers that readers have seen.
  // The timeline of the log, which a server that takes over raises before it takes its first write. Not as `pg_control_checkpoint` has
  // it, which learns of that later.
  const timeline = "left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)";
  const isTimeline = `($9::text IS NULL OR $9 = ${timeline})`;
  const movingEpoch = (writeSegment: string, history = "") => `
    WITH segment AS (${writeSegment} RETURNING 1),
      epoch AS (UPDATE ${environments} SET epoch = $3 WHERE name = $1 AND EXISTS (SELECT FROM segment) RETURNING 1)${history}
    SELECT (SELECT count(*) FROM segment) AS segments, (SELECT count(*) FROM epoch) AS epochs, ${timeline} AS timeline,
      (SELECT pg_notify($8, '') FROM epoch WHERE $8::text IS NOT NULL)`;
  // What forgets does not see what is added: all of a statement sees the table as it was before. Nobody else adds to this history
  // meanwhile: the writer knows the newest revision, so he began after the one before him had ended.
  const addingReports = (reports: string) => `,
      added AS (INSERT INTO ${history} (environment, segment_key, report)
        SELECT $1, $2, report FROM unnest(${reports}) WITH ORDINALITY AS added (report, place)
        WHERE EXISTS (SELECT FROM segment) ORDER BY place),
      forgotten AS (DELETE FROM ${history} WHERE environment = $1 AND segment_key = $2 AND EXISTS (SELECT FROM segment) AND number <= (
        SELECT number FROM ${history} WHERE environment = $1 AND segment_key = $2
        ORDER BY number DESC OFFSET ${HISTORY_LIMIT} - cardinality(${reports}) LIMIT 1))`;
  const putting = (reports: string, writeSegment: string) => ({
    alone: movingEpoch(writeSegment),
    reported: movingEpoch(writeSegment, addingReports(reports)),
  });
  return {
    getEnvironment: `SELECT record, epoch, pg_is_in_recovery() AS is_standby FROM ${environments} WHERE name = $1`,
    putEnvironment: `
      UPDATE ${environments} SET revision = $3, record = $4 WHERE name = $1 AND revision = $2 RETURNING 1`,
    getSegment: `SELECT record FROM ${segments} WHERE environment = $1 AND key = $2`,
    listSegments: `SELECT record FROM ${segments} WHERE environment = $1`,
    createSegment: putting(
      "$10::text[]",
      `
      INSERT INTO ${segments} (environment, key, revision, record, context_kind, included_set, excluded_set)
      SELECT $1, $2, $3, $4, $5, $6, $7 WHERE ${isTimeline} ON CONFLICT (environment, key) DO NOTHING`,
    ),
    replaceSegment: putting(
      "$11::text[]",
      `
      UPDATE ${segments} SET revision = $3, record = $4, context_kind = $5, included_set = $6, excluded_set = $7
      WHERE environment = $1 AND key = $2 AND revision = $10 AND ${isTimeline}`,
    ),
    getHistory: `
      SELECT report FROM ${history} WHERE environment = $1 AND segment_key = $2 ORDER BY number DESC LIMIT ${HISTORY_LIMIT}`,
  };
}
