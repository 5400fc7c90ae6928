// Which code each native error of LMDB and of the file system becomes.

import { constants } from "node:os";
import { RollcallError, type RollcallErrorCode } from "@rollcall/core";
import { describe, expect, it } from "vitest";
import { storeError } from "./native-error.js";

const { EACCES, EFBIG, EINVAL, EIO, ENOMEM, ENOSPC, EPERM, EROFS } = constants.errno;

describe("native errors", () => {
  it.each<[name: string, native: number | string, code: RollcallErrorCode, retryable: boolean]>([
    ["no space", ENOSPC, "store_full", false],
    ["no space, from Node", "ENOSPC", "store_full", false],
    ["file size limit", EFBIG, "store_full", false],
    ["no address space for the map", ENOMEM, "store_full", false],
    ["MDB_MAP_FULL", -30792, "store_full", false],
    ["MDB_TXN_FULL", -30788, "store_full", false],
    ["read-only file system", EROFS, "store_read_only", false],
    ["no right", EACCES, "access_denied", false],
    ["no right, from Node", "EPERM", "access_denied", false],
    ["not the owner", EPERM, "access_denied", false],
    ["a file in the way", "ENOTDIR", "layout_mismatch", false],
    ["MDB_INVALID", -30793, "layout_mismatch", false],
    ["MDB_VERSION_MISMATCH", -30794, "layout_mismatch", false],
    ["MDB_CORRUPTED", -30796, "corrupt_data", false],
    ["MDB_PAGE_NOTFOUND", -30797, "corrupt_data", false],
    ["MDB_READERS_FULL", -30790, "store_unavailable", true],
    ["MDB_PANIC", -30795, "store_unavailable", true],
    ["I/O error", EIO, "store_unavailable", true],
    ["anything else", EINVAL, "store_unavailable", true],
  ])("%s", (_, native, code, retryable) => {
    const cause = Object.assign(new Error("native"), { code: native });
    expect(storeError(cause, "/data")).toMatchObject({ name: "RollcallError", code, retryable, cause });
  });

  it("without a code are unavailable", () => {
    expect(storeError("a string", "/data")).toMatchObject({ code: "store_unavailable", cause: "a string" });
  });

  it("that are none stay as they are", () => {
    const error = new RollcallError("stale_lease", "taken over");
    expect(storeError(error, "/data")).toBe(error);
  });
});
