// rollcall copy: moves an environment between any two stores.

import { copy as copyEnvironment } from "@rollcall/core";
import type { Command } from "commander";
import { engineOptions, showUrl } from "../global-options.js";
import { examples } from "../help.js";
import { showProgress } from "../progress.js";
import { formatNumber } from "../quantity.js";
import { type Run, type Session, startSession, withStoreAt } from "../session.js";

export function addCopy(program: Command, run: Run): void {
  const command = program
    .command("copy")
    .description(
      "Copy an environment into an empty one of any store, and compare both: backup, migration, re-sharding. Needs no pepper.",
    )
    .argument("<from>", "the URL of the store to read")
    .argument("<to>", "the URL of the store to write; its environment must hold no segments")
    .option("--to-environment <name>", "the environment to write (default: the same name)")
    .action((from: string, to: string, flags: { toEnvironment?: string }, self: Command) =>
      copy(startSession(run, self), from, to, flags.toEnvironment),
    );
  examples(command, [
    ["rollcall copy lmdb:./rollcall-data lmdb:/backup/rollcall", "a backup"],
    [
      "rollcall copy lmdb:./rollcall-data lmdb:./rollcall-data --to-environment trial",
      "an environment to try things in",
    ],
  ]);
}

async function copy(session: Session, from: string, to: string, toEnvironment = session.environment): Promise<void> {
  const display = showProgress(session.terminal);
  const { leaseTtlMs, leaseWaitMs, memoryLimitBytes, tempDir } = engineOptions(session.flags);
  try {
    const report = await withStoreAt(from, session.environment, "read", (source) =>
      withStoreAt(to, toEnvironment, "write", (target) =>
        copyEnvironment(source, target, {
          leaseTtlMs,
          leaseWaitMs,
          memoryLimitBytes,
          tempDir,
          signal: session.signal,
          onProgress: display.onProgress,
          onWarning: (warning) => session.terminal.warn(warning.message),
        }),
      ),
    );
    display.stop();
    const answer = { from: showUrl(from), to: showUrl(to), environment: session.environment, toEnvironment, ...report };
    session.terminal.answer(
      answer,
      () =>
        `copied ${formatNumber(report.segments)} ${report.segments === 1 ? "segment" : "segments"} with ${formatNumber(report.members)} members, and compared them\n`,
    );
  } finally {
    display.stop();
  }
}
