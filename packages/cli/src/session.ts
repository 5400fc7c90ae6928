// One run of one command: its terminal, its signal, and the store opened for it and closed after it.

import type { Readable } from "node:stream";
import {
  createRollcall,
  createSegmentReader,
  isRollcallError,
  openStore,
  type Rollcall,
  type RollcallOptions,
  type SegmentReader,
  type SegmentStore,
} from "@rollcall/core";
import { storeFactory as lmdb } from "@rollcall/lmdb";
import type { Command } from "commander";
import { EXIT } from "./exit-code.js";
import {
  chooseEnvironment,
  chooseStore,
  engineOptions,
  type GlobalFlags,
  readPepper,
  type StoreChoice,
  showUrl,
} from "./global-options.js";
import { createTerminal, type Output, type Terminal } from "./terminal.js";

/** Standard input, which may be a terminal. */
type Input = Readable & { readonly isTTY?: boolean | undefined };

/** What a run gets from the process. */
export interface RunContext {
  readonly stdin: Input;
  readonly stdout: Output;
  readonly stderr: Output;
  readonly env: NodeJS.ProcessEnv;
  /** Fires on Ctrl-C and its like. */
  readonly signal: AbortSignal;
}

/** A run, as commands see it. */
export interface Run extends RunContext {
  exitCode: number;
}

/** A command under way. */
export interface Session {
  readonly run: Run;
  readonly flags: GlobalFlags;
  readonly terminal: Terminal;
  readonly environment: string;
  readonly signal: AbortSignal;
}

export function startRun(context: RunContext): Run {
  return { ...context, exitCode: EXIT.ok };
}

/** The session of the command that commander is about to run. */
export function startSession(run: Run, command: Command): Session {
  const flags = command.optsWithGlobals<GlobalFlags>();
  const terminal = createTerminal({
    stdout: run.stdout,
    stderr: run.stderr,
    env: run.env,
    format: flags.json ? "json" : "text",
    color: flags.color ? "auto" : "never",
    verbosity: flags.quiet ? "quiet" : "normal",
  });
  return { run, flags, terminal, environment: chooseEnvironment(flags, run.env), signal: run.signal };
}

/**
 * How a store is opened. Only `write` makes a folder or an environment that is not there. `read` writes nothing; `change`
 * writes to what is there; `plan` writes nothing, and takes what is not there for empty.
 */
export type Access = "read" | "change" | "plan" | "write";

/** Opens the store at `url` and closes it when `use` is done. */
export async function withStoreAt<T>(
  url: string,
  environment: string,
  access: Access,
  use: (store: SegmentStore) => Promise<T>,
): Promise<T> {
  const store = await openAs(access, url, environment);
  try {
    return await use(store);
  } finally {
    await store.close();
  }
}

async function openAs(access: Access, url: string, environment: string): Promise<SegmentStore> {
  const open = (at: string, readOnly: boolean) => openStore(at, { environment, readOnly, factories: [lmdb] });
  if (access === "write") return open(url, false);
  try {
    // A wrong path or name must not leave an empty store behind because somebody asked a question.
    const store = await open(url, true);
    if (access !== "change") return store;
    await store.close();
    return await open(url, false);
  } catch (error) {
    if (access === "plan" && isRollcallError(error, "store_read_only")) return open("memory:", false);
    throw error;
  }
}

/** Opens the session's store for writing. */
export async function withRollcall<T>(
  session: Session,
  use: (rollcall: Rollcall) => Promise<T>,
  options: RollcallOptions & { readonly access?: Access; readonly choice?: StoreChoice } = {},
): Promise<T> {
  const { access = "write", choice = chooseStore(session.flags, session.run.env), ...rest } = options;
  if (access !== "read" && choice.chosenBy === "local") {
    session.terminal.note(`store: ${showUrl(choice.url)} (made here by "rollcall init")`);
  }
  const pepper = await readPepper(session.flags, session.run.env);
  return withStoreAt(choice.url, session.environment, access, async (store) => {
    const rollcall = createRollcall(store, {
      ...engineOptions(session.flags),
      pepper,
      onWarning: (warning) => session.terminal.warn(warning.message),
      ...rest,
    });
    try {
      return await use(rollcall);
    } finally {
      await rollcall.close();
    }
  });
}

/** Opens the session's store for changing what is there: neither the store nor the environment is made. */
export function withExistingStore<T>(session: Session, use: (rollcall: Rollcall) => Promise<T>): Promise<T> {
  return withRollcall(session, use, { access: "change" });
}

/** Opens the session's store for reading members. A store that fails is an error, not an answer. */
export async function withReader<T>(
  session: Session,
  use: (reader: SegmentReader, store: SegmentStore) => Promise<T>,
): Promise<T> {
  const choice = chooseStore(session.flags, session.run.env);
  const pepper = await readPepper(session.flags, session.run.env);
  return withStoreAt(choice.url, session.environment, "read", async (store) => {
    const reader = createSegmentReader({ store, pepper, onError: "throw" });
    try {
      return await use(reader, store);
    } finally {
      reader.close();
    }
  });
}
