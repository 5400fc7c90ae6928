// Takes hashed changes in any number and any order, and gives them back sorted and unique: partitioned by the first byte
// of the hash, in memory up to a limit and beyond it in a temporary file.
//
// Records wait in arrival order in a stage; a full stage is split by first byte into a run, an array with 257 bounds.
// When the runs in memory reach the limit they become one run in the file, and in the end so does what is left. To read a partition means to take its piece
// out of every run, oldest first, and to sort that.

import { type FileHandle, mkdtemp, open, rm, unlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { HashWriter } from "./context-hash.js";
import { CONTEXT_HASH_BYTES, type ContextHashes } from "./context-hashes.js";
import { RollcallError } from "./errors.js";
import type { RejectionReason } from "./report.js";
import { ADD, createSorter, RECORD_BYTES, type SortedChanges, splitByFirstByte } from "./sorter.js";

const PARTITIONS = 256;
const FIRST_STAGE_RECORDS = 64;
const STAGE_RECORDS = 65_536;
const RECORD_WORDS = RECORD_BYTES / 4;
const CHANGE_WORD = RECORD_WORDS - 1;

interface Run {
  /** Record number at which each partition starts; one more for the end. */
  readonly bounds: Uint32Array;
  /** The records, unless they are in the file. */
  readonly records: Uint32Array<ArrayBuffer> | undefined;
  /** Byte offset in the file. */
  readonly fileOffset: number;
}

/** Options of {@link createPartitioner}. */
export interface PartitionerOptions {
  /** Bytes of records in memory before they go to a temporary file. Default 268,435,456. */
  readonly memoryLimitBytes?: number | undefined;
  /** Default: the system's folder for temporary files. */
  readonly tempDir?: string | undefined;
}

/** Collects records, then yields them sorted. Not to be used by two callers at once. */
export interface Partitioner {
  /** Records appended so far. */
  readonly count: number;
  /** Of those, the ones with the change {@link ADD}. */
  readonly adds: number;
  /** Whether records went to a temporary file. */
  readonly spilled: boolean;
  /**
   * Hashes a member with `write` and keeps it with `change` ({@link ADD} or {@link REMOVE}), or answers why it is not valid.
   * After it, call {@link Partitioner.spill} if {@link Partitioner.overLimit}.
   */
  append(member: unknown, write: HashWriter, change: number): RejectionReason | undefined;
  /** Keeps hashes that were made before. The same duty as after {@link Partitioner.append}. */
  appendHashes(hashes: ContextHashes, change: number): void;
  /** Whether the memory limit is reached. */
  readonly overLimit: boolean;
  /**
   * Moves what is in memory to the temporary file. The memory stays taken for what comes, until {@link Partitioner.chunks}. Once something
   * was moved, move the rest too when the last record is in: what is held then does not depend on how much was left.
   */
  spill(): Promise<void>;
  /** Sorts a small number of records now, for {@link Partitioner.chunks} later: so that it can be done while something else is waited for. */
  sortAhead(): void;
  /** The changes in ascending order of hash, some thousand at a time. Once only. */
  chunks(): AsyncGenerator<SortedChanges>;
  /** Frees memory and removes the temporary file. */
  dispose(): Promise<void>;
}

/** Makes an empty partitioner. */
export function createPartitioner(options: PartitionerOptions = {}): Partitioner {
  const memoryLimit = Math.max(options.memoryLimitBytes ?? 268_435_456, STAGE_RECORDS * RECORD_BYTES);
  let stage = createStage(FIRST_STAGE_RECORDS);
  let staged = 0;
  let total = 0;
  let adds = 0;
  let runs: Run[] = [];
  let runBytes = 0;
  // Used again: garbage of this size is collected late, and counts as memory in use until then.
  let spare: Uint32Array<ArrayBuffer>[] = [];
  let file: TemporaryFile | undefined;
  let gathered = new Uint8Array(0);
  let sorted: readonly SortedChanges[] | undefined;

  function append(member: unknown, write: HashWriter, change: number): RejectionReason | undefined {
    const rejected = write(member, stage.bytes, staged * RECORD_BYTES);
    if (rejected === undefined) commit(change);
    return rejected;
  }

  function appendHashes(hashes: ContextHashes, change: number): void {
    for (let from = 0; from < hashes.length; from += CONTEXT_HASH_BYTES) {
      stage.bytes.set(hashes.subarray(from, from + CONTEXT_HASH_BYTES), staged * RECORD_BYTES);
      commit(change);
    }
  }

  function commit(change: number): void {
    stage.words[staged * RECORD_WORDS + CHANGE_WORD] = change;
    staged++;
    total++;
    sorted = undefined;
    if (change === ADD) adds++;
    if (staged < stage.capacity) return;
    if (stage.capacity < STAGE_RECORDS) {
      const larger = createStage(stage.capacity * 4);
      larger.words.set(stage.words);
      stage = larger;
    } else {
      splitStage();
    }
  }

  function splitStage(): void {
    const records = spare.pop() ?? new Uint32Array(STAGE_RECORDS * RECORD_WORDS);
    runs.push({ bounds: splitByFirstByte(stage.words, staged, records), records, fileOffset: 0 });
    runBytes += staged * RECORD_BYTES;
    staged = 0;
  }

  async function spill(): Promise<void> {
    if (staged > 0) splitStage();
    const inMemory = runs.filter(isInMemory);
    if (inMemory.length === 0) return;
    file ??= await createTemporaryFile(options.tempDir ?? tmpdir());
    const bounds = new Uint32Array(PARTITIONS + 1);
    const fileOffset = file.size;
    for (let partition = 0; partition < PARTITIONS; partition++) {
      const pieces = await gather(inMemory, partition);
      bounds[partition + 1] = (bounds[partition] as number) + pieces.length / RECORD_BYTES;
      await file.append(pieces);
    }
    spare = inMemory.map(({ records }) => records);
    runs = [...runs.filter((run) => !isInMemory(run)), { bounds, records: undefined, fileOffset }];
    runBytes = 0;
  }

  function sortAhead(): void {
    if (runs.length === 0 && staged > 0) sorted ??= [...createSorter().sort(stage.words, staged, 0)];
  }

  async function* chunks(): AsyncGenerator<SortedChanges> {
    if (runs.length === 0) {
      sortAhead();
      yield* sorted ?? [];
      return;
    }
    if (staged > 0) splitStage();
    stage = createStage(0);
    spare = [];
    const sorter = createSorter();
    for (let partition = 0; partition < PARTITIONS; partition++) {
      const records = await gather(runs, partition);
      const words = new Uint32Array(records.buffer, records.byteOffset, records.length / 4);
      if (records.length > 0) yield* sorter.sort(words, records.length / RECORD_BYTES, 1);
    }
  }

  /** The partition's piece of every run, oldest first; until the next call. */
  async function gather(from: readonly Run[], partition: number): Promise<Uint8Array> {
    const size = from.reduce((sum, run) => sum + pieceBytes(run, partition), 0);
    // One buffer for all partitions, for the same reason as the spare ones.
    if (size > gathered.length) gathered = new Uint8Array(size);
    let at = 0;
    for (const run of from) {
      const start = (run.bounds[partition] as number) * RECORD_BYTES;
      const bytes = pieceBytes(run, partition);
      if (run.records !== undefined) gathered.set(new Uint8Array(run.records.buffer, start, bytes), at);
      else if (bytes > 0) await file?.read(gathered.subarray(at, at + bytes), run.fileOffset + start);
      at += bytes;
    }
    return gathered.subarray(0, size);
  }

  return {
    get count() {
      return total;
    },
    get adds() {
      return adds;
    },
    get spilled() {
      return file !== undefined;
    },
    append,
    appendHashes,
    get overLimit() {
      return runBytes >= memoryLimit;
    },
    spill,
    sortAhead,
    chunks,
    async dispose() {
      runs = [];
      stage = createStage(0);
      spare = [];
      gathered = new Uint8Array(0);
      sorted = undefined;
      const opened = file;
      file = undefined;
      await opened?.close();
    },
  };
}

function isInMemory(run: Run): run is Run & { readonly records: Uint32Array<ArrayBuffer> } {
  return run.records !== undefined;
}

function pieceBytes(run: Run, partition: number): number {
  return ((run.bounds[partition + 1] as number) - (run.bounds[partition] as number)) * RECORD_BYTES;
}

interface Stage {
  readonly capacity: number;
  readonly words: Uint32Array;
  readonly bytes: Buffer;
}

function createStage(capacity: number): Stage {
  const memory = new ArrayBuffer(capacity * RECORD_BYTES);
  return { capacity, words: new Uint32Array(memory), bytes: Buffer.from(memory) };
}

interface TemporaryFile {
  readonly size: number;
  append(bytes: Uint8Array): Promise<void>;
  read(into: Uint8Array, position: number): Promise<void>;
  close(): Promise<void>;
}

async function createTemporaryFile(parent: string): Promise<TemporaryFile> {
  const folder = await mapTemporaryErrors(parent, () => mkdtemp(join(parent, "rollcall-")));
  const path = join(folder, "members");
  let handle: FileHandle;
  try {
    handle = await mapTemporaryErrors(parent, () => open(path, "wx+", 0o600));
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
  // Where the system lets an open file lose its name, nothing is left behind even when the process is killed.
  const unlinked = await unlink(path).then(
    () => rm(folder, { recursive: true, force: true }).then(() => true),
    () => false,
  );
  let size = 0;
  return {
    get size() {
      return size;
    },
    async append(bytes) {
      for (let done = 0; done < bytes.length; ) {
        const { bytesWritten } = await mapTemporaryErrors(parent, () =>
          handle.write(bytes, done, bytes.length - done, size),
        );
        done += bytesWritten;
        size += bytesWritten;
      }
    },
    async read(into, position) {
      for (let done = 0; done < into.length; ) {
        const { bytesRead } = await mapTemporaryErrors(parent, () =>
          handle.read(into, done, into.length - done, position + done),
        );
        if (bytesRead === 0)
          throw new RollcallError(
            "corrupt_data",
            "a temporary file was truncated by another program; run the sync again",
          );
        done += bytesRead;
      }
    },
    async close() {
      await handle.close();
      if (!unlinked) await rm(folder, { recursive: true, force: true });
    },
  };
}

async function mapTemporaryErrors<T>(folder: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    const code = cause instanceof Error && "code" in cause ? String(cause.code) : "";
    if (code === "ENOSPC" || code === "EDQUOT" || code === "EFBIG") {
      throw new RollcallError("store_full", `no space for temporary files in ${folder}; free some, or set tempDir`, {
        cause,
      });
    }
    throw new RollcallError(
      "invalid_request",
      `temporary files cannot be written in ${folder} (${code}); set tempDir`,
      { cause },
    );
  }
}
