// What LMDB and the file system say, as Rollcall's errors: the one place where native errors are told apart.

import { constants } from "node:os";
import { isRollcallError, RollcallError, type RollcallErrorCode } from "@rollcall/core";

/** Return codes of LMDB (`lmdb.h`, "Return Codes"); system errors come as positive `errno` numbers. */
const MDB = {
  pageNotFound: -30797,
  corrupted: -30796,
  panic: -30795,
  versionMismatch: -30794,
  invalid: -30793,
  mapFull: -30792,
  readersFull: -30790,
  txnFull: -30788,
} as const;

interface Meaning {
  readonly code: RollcallErrorCode;
  readonly what: string;
  readonly remedy: string;
}

const full: Meaning = {
  code: "store_full",
  what: "the disk, the quota or the file size limit is reached",
  remedy: "free space or raise the limit, then repeat; nothing acknowledged is lost",
};
const readOnlyPlace: Meaning = {
  code: "store_read_only",
  what: "the file system does not take writes",
  remedy: "mount it writable, or open the store with readOnly",
};
const missing: Meaning = {
  code: "store_read_only",
  what: "the folder is not there, and cannot be made",
  remedy: "name a folder on a file system that takes writes",
};
const denied: Meaning = {
  code: "access_denied",
  what: "this user lacks rights on the folder or a file in it",
  remedy: "grant read and write on the folder and its files",
};
const notAFolder: Meaning = {
  code: "layout_mismatch",
  what: "a file stands where a folder is expected",
  remedy: "name a folder that is empty, new, or a Rollcall store",
};
const notLmdb: Meaning = {
  code: "layout_mismatch",
  what: "the data file is not one that this version of LMDB reads",
  remedy: "use another folder, or the lmdb release that wrote it",
};
const damaged: Meaning = {
  code: "corrupt_data",
  what: "the data file is damaged",
  remedy: "restore it from a copy",
};
const tooManyReaders: Meaning = {
  code: "store_unavailable",
  what: "too many processes have the environment open",
  remedy: "close some, then repeat",
};
const broken: Meaning = {
  code: "store_unavailable",
  what: "the file system failed",
  remedy: "check the disk, open the store again, then repeat",
};

const MEANINGS: ReadonlyMap<number | string, Meaning> = new Map<number | string, Meaning>([
  [MDB.mapFull, full],
  [MDB.txnFull, full],
  [MDB.invalid, notLmdb],
  [MDB.versionMismatch, notLmdb],
  [MDB.corrupted, damaged],
  [MDB.pageNotFound, damaged],
  [MDB.readersFull, tooManyReaders],
  [MDB.panic, broken],
  ...bothWays("ENOSPC", full),
  ...bothWays("EDQUOT", full),
  ...bothWays("EFBIG", full),
  ...bothWays("ENOMEM", full),
  ...bothWays("EROFS", readOnlyPlace),
  ...bothWays("ENOENT", missing),
  ...bothWays("EACCES", denied),
  ...bothWays("EPERM", denied),
  ...bothWays("ENOTDIR", notAFolder),
  ...bothWays("EEXIST", notAFolder),
  ...bothWays("EIO", broken),
]);

/** Node's file functions name an error (`ENOSPC`), LMDB gives its number. */
function bothWays(name: keyof typeof constants.errno, meaning: Meaning): [number | string, Meaning][] {
  const number: number | undefined = constants.errno[name];
  return number === undefined
    ? [[name, meaning]]
    : [
        [name, meaning],
        [number, meaning],
      ];
}

/** The error to throw instead of `cause`; one that is a `RollcallError` already stays as it is. `place` is the folder. */
export function storeError(cause: unknown, place: string): RollcallError {
  if (isRollcallError(cause)) return cause;
  const code = nativeCode(cause);
  const meaning = code === undefined ? undefined : MEANINGS.get(code);
  if (meaning !== undefined)
    return new RollcallError(meaning.code, `${place}: ${meaning.what}; ${meaning.remedy}`, { cause });
  return new RollcallError("store_unavailable", `${place}: LMDB failed; see the cause, then repeat`, { cause });
}

/** The code that LMDB or Node put on an error. */
export function nativeCode(error: unknown): number | string | undefined {
  if (typeof error !== "object" || error === null || !("code" in error)) return undefined;
  return typeof error.code === "number" || typeof error.code === "string" ? error.code : undefined;
}

/** Whether `error` is an I/O error without a reason, as LMDB reports a write that the system cut short. */
export function isShortWrite(error: unknown): boolean {
  const code = nativeCode(error);
  return code === "EIO" || code === constants.errno.EIO;
}
