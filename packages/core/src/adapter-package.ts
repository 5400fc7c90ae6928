// Finds and loads an adapter package as the user's own code would: from the working directory, then from this package.

import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { RollcallError } from "./errors.js";
import type { StoreFactory } from "./store.js";

/**
 * The `storeFactory` of package `name`, or `undefined` if the package is not installed.
 * @throws `adapter_not_found` if it is installed but cannot be used.
 */
export async function loadFactory(name: string): Promise<StoreFactory | undefined> {
  const file = resolvePackage(name);
  if (file === undefined) return undefined;
  let loaded: { readonly storeFactory?: unknown };
  try {
    loaded = await import(pathToFileURL(file).href);
  } catch (cause) {
    throw new RollcallError("adapter_not_found", loadFailure(name, cause), { cause });
  }
  if (isStoreFactory(loaded.storeFactory)) return loaded.storeFactory;
  throw new RollcallError(
    "adapter_not_found",
    `package ${name} does not export a storeFactory; install a version that is a Rollcall adapter`,
  );
}

function resolvePackage(name: string): string | undefined {
  const here = workingDirectory();
  const starts = here === undefined ? [import.meta.url] : [join(here, "package.json"), import.meta.url];
  for (const start of starts) {
    const require = createRequire(start);
    try {
      return require.resolve(name);
    } catch (error) {
      // Also when it is installed, but offers itself to `import` only: `require.resolve` does not see it then.
      const file = resolveForImport(require.resolve.paths(name) ?? [], name);
      if (file !== undefined) return file;
      if (codeOf(error) !== "MODULE_NOT_FOUND") throw unusable(name, error);
    }
  }
  return undefined;
}

/** `undefined` when the directory has been removed under the process. */
function workingDirectory(): string | undefined {
  try {
    return process.cwd();
  } catch {
    return undefined;
  }
}

function resolveForImport(folders: readonly string[], name: string): string | undefined {
  for (const folder of folders) {
    const manifest = join(folder, name, "package.json");
    if (!existsSync(manifest)) continue;
    const target = importTarget(readExports(name, manifest));
    return target === undefined ? undefined : join(folder, name, target);
  }
  return undefined;
}

function readExports(name: string, manifest: string): unknown {
  try {
    return JSON.parse(readFileSync(manifest, "utf8")).exports;
  } catch (cause) {
    throw unusable(name, cause);
  }
}

/** What `import` of the package itself leads to: the conditions of its `exports`, in their order. */
function importTarget(exports: unknown): string | undefined {
  if (typeof exports === "string") return exports;
  if (typeof exports !== "object" || exports === null) return undefined;
  for (const [condition, target] of Object.entries(exports)) {
    if (![".", "import", "module-sync", "node", "default"].includes(condition)) continue;
    const found = importTarget(target);
    if (found !== undefined) return found;
  }
  return undefined;
}

function isStoreFactory(value: unknown): value is StoreFactory {
  return (
    typeof value === "object" &&
    value !== null &&
    "schemes" in value &&
    Array.isArray(value.schemes) &&
    "createStore" in value &&
    typeof value.createStore === "function"
  );
}

/** Not a path, be it of Windows, and not a URL: the name of a package, perhaps with something below it. */
const BARE_MODULE = /Cannot find (?:package|module) '((?:@[^/':\\]+\/)?[^./':\\][^/':\\]*)(?=['/])/;

/** Tells a client library that is missing from an adapter that is broken in another way. */
function loadFailure(name: string, cause: unknown): string {
  const missing =
    ["ERR_MODULE_NOT_FOUND", "MODULE_NOT_FOUND"].includes(codeOf(cause)) && cause instanceof Error
      ? BARE_MODULE.exec(cause.message)?.[1]
      : undefined;
  return missing === undefined
    ? `package ${name} is installed but could not be loaded; see the cause, and install it again`
    : `package ${name} is installed, but not ${missing}, which it needs; run: npm install ${missing}`;
}

function unusable(name: string, cause: unknown): RollcallError {
  return new RollcallError("adapter_not_found", loadFailure(name, cause), { cause });
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : "";
}
