// The records of one environment: its layout, itself, its segments and their history. A record is kept behind its revision and a
// line feed, so that a script can compare it.

import { randomUUID } from "node:crypto";
import {
  decodeEnvironment,
  decodeReport,
  decodeSegment,
  type EnvironmentName,
  encodeEnvironment,
  encodeSegment,
  HISTORY_LIMIT,
  handleNotOpen,
  missingRecord,
  newEnvironment,
  otherTimeline,
  RollcallError,
  revisionConflict,
  type StoreRecords,
  type Timeline,
} from "@rollcall/core";
import type { Command } from "./commands.js";
import type { Connection } from "./connection.js";
import type { RecordKeys } from "./record-key.js";
import * as scripts from "./script.js";
import { isSlotCount } from "./store-options.js";

/** The layout that this version reads and writes. */
const LAYOUT = 1;
/** Records that one command of a listing reads. */
const RECORDS_PER_STEP = 500;

/** What opening learned of an environment. */
interface OpenedEnvironment {
  /** Into how many runs its shards are dealt. */
  readonly slots: number;
  /** The layout record: it holds a name that no other environment has had. */
  readonly layout: string;
}

/** What a {@link Registry} goes by. */
export interface RegistryOptions {
  readonly environment: EnvironmentName;
  readonly keys: RecordKeys;
  /** Whether it makes no environment. */
  readonly readOnly: boolean;
  /** Into how many runs a new environment deals its shards. */
  readonly slots: number;
}

/** The registry of one environment. */
export interface Registry {
  readonly records: StoreRecords;
  /** Reads the layout, which it makes first unless it is there. @throws `layout_mismatch`, `store_read_only`. */
  open(): Promise<void>;
  /** @throws `closed` after {@link close}. */
  requireNotClosed(): void;
  /** Answers whether it was not closed before. */
  close(): boolean;
  /** What opening learned. @throws `closed` before it and after {@link close}. */
  opened(): OpenedEnvironment;
  /**
   * A server that comes back without its data knows nobody, and would answer that nobody is a member. @throws `corrupt_data` if the
   * environment is not the one that was opened.
   */
  requireSame(send: Connection["send"]): Promise<void>;
}

/** The registry of `environment`. */
export function createRegistry(connection: Connection, options: RegistryOptions): Registry {
  const { environment, keys } = options;
  let state: OpenedEnvironment | undefined;
  let closed = false;

  function requireNotClosed(): void {
    if (closed) throw handleNotOpen(environment, "closed");
  }

  function opened(): OpenedEnvironment {
    requireNotClosed();
    if (state === undefined) throw handleNotOpen(environment, "not opened");
    return state;
  }

  /** Reads what a writer may have written himself, and takes for acknowledged when he finds it. */
  async function readConfirmed(commands: readonly Command[]): Promise<unknown[]> {
    if (!connection.confirms) return connection.send(commands);
    const touch = { script: scripts.touchRegistry, keys: [keys.registry], args: [] };
    return connection.steadily(() => connection.write([...commands, touch]));
  }

  // Not by the script: a user who may only read opens what exists.
  async function storedLayout(send: Connection["send"]): Promise<string | undefined> {
    const [layout] = await send([["hget", keys.registry, "layout"]]);
    return textOf(layout);
  }

  async function createRecords(): Promise<string> {
    if (options.readOnly) throw missingEnvironment(environment);
    const record = newEnvironment();
    const layout = JSON.stringify({ layout: LAYOUT, slots: options.slots, id: randomUUID() });
    const args = [layout, `${record.revision}\n${encodeEnvironment(record)}`, record.revision];
    const [present] = await connection.write([{ script: scripts.createEnvironment, keys: [keys.registry], args }]);
    const text = textOf(present);
    if (text === undefined) throw foreignData(keys);
    return text;
  }

  function slotsOf(text: string): number {
    const layout = parsedJson(text);
    if (typeof layout.layout === "number" && layout.layout !== LAYOUT)
      throw new RollcallError(
        "layout_mismatch",
        `Redis: environment ${environment} has layout ${layout.layout}, this version reads ${LAYOUT}; upgrade @rollcall/redis`,
      );
    // Checked as the option is: slots of any other number could never be dealt out.
    if (layout.layout !== LAYOUT || !isSlotCount(layout.slots)) throw foreignData(keys);
    return layout.slots;
  }

  /**
   * Writes a record. `args`: the revision expected, the new one, the record, what the epoch becomes, and the timeline; nothing for none. Adds
   * `reports`, the oldest first, to the list `history`. Answers in which timeline.
   */
  async function swap(
    what: string,
    [table, field]: readonly [string, string],
    args: readonly [expected: string, revision: string, record: string, epoch: string, timeline: string],
    { history, reports }: { readonly history?: string; readonly reports: readonly string[] } = { reports: [] },
  ): Promise<Timeline | undefined> {
    const [reply] = await connection.write([
      {
        script: scripts.putRecord,
        keys: [keys.registry, table, ...(history === undefined || reports.length === 0 ? [] : [history])],
        args: [opened().layout, field, ...args, ...reports],
      },
    ]);
    if (reply === null) throw lostEnvironment(environment);
    const [written, present] = reply as [number, Buffer];
    const timeline = String(present);
    if (args[4] !== "" && args[4] !== timeline) throw otherTimeline(what);
    if (Number(written) === 0) throw revisionConflict(what);
    return timeline === "" ? undefined : (timeline as Timeline);
  }

  async function readField(field: string, read: Connection["send"] = connection.send): Promise<string> {
    const { layout } = opened();
    const [values] = await read([["hmget", keys.registry, "layout", field]]);
    const [present, text] = (values as unknown[]).map(textOf);
    if (present !== layout) throw lostEnvironment(environment);
    if (text === undefined) throw missingRecord(environment);
    return text;
  }

  const records: Registry["records"] = {
    getEnvironment: async () => decodeEnvironment(bodyOf(await readField("environment", readConfirmed))),
    async putEnvironment(next, expectedRevision) {
      const place = [keys.registry, "environment"] as const;
      await swap("the environment record", place, [expectedRevision, next.revision, encodeEnvironment(next), "", ""]);
    },
    async getSegment(key) {
      opened();
      const [value] = await readConfirmed([["hget", keys.segments, key]]);
      const text = textOf(value);
      return text === undefined ? undefined : decodeSegment(bodyOf(text));
    },
    async listSegments() {
      opened();
      const records = await readHash(connection, keys.segments);
      return Array.from(records.values(), (text) => decodeSegment(bodyOf(text)));
    },
    async putSegment(next, expectedRevision, { timeline = "", reports = [] } = {}) {
      const { key, revision } = next;
      // The epoch is not a counter: a server restored from a copy would count through numbers that readers have seen.
      const args = [expectedRevision ?? "", revision, encodeSegment(next), revision, timeline] as const;
      const texts = reports.map((report) => JSON.stringify(report));
      return swap(`segment ${key}`, [keys.segments, key], args, { history: keys.history(key), reports: texts });
    },
    getEpoch: () => readField("epoch"),

    async getHistory(key) {
      opened();
      const [texts] = await connection.send([["lrange", keys.history(key), 0, HISTORY_LIMIT - 1]]);
      return (texts as Buffer[]).map((text) => decodeReport(String(text)));
    },
  };

  return {
    records,
    requireNotClosed,
    async open() {
      requireNotClosed();
      const layout = (await storedLayout(connection.send)) ?? (await createRecords());
      state = { slots: slotsOf(layout), layout };
    },
    close() {
      const isFirst = !closed;
      closed = true;
      return isFirst;
    },
    opened,
    async requireSame(send) {
      if (state !== undefined && (await storedLayout(send)) !== state.layout) throw lostEnvironment(environment);
    },
  };
}

/**
 * The entries of a HASH, in steps. The fields come at once and not by HSCAN, whose cursor means nothing to another node when the slot
 * moves in between; an entry that is removed meanwhile may be missing.
 */
export async function readHash(connection: Connection, key: string): Promise<Map<string, string>> {
  const [fields] = (await connection.send([["hkeys", key]])) as [Buffer[]];
  const entries = new Map<string, string>();
  for (let at = 0; at < fields.length; at += RECORDS_PER_STEP) {
    const step = fields.slice(at, at + RECORDS_PER_STEP);
    const [values] = (await connection.send([["hmget", key, ...step]])) as [unknown[]];
    step.forEach((field, index) => {
      const text = textOf(values[index]);
      if (text !== undefined) entries.set(String(field), text);
    });
  }
  return entries;
}

/** What follows the first line. */
export function bodyOf(record: string): string {
  return record.slice(record.indexOf("\n") + 1);
}

/** The object that `text` holds; an empty one for anything else. */
export function parsedJson(text: string): Record<string, unknown> {
  try {
    return Object(JSON.parse(text));
  } catch {
    return {};
  }
}

/** The `corrupt_data` of an environment that is not the one that was opened. */
export function lostEnvironment(environment: string): RollcallError {
  return new RollcallError(
    "corrupt_data",
    `Redis: environment ${environment} is not the one that was opened: the server came back without its data, or the environment was removed; make another handle, and repeat the snapshot of every segment`,
  );
}

function missingEnvironment(environment: string): RollcallError {
  return new RollcallError(
    "store_read_only",
    `Redis: there is no environment ${environment} under this prefix; check both names, or open it for writing to make it`,
  );
}

function foreignData(keys: RecordKeys): RollcallError {
  return new RollcallError("layout_mismatch", `Redis: ${keys.registry} holds something else; use another prefix`);
}

function textOf(reply: unknown): string | undefined {
  return reply === null || reply === undefined ? undefined : String(reply);
}
