// rollcall sync: brings a segment to what files, or standard input, say.

import {
  isRollcallError,
  type ListName,
  type MemberFormat,
  type Rollcall,
  RollcallError,
  type SyncOptions,
  type SyncReport,
} from "@rollcall/core";
import { type Command, Option } from "commander";
import { collectTags, type DetailsFlags, detailsPatchOf } from "../details-patch.js";
import { examples } from "../help.js";
import type { MemberInput } from "../input/member-input.js";
import { addMemberFlags, type MemberFlags, openMemberFiles } from "../member-flags.js";
import { type ProgressDisplay, showProgress } from "../progress.js";
import { parsePositiveInteger, parsePrice, parseShare } from "../quantity.js";
import { type Run, type Session, startSession, withRollcall } from "../session.js";
import { type CommandReport, describeReport, locateRejections, withDollars } from "../sync-report.js";

interface SyncFlags extends MemberFlags, DetailsFlags {
  readonly mode: "merge" | "replace";
  readonly remove?: true;
  readonly list: ListName;
  readonly kind?: string;
  readonly memberFormat: MemberFormat;
  readonly syncId?: string;
  readonly source?: string;
  readonly expect?: string;
  readonly next?: string;
  readonly allowShrink?: true;
  readonly minRemaining?: number;
  readonly expectedContexts?: number;
  readonly dryRun?: true;
  readonly writePrice?: number;
  readonly readPrice?: number;
}

export function addSync(program: Command, run: Run): void {
  const command = program
    .command("sync")
    .description("Bring a segment to what files say; creates it if need be. Packed files (gzip) are recognised.")
    .argument("<segment>", "the key of the segment")
    .argument("[files...]", "one or more files; - is standard input, which is also read if no file is named", undefined)
    .addOption(
      new Option("--mode <mode>", "merge: apply changes; replace: afterwards exactly these members")
        .choices(["merge", "replace"])
        .default("merge"),
    )
    .option("--remove", "the members named are to be removed (merge)")
    .addOption(
      new Option("--list <list>", "the list that is meant").choices(["included", "excluded"]).default("included"),
    )
    .option("--kind <kind>", "the context kind of the members (default: the segment's, user for a new one)")
    .option("--name <text>", "the segment's name, as the source has it")
    .option("--description <text>", "the segment's description, as the source has it")
    .option("--tag <tag>", "a tag, as the source has it; may be repeated", collectTags);
  addMemberFlags(command, "changes");
  command
    .addOption(
      new Option("--member-format <format>", "key: context keys; sha256: SHA-256 digests of them, hex or base64")
        .choices(["key", "sha256"])
        .default("key"),
    )
    .option("--sync-id <id>", "your id of this sync: a repeat is recognised and not applied again")
    .option("--source <name>", "the ordered source this comes from; with --next")
    .option("--expect <position>", "the position in the source that this continues from; none for the first")
    .option("--next <position>", "the position in the source after this")
    .option("--allow-shrink", "replace: let more than half of the members go")
    .option(
      "--min-remaining <share>",
      "replace: the share of the members that must stay, 0 to 1 (default: 0.5)",
      parseShare,
    )
    .option(
      "--expected-contexts <number>",
      "for a new environment: contexts it is going to hold in all",
      parsePositiveInteger,
    )
    .option("--dry-run", "print what would change, and what that would consume where it is paid by use; change nothing")
    .option("--write-price <dollars>", "dry run: dollars for a million write units", parsePrice)
    .option("--read-price <dollars>", "dry run: dollars for a million read units", parsePrice)
    .action((segmentKey: string, files: string[], flags: SyncFlags, self: Command) =>
      sync(startSession(run, self), segmentKey, files, flags),
    );
  examples(command, [
    ["rollcall sync vips users.txt", "add the members in a plain file, one a line"],
    ["rollcall sync vips users.csv --column user_id", "add those in a column of a CSV file"],
    ["rollcall sync vips delta.csv --column user_id --op-column op", "add and remove, as a column says"],
    ["rollcall sync vips events.ndjson.gz --pointer /user/id", "add those in packed NDJSON"],
    ["rollcall sync vips gone.txt --remove", "remove the members named"],
    ["rollcall sync vips export.csv --column user_id --mode replace --dry-run", "what would a replacement change?"],
    ["psql -Atc 'select id from vips' | rollcall sync vips - --mode replace", "from a pipe"],
  ]);
}

async function sync(session: Session, segmentKey: string, files: readonly string[], flags: SyncFlags): Promise<void> {
  checkFlags(files, flags);
  const isTyped = (files.length === 0 || files.includes("-")) && session.run.stdin.isTTY === true;
  if (isTyped) session.terminal.note("reading standard input; Ctrl-D ends it, Ctrl-C leaves the segment as it is");
  const input = await openMemberFiles(session, files.length === 0 ? ["-"] : files, flags);
  const display = showProgress(session.terminal, input.progress);
  let report: CommandReport;
  try {
    report = await withRollcall(session, (rollcall) => apply(rollcall, session, segmentKey, input, flags, display), {
      minRemaining: flags.minRemaining,
      expectedContexts: flags.expectedContexts,
      access: flags.dryRun ? "plan" : "write",
    });
  } finally {
    display.stop();
  }
  report = withDollars(report, flags);
  session.terminal.answer(report, () => describeReport(report, session.terminal.colors));
  if (report.rejected.count > 0 && session.terminal.format === "text") warnOfRejections(session, report);
}

function checkFlags(files: readonly string[], flags: SyncFlags): void {
  const invalid = (message: string) => new RollcallError("invalid_request", message);
  const hasOperations = flags.opColumn !== undefined || flags.opPointer !== undefined;
  if (files.filter((file) => file === "-").length > 1)
    throw invalid("standard input can be read only once; name - once");
  if (flags.mode === "replace" && flags.remove)
    throw invalid("--remove is for --mode merge: a snapshot names the members that stay");
  if (flags.mode === "replace" && hasOperations) throw invalid("--op-column and --op-pointer are for --mode merge");
  if (flags.remove && hasOperations)
    throw invalid("--remove and an operation column or pointer contradict each other; use one");
  if (flags.mode === "merge" && flags.allowShrink) throw invalid("--allow-shrink is for --mode replace");
  if (flags.mode === "merge" && flags.minRemaining !== undefined)
    throw invalid("--min-remaining is for --mode replace");
  if ((flags.source === undefined) !== (flags.next === undefined))
    throw invalid("--source and --next are given together");
  if ((flags.writePrice === undefined) !== (flags.readPrice === undefined))
    throw invalid("name both prices: --write-price and --read-price");
  if (flags.writePrice !== undefined && !flags.dryRun) throw invalid("prices are for --dry-run");
  if (flags.expect !== undefined && flags.source === undefined) throw invalid("--expect needs --source and --next");
}

async function apply(
  rollcall: Rollcall,
  session: Session,
  segmentKey: string,
  input: MemberInput,
  flags: SyncFlags,
  display: ProgressDisplay,
): Promise<CommandReport> {
  const present = await rollcall.getSegment(segmentKey);
  // A name that was mistyped makes another one, of an environment too.
  if (present === undefined && !flags.dryRun)
    session.terminal.note(`segment ${segmentKey} is new in environment ${session.environment}`);
  const options: SyncOptions = {
    contextKind: flags.kind ?? present?.contextKind,
    details: detailsPatchOf(flags),
    memberFormat: flags.memberFormat,
    syncId: flags.syncId,
    dryRun: flags.dryRun,
    signal: session.signal,
    onProgress: display.onProgress,
    ...(flags.source === undefined || flags.next === undefined
      ? {}
      : { sourcePosition: { source: flags.source, expect: flags.expect, next: flags.next } }),
  };
  let report: SyncReport;
  if (flags.mode === "replace") {
    const snapshot = { [flags.list]: nothingAppliedYet(input.members()) };
    report = await rollcall.replace(segmentKey, snapshot, { ...options, allowShrink: flags.allowShrink });
  } else if (flags.opColumn !== undefined || flags.opPointer !== undefined) {
    report = await rollcall.merge(
      segmentKey,
      { changes: nothingAppliedYet(input.changes()) },
      { ...options, list: flags.list },
    );
  } else {
    const members = nothingAppliedYet(input.members());
    const delta = flags.remove ? { remove: members } : { add: members };
    report = await rollcall.merge(segmentKey, delta, { ...options, list: flags.list });
  }
  return locateRejections(report, input);
}

/** Core reads all of the input before it writes anything, so what speaks against the input is said before there is a change. */
async function* nothingAppliedYet<T>(batches: AsyncIterable<T>): AsyncGenerator<T> {
  try {
    yield* batches;
  } catch (error) {
    if (!isRollcallError(error, "invalid_request")) throw error;
    throw new RollcallError(error.code, `${error.message}; nothing was applied`, { cause: error.cause });
  }
}

const SHOWN_REJECTIONS = 10;

function warnOfRejections({ terminal }: Session, { rejected }: CommandReport): void {
  terminal.warn(
    `${rejected.count} ${rejected.count === 1 ? "entry was" : "entries were"} left out; the others were synced`,
  );
  const shown = rejected.listed.slice(0, SHOWN_REJECTIONS);
  for (const { file, line, position, reason } of shown) {
    const place = file === undefined ? `entry ${(position ?? 0) + 1}` : `${file} line ${line}`;
    terminal.warn(`  ${place}: ${reason.replaceAll("_", " ")}`);
  }
  if (rejected.count > shown.length)
    terminal.warn(`  and ${rejected.count - shown.length} more; --json lists up to 100`);
}
