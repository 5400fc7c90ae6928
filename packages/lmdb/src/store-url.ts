// lmdb: URLs, and the factory that `openStore` finds by their scheme.

import { fileURLToPath } from "node:url";
import { RollcallError, type StoreFactory, unreadableUrl } from "@rollcall/core";
import { createLmdbStore } from "./store.js";

/**
 * The factory for `lmdb:` URLs: `lmdb:./folder` and `lmdb:folder` (from the working directory), `lmdb:/folder` and
 * `lmdb:///folder`; on Windows `lmdb:C:\folder` and `lmdb:///C:/folder`. `%` starts a percent-encoded byte. `?readOnly=true` opens what exists and
 * writes nothing.
 */
export const storeFactory: StoreFactory = {
  schemes: ["lmdb"],
  createStore(url, options) {
    const { path, readOnly } = parseStoreUrl(url);
    return createLmdbStore(path, { environment: options.environment, readOnly: readOnly || options.readOnly });
  },
};

/** Reads an `lmdb:` URL. @throws `invalid_request` that says what is wrong with it. */
export function parseStoreUrl(
  url: string,
  platform: NodeJS.Platform = process.platform,
): { readonly path: string; readonly readOnly: boolean } {
  const match = /^lmdb:([^?#]*)(?:\?([^#]*))?$/.exec(url);
  if (match === null) throw unreadable("write # and ? in a folder name as %23 and %3F");
  const [, location = "", query = ""] = match;
  if (location === "") throw unreadable("name a folder: lmdb:./folder or lmdb:/folder");
  return { path: pathOf(location, platform === "win32"), readOnly: readOnlyOf(query) };
}

function pathOf(location: string, windows: boolean): string {
  if (location.startsWith("//") && !location.startsWith("///"))
    throw unreadable("after // comes a host, and LMDB has none; write lmdb:./folder, lmdb:/folder or lmdb:///folder");
  try {
    // `///` and, on Windows, `/C:/` are forms of URLs; the rest are paths.
    if (location.startsWith("///")) return fileURLToPath(`file:${location}`, { windows });
    const path = decodeURIComponent(location);
    if (path.includes("\0")) throw unreadable("a folder name cannot hold a NUL");
    return windows && /^\/[A-Za-z]:/.test(path) ? path.slice(1) : path;
  } catch (cause) {
    if (cause instanceof RollcallError) throw cause;
    throw new RollcallError("invalid_request", "the lmdb: URL is not valid; write % in a folder name as %25", {
      cause,
    });
  }
}

function readOnlyOf(query: string): boolean {
  const parameters = new URLSearchParams(query);
  const value = parameters.get("readOnly") ?? "false";
  const unknown = [...parameters.keys()].find((name) => name !== "readOnly");
  if (unknown !== undefined) throw unreadable(`${unknown} is not a parameter; readOnly=true is the only one`);
  if (value !== "true" && value !== "false") throw unreadable("readOnly is true or false");
  return value === "true";
}

const unreadable = (hint: string) => unreadableUrl("lmdb", hint);
