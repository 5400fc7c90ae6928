// Reads members from the caller's source into a partitioner, and keeps count of what was read and what was left out.

import { setImmediate as nextTurn } from "node:timers/promises";
import { createHashWriter, type HashWriter } from "./context-hash.js";
import type { Engine } from "./engine.js";
import { RollcallError, throwIfAborted } from "./errors.js";
import type { Batched, Delta, Member, MemberChange, MemberFormat } from "./members.js";
import { createPartitioner, type Partitioner } from "./partitioner.js";
import { MAX_LISTED_REJECTIONS, type RejectionReason } from "./report.js";
import type { CallOptions } from "./rollcall.js";
import { ADD, REMOVE } from "./sorter.js";

/** What was read from the sources of one list. */
export interface Intake {
  readonly partitioner: Partitioner;
  /** Entries read, the rejected ones too. */
  received: number;
  rejected: { count: number; listed: { position: number; reason: RejectionReason }[] };
}

/** Options of the readers of this file. */
export interface IntakeOptions extends CallOptions {
  readonly memberFormat: MemberFormat;
  readonly memoryLimitBytes: number;
}

// Between two turns of the event loop, so that a long array does not keep others waiting.
const ENTRIES_PER_TURN = 16_384;

/** Reads all members of a snapshot's list. */
export async function readSnapshot(engine: Engine, members: Batched<Member>, options: IntakeOptions): Promise<Intake> {
  return intake(engine, options, async (read) => {
    await read(members, (member, partitioner, write) => partitioner.append(member, write, ADD));
  });
}

/** Reads all changes of a delta. */
export async function readDelta(engine: Engine, delta: Delta, options: IntakeOptions): Promise<Intake> {
  return intake(engine, options, async (read) => {
    if ("changes" in delta) {
      await read<MemberChange>(delta.changes, (entry, partitioner, write) =>
        partitioner.append(entry?.member, write, changeOf(entry)),
      );
      return;
    }
    await read(delta.add ?? [], (member, partitioner, write) => partitioner.append(member, write, ADD));
    await read(delta.remove ?? [], (member, partitioner, write) => partitioner.append(member, write, REMOVE));
  });
}

type Append<T> = (entry: T, partitioner: Partitioner, write: HashWriter) => RejectionReason | undefined;
type Read = <T>(source: Batched<T>, append: Append<T>) => Promise<void>;

async function intake(engine: Engine, options: IntakeOptions, readAll: (read: Read) => Promise<void>): Promise<Intake> {
  const { signal, onProgress } = options;
  const write = createHashWriter(options.memberFormat, engine.options.pepper);
  const partitioner = createPartitioner({
    memoryLimitBytes: options.memoryLimitBytes,
    tempDir: engine.options.tempDir,
  });
  const result: Intake = { partitioner, received: 0, rejected: { count: 0, listed: [] } };

  /** Reads `batch` from the entry at `from` until the memory limit is reached, and answers where it goes on. */
  function readUntilFull<T>(batch: readonly T[], from: number, append: Append<T>): number {
    let at = from;
    while (at < batch.length && !partitioner.overLimit) {
      const reason = append(batch[at++] as T, partitioner, write);
      if (reason !== undefined) reject(result, reason);
      result.received++;
    }
    return at;
  }

  async function readBatch<T>(batch: readonly T[], append: Append<T>): Promise<void> {
    for (let at = 0; at < batch.length; ) {
      at = readUntilFull(batch, at, append);
      if (partitioner.overLimit) await partitioner.spill();
    }
    throwIfAborted(signal);
    onProgress?.({ phase: "read", done: result.received });
  }

  try {
    await readAll(async (source, append) => {
      for await (const batch of batches(source)) await readBatch(batch, append);
    });
    if (partitioner.spilled) await partitioner.spill();
    return result;
  } catch (error) {
    await partitioner.dispose();
    throw error;
  }
}

function reject(result: Intake, reason: RejectionReason): void {
  result.rejected.count++;
  if (result.rejected.listed.length < MAX_LISTED_REJECTIONS) {
    result.rejected.listed.push({ position: result.received, reason });
  }
}

async function* batches<T>(source: Batched<T>): AsyncGenerator<readonly T[]> {
  if (typeof source !== "object" || source === null) throw invalidSource();
  let pending: T[] = [];
  if (Symbol.asyncIterator in source) {
    for await (const value of source) {
      if (Array.isArray(value)) {
        if (pending.length > 0) yield pending;
        pending = [];
        yield value as readonly T[];
      } else if (pending.push(value as T) >= ENTRIES_PER_TURN) {
        yield pending;
        pending = [];
      }
    }
  } else if (Symbol.iterator in source) {
    for (const value of source) {
      if (pending.push(value) < ENTRIES_PER_TURN) continue;
      yield pending;
      pending = [];
      await nextTurn();
    }
  } else {
    throw invalidSource();
  }
  if (pending.length > 0) yield pending;
}

function invalidSource(): RollcallError {
  return new RollcallError(
    "invalid_request",
    "members must come as an iterable or an async iterable, for instance an array",
  );
}

function changeOf(entry: MemberChange): number {
  if (entry?.change === "add") return ADD;
  if (entry?.change === "remove") return REMOVE;
  throw new RollcallError("invalid_request", "each change must be { member, change } with change 'add' or 'remove'");
}
