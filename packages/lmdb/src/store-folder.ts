// The folder of a store: a marker file that says what it is, and one sub-folder with an LMDB file per environment, so that
// environments share neither data nor the writer's lock.

import { randomUUID } from "node:crypto";
import { constants } from "node:fs";
import { access, mkdir, open, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type EnvironmentName, RollcallError } from "@rollcall/core";
import { nativeCode, storeError } from "./native-error.js";

const MARKER = "rollcall.json";
const ENVIRONMENT_PREFIX = "env-";
const FORMAT = "rollcall-lmdb";

/** The layout of folder and LMDB files that this version reads and writes. */
export const FOLDER_LAYOUT = 1;

/** What LMDB keeps in the folder of an environment. */
const DATA_FILE = "data.mdb";
const LOCK_FILE = "lock.mdb";

/**
 * The sub-folder of an environment. Names differ on file systems that ignore case too: whatever is not a small letter, a digit, `_` or `-`
 * is written as `%` and its hexadecimal code. The prefix keeps names that Windows reserves (`con`, `nul`) usable.
 */
function environmentFolder(folder: string, environment: EnvironmentName): string {
  const name = environment.replace(/[^a-z0-9_-]/g, (sign) => `%${sign.charCodeAt(0).toString(16).padStart(2, "0")}`);
  return join(folder, `${ENVIRONMENT_PREFIX}${name}`);
}

/**
 * Makes sure that `folder` is a store and that the environment's sub-folder exists; both are created where they are missing.
 * @throws `layout_mismatch` on a file, a foreign folder, or a newer layout; `access_denied`, `store_read_only`, `store_full`.
 */
export async function prepareFolder(folder: string, environment: EnvironmentName): Promise<string> {
  const place = environmentFolder(folder, environment);
  try {
    await makeFolder(folder);
    if (!(await checkMarker(folder))) await writeMarker(folder);
    await makeFolder(place);
    await flushFolder(folder);
    await access(folder, constants.W_OK);
    await access(place, constants.W_OK);
    await checkFiles(place, constants.R_OK | constants.W_OK);
  } catch (cause) {
    throw await folderError(cause, folder);
  }
  return place;
}

// Not `mkdir` with `recursive`: where a system refuses with ENOENT below a folder that exists, as /proc does, Node tries
// for ever.
async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path);
    await flushFolder(dirname(path));
  } catch (error) {
    if (nativeCode(error) === "EEXIST" && (await stat(path)).isDirectory()) return;
    const parent = dirname(path);
    if (nativeCode(error) !== "ENOENT" || parent === path || (await isFolder(parent))) throw error;
    await makeFolder(parent);
    await makeFolder(path);
  }
}

async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}

/**
 * Finds the environment's sub-folder and writes nothing.
 * @throws `store_read_only` where there is nothing to read yet, else as {@link prepareFolder}.
 */
export async function findFolder(folder: string, environment: EnvironmentName): Promise<string> {
  const place = environmentFolder(folder, environment);
  try {
    // An empty file is what a writer leaves that was killed when it had just begun.
    if ((await checkMarker(folder)) && ((await sizeOf(join(place, DATA_FILE))) ?? 0) > 0) {
      await checkFiles(place, constants.R_OK);
      return place;
    }
  } catch (cause) {
    if (nativeCode(cause) !== "ENOENT") throw await folderError(cause, folder);
  }
  const present = await listEnvironments(folder);
  const message =
    present.length === 0
      ? `there is no store in ${folder}; check the path, or open it for writing to make one`
      : `the store in ${folder} has no environment ${environment}, only ${present.join(", ")}; name one of these, or open it for writing to make it`;
  throw new RollcallError("store_read_only", message);
}

async function listEnvironments(folder: string): Promise<string[]> {
  const entries = await readdir(folder).catch(() => []);
  const names = entries.filter((entry) => entry.startsWith(ENVIRONMENT_PREFIX));
  return names.map((entry) => decodeURIComponent(entry.slice(ENVIRONMENT_PREFIX.length))).sort();
}

/** Makes the names in `folder` survive a power failure: a new file is lost with its folder entry, however well it was flushed. */
export async function flushFolder(folder: string): Promise<void> {
  // Windows cannot open a folder, and keeps names in a journal.
  if (process.platform === "win32") return;
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/**
 * Whether the file system refuses more data. LMDB reports a write that was cut short as an I/O error, whatever the reason;
 * asking for as much again, at the place where the data file ends, brings the reason out.
 */
export async function findShortage(place: string): Promise<unknown> {
  const probe = join(place, `probe-${randomUUID()}.tmp`);
  try {
    const size = (await sizeOf(join(place, DATA_FILE))) ?? 0;
    const handle = await open(probe, "w");
    try {
      await handle.write(new Uint8Array(1 << 20), 0, 1 << 20, size);
      await handle.sync();
    } finally {
      await handle.close();
    }
    return undefined;
  } catch (error) {
    return error;
  } finally {
    await rm(probe, { force: true });
  }
}

/** Whether `folder` carries the marker; throws if it holds something else. */
async function checkMarker(folder: string): Promise<boolean> {
  const names = await readdir(folder);
  if (!names.includes(MARKER)) {
    // A marker that another process is just writing has a name that begins like the marker's.
    if (names.every((name) => name.startsWith(MARKER))) return false;
    throw new RollcallError(
      "layout_mismatch",
      `${folder}: holds other files and no ${MARKER}; name a folder that is empty, new, or a Rollcall store`,
    );
  }
  const marker = parseMarker(await readFile(join(folder, MARKER), "utf8"));
  if (marker?.format !== FORMAT || typeof marker.layout !== "number")
    throw new RollcallError(
      "layout_mismatch",
      `${folder}: ${MARKER} is not that of a Rollcall store; use another folder`,
    );
  if (marker.layout > FOLDER_LAYOUT)
    throw new RollcallError(
      "layout_mismatch",
      `${folder}: has layout ${marker.layout}, this version reads up to ${FOLDER_LAYOUT}; upgrade @rollcall/lmdb`,
    );
  return true;
}

function parseMarker(text: string): { readonly format?: unknown; readonly layout?: unknown } | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

async function writeMarker(folder: string): Promise<void> {
  const temporary = join(folder, `${MARKER}.${randomUUID()}`);
  const handle = await open(temporary, "w");
  try {
    await handle.writeFile(`${JSON.stringify({ format: FORMAT, layout: FOLDER_LAYOUT })}\n`);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(temporary, join(folder, MARKER));
}

/**
 * Makes sure that LMDB can open its files: the wrapper ends the process, without a word, where opening them fails half-way.
 */
async function checkFiles(place: string, mode: number): Promise<void> {
  const size = await sizeOf(join(place, DATA_FILE));
  if (size === undefined) {
    const shortage = await findShortage(place);
    if (shortage !== undefined) throw shortage;
  } else {
    await access(join(place, DATA_FILE), mode);
    if (size > 0) await checkMagic(join(place, DATA_FILE));
  }
  if ((await sizeOf(join(place, LOCK_FILE))) === undefined) return;
  // Readers write their names into it too, except on a file system that takes no writes at all.
  await access(join(place, LOCK_FILE), constants.R_OK | constants.W_OK).catch((error) => {
    if (mode & constants.W_OK || nativeCode(error) !== "EROFS") throw error;
  });
}

/** LMDB's mark, `0xBEEFC0DE`, stands behind the header of the first page: 24 bytes, in the older format 16. */
async function checkMagic(file: string): Promise<void> {
  const handle = await open(file, "r");
  try {
    const { buffer } = await handle.read(new Uint32Array(7), { position: 0 });
    if (buffer[6] === 0xbeefc0de || buffer[4] === 0xbeefc0de) return;
  } finally {
    await handle.close();
  }
  throw new RollcallError("layout_mismatch", `${file}: is not a file of LMDB; use another folder, or restore a copy`);
}

/** The size of a file; `undefined` where there is none. */
async function sizeOf(path: string): Promise<number | undefined> {
  try {
    const found = await stat(path);
    if (found.isFile()) return found.size;
  } catch (error) {
    if (nativeCode(error) === "ENOENT") return undefined;
    throw error;
  }
  throw new RollcallError("layout_mismatch", `${path}: is not a file; use another folder`);
}

/** A folder that may be read but not written is a read-only store; one that may not even be read is denied. */
async function folderError(cause: unknown, folder: string): Promise<RollcallError> {
  const error = storeError(cause, folder);
  if (error.code !== "access_denied") return error;
  const readable = await access(folder, constants.R_OK | constants.X_OK).then(
    () => true,
    () => false,
  );
  if (!readable) return error;
  return new RollcallError(
    "store_read_only",
    `${folder}: this user may read but not write; grant write on the folder and its files, or open with readOnly`,
    { cause },
  );
}
