// The options that every command takes, and what they mean together with the environment variables.

import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { RollcallError, type RollcallOptions } from "@rollcall/core";
import type { Command } from "commander";
import { parseDuration, parseSize } from "./quantity.js";

/** Created by `rollcall init`, and used without being named from then on. */
const LOCAL_FOLDER = "rollcall-data";
export const LOCAL_STORE = `lmdb:./${LOCAL_FOLDER}`;

/** What commander parses. */
export interface GlobalFlags {
  readonly store?: string;
  readonly environment?: string;
  readonly pepperFile?: string;
  readonly json?: true;
  readonly quiet?: true;
  readonly color: boolean;
  readonly leaseTtl?: number;
  readonly leaseWait?: number;
  readonly grace?: number;
  readonly memoryLimit?: number;
  readonly tempDir?: string;
}

export function addGlobalOptions(program: Command): void {
  program
    .option(
      "--store <url>",
      "the database, for instance lmdb:./rollcall-data (ROLLCALL_STORE; better for a URL with a password)",
    )
    .option("--environment <name>", "the environment in it (ROLLCALL_ENVIRONMENT, else default)")
    .option("--pepper-file <path>", "the file that holds the environment's pepper (or set ROLLCALL_PEPPER)")
    .option("--json", "print one JSON object on stdout, errors as JSON on stderr")
    .option("--quiet", "no progress and no remarks on stderr")
    .option("--no-color", "no colour (or set NO_COLOR)")
    .option(
      "--lease-ttl <duration>",
      "how long a segment stays locked when a writer dies (default: 15s)",
      parseDuration,
    )
    .option("--lease-wait <duration>", "how long to wait for another writer (default: 60s)", parseDuration)
    .option("--grace <duration>", "how long replaced members stay for running readers (default: 5m)", parseDuration)
    .option("--memory-limit <size>", "memory for members before they go to temporary files (default: 256MB)", parseSize)
    .option("--temp-dir <path>", "where temporary files go (default: the system's)");
}

/** The store that a command works on. */
export interface StoreChoice {
  readonly url: string;
  /** `local`: the folder that `rollcall init` made here. */
  readonly chosenBy: "flag" | "variable" | "local";
}

/** @throws `invalid_request` with the remedy if no store is named and there is none here. */
export function chooseStore(flags: GlobalFlags, env: NodeJS.ProcessEnv): StoreChoice {
  if (flags.store !== undefined) return { url: flags.store, chosenBy: "flag" };
  if (env.ROLLCALL_STORE) return { url: env.ROLLCALL_STORE, chosenBy: "variable" };
  if (existsSync(LOCAL_FOLDER)) return { url: LOCAL_STORE, chosenBy: "local" };
  throw new RollcallError(
    "invalid_request",
    `no store: name one with --store or ROLLCALL_STORE, or run "rollcall init" to make one here in ./${LOCAL_FOLDER}`,
  );
}

export function chooseEnvironment(flags: GlobalFlags, env: NodeJS.ProcessEnv): string {
  return flags.environment ?? (env.ROLLCALL_ENVIRONMENT || "default");
}

/**
 * The pepper: from the file without one line end at its end, else from ROLLCALL_PEPPER. Never from the command line, which every user of
 * the machine can read.
 */
export async function readPepper(flags: GlobalFlags, env: NodeJS.ProcessEnv): Promise<string | Uint8Array | undefined> {
  if (flags.pepperFile === undefined) {
    if (env.ROLLCALL_PEPPER === "") {
      throw new RollcallError(
        "invalid_request",
        "ROLLCALL_PEPPER is empty; set it to the environment's pepper, or unset it",
      );
    }
    return env.ROLLCALL_PEPPER;
  }
  const bytes = await readFile(flags.pepperFile).catch((cause: unknown) => {
    throw new RollcallError("invalid_request", `the pepper file ${flags.pepperFile} is not there, or cannot be read`, {
      cause,
    });
  });
  const end = bytes.at(-1) === 0x0a ? (bytes.at(-2) === 0x0d ? bytes.length - 2 : bytes.length - 1) : bytes.length;
  if (end === 0) throw new RollcallError("invalid_request", `the pepper file ${flags.pepperFile} is empty`);
  return bytes.subarray(0, end);
}

/** What the flags say to the engine; what is not given stays its default. */
export function engineOptions(flags: GlobalFlags): RollcallOptions {
  return {
    leaseTtlMs: flags.leaseTtl,
    leaseWaitMs: flags.leaseWait,
    graceMs: flags.grace,
    memoryLimitBytes: flags.memoryLimit,
    tempDir: flags.tempDir,
  };
}

/** A store URL as it may be shown: without user, password and parameters. */
export function showUrl(url: string): string {
  return url.replace(/^([a-z][a-z0-9+.-]*:\/\/)[^/?#]*@/i, "$1").replace(/[?#].*$/, "");
}
