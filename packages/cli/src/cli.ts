// The command line as a function: arguments in, exit code out.

import { readFileSync } from "node:fs";
import { constants } from "node:os";
import { inspect } from "node:util";
import { isRollcallError, type RollcallError, type RollcallErrorCode } from "@rollcall/core";
import { Command, CommanderError } from "commander";
import { addCheck } from "./commands/check.js";
import { addCopy } from "./commands/copy.js";
import { addCost } from "./commands/cost.js";
import { addForget } from "./commands/forget.js";
import { addInit } from "./commands/init.js";
import { addMembership } from "./commands/membership.js";
import { addSegments } from "./commands/segments.js";
import { addSweep } from "./commands/sweep.js";
import { addSync } from "./commands/sync.js";
import { addVerify } from "./commands/verify.js";
import { EXIT, exitCodeFor } from "./exit-code.js";
import { addGlobalOptions } from "./global-options.js";
import { examples } from "./help.js";
import { interruptionExitCode } from "./interruption.js";
import { type Run, type RunContext, startRun } from "./session.js";
import { createTerminal, OutputClosed } from "./terminal.js";

/** Runs one command line, without the name of the program; answers its exit code and never throws. */
export async function runCli(argv: readonly string[], context: RunContext): Promise<number> {
  const run = startRun(context);
  try {
    await createProgram(run).parseAsync([...argv], { from: "user" });
    return run.exitCode;
  } catch (error) {
    return reportError(error, argv, context);
  }
}

function createProgram(run: Run): Command {
  const program = new Command("rollcall")
    .description(
      "Keeps synced segments: audiences with millions of members, pushed from outside, asked about on every request.",
    )
    .version(readVersion(), "--version", "print the version")
    .helpOption("-h, --help", "print help")
    .helpCommand("help [command]", "print help for a command")
    .configureHelp({ showGlobalOptions: true, helpWidth: 120 })
    .configureOutput({
      writeOut: (text) => void run.stdout.write(text),
      writeErr: (text) => void run.stderr.write(text),
      // Commander's own error texts are written by reportError, so that --json holds for them too.
      outputError: () => {},
    })
    .exitOverride();
  addGlobalOptions(program);
  addInit(program, run);
  addSync(program, run);
  addCheck(program, run);
  addMembership(program, run);
  addSegments(program, run);
  addForget(program, run);
  addCopy(program, run);
  addSweep(program, run);
  addVerify(program, run);
  addCost(program, run);
  examples(program, [
    ["rollcall init", "make a store here, in ./rollcall-data"],
    ["rollcall sync vips users.csv --column user_id", "create segment vips from a file"],
    ["rollcall check vips user-42", "is user-42 in it?"],
    ["rollcall sync vips export.csv --column user_id --mode replace", "make it exactly what the export says"],
  ]);
  return program;
}

/** As if the signal had ended the process: 128 and its number. */
const BROKEN_PIPE = 128 + constants.signals.SIGPIPE;

/** The flag that is the remedy, where core's message cannot know it. */
const HINTS: { readonly [Code in RollcallErrorCode]?: string } = {
  shrink_guard: "--allow-shrink lets it through; with --dry-run too it only shows what would change",
  segment_busy: "--lease-wait waits longer",
  pepper_mismatch: "ROLLCALL_PEPPER or --pepper-file names the pepper; where there is to be none, leave both out",
  environment_not_empty: "--to-environment names another environment",
  store_read_only:
    '"rollcall init" makes what is not there yet; to change a store, open it without readOnly and with the rights, or files, to write',
  corrupt_data: '"rollcall verify" tells more',
};

/**
 * What a database called its error. Its message is not shown: it could hold a password. ROLLCALL_DEBUG shows all of it. Nothing where the
 * request is wrong: its message says all there is to do.
 */
function nativeCode({ code, cause }: RollcallError): string | undefined {
  if (exitCodeFor(code) === EXIT.invalid || !(cause instanceof Error) || !("code" in cause)) return undefined;
  return `the cause was ${cause.name} ${String(cause.code)}; ROLLCALL_DEBUG=1 shows all of it`;
}

function readVersion(): string {
  const manifest: unknown = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
  return typeof manifest === "object" && manifest !== null && "version" in manifest
    ? String(manifest.version)
    : "unknown";
}

function reportError(error: unknown, argv: readonly string[], context: RunContext): number {
  if (error instanceof CommanderError && error.exitCode === 0) return EXIT.ok;
  if (error instanceof OutputClosed) return BROKEN_PIPE;
  const json = argv.slice(0, argv.includes("--") ? argv.indexOf("--") : undefined).includes("--json");
  const terminal = createTerminal({
    ...context,
    format: json ? "json" : "text",
    color: argv.includes("--no-color") ? "never" : "auto",
    verbosity: "normal",
  });
  if (error instanceof CommanderError) {
    // Commander has answered a missing command with the help.
    if (error.code !== "commander.help" || json) {
      const message = error.code === "commander.help" ? "say which command" : error.message.replace(/^error: /, "");
      terminal.error("invalid_request", message, false);
    }
    return EXIT.invalid;
  }
  if (isRollcallError(error, "aborted") || context.signal.aborted) {
    terminal.error(
      "aborted",
      "interrupted; a snapshot has changed nothing, of a merge a part may be applied; running the same command again is safe",
      true,
    );
    return interruptionExitCode(context.signal.reason);
  }
  if (isRollcallError(error)) {
    terminal.error(error.code, error.message, error.retryable, HINTS[error.code] ?? nativeCode(error));
    if (context.env.ROLLCALL_DEBUG) context.stderr.write(`${inspect(error.cause)}\n`);
    return exitCodeFor(error.code);
  }
  // Its message is of unknown making and could hold a key or a password; the stack has places only.
  const places = error instanceof Error ? (error.stack ?? "").split("\n").filter((line) => /^\s+at /.test(line)) : [];
  terminal.error(
    "unexpected",
    `an unexpected ${error instanceof Error ? error.name : "error"}; please report it with these lines`,
    false,
  );
  context.stderr.write(context.env.ROLLCALL_DEBUG ? `${inspect(error)}\n` : `${places.slice(0, 8).join("\n")}\n`);
  return EXIT.unexpected;
}
