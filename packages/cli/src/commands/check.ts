// rollcall check: is a context in a segment? One, or a file of candidates.

import {
  type Decision,
  isRollcallError,
  parseName,
  RollcallError,
  type SegmentReader,
  segmentKeySchema,
} from "@rollcall/core";
import type { Command } from "commander";
import { EXIT } from "../exit-code.js";
import { examples } from "../help.js";
import { addMemberFlags, type MemberFlags, openMemberFiles } from "../member-flags.js";
import { formatNumber } from "../quantity.js";
import { type Run, type Session, startSession, withReader } from "../session.js";

interface CheckFlags extends MemberFlags {
  readonly kind?: string;
  readonly file?: string;
  readonly exitCode?: true;
}

export function addCheck(program: Command, run: Run): void {
  const command = program
    .command("check")
    .description("Ask whether a context is a member of a segment.")
    .argument("<segment>", "the key of the segment")
    .argument("[key]", "the key of the context")
    .option("--file <path>", "ask about every key in this file (- is standard input) instead")
    .option("--kind <kind>", "the context's kind (default: the segment's)");
  addMemberFlags(command, "members");
  command
    .option("--exit-code", "exit with 3 if the context, or any of the file's, is not a member")
    .action((segmentKey: string, key: string | undefined, flags: CheckFlags, self: Command) =>
      check(startSession(run, self), segmentKey, key, flags),
    );
  examples(command, [
    ["rollcall check vips user-42", "member or not?"],
    ["rollcall check vips user-42 --exit-code && echo yes", "in a script"],
    ["rollcall check vips --file candidates.txt", "one line for each key: included, excluded or none, a tab, the key"],
    ["rollcall check vips user-42 --json", "as JSON"],
  ]);
}

async function check(session: Session, segmentKey: string, key: string | undefined, flags: CheckFlags): Promise<void> {
  if ((key === undefined) === (flags.file === undefined)) {
    throw new RollcallError("invalid_request", "name one context key, or a file of them with --file");
  }
  const parsed = parseName(segmentKeySchema, segmentKey, "segment key");
  await withReader(session, async (reader, store) => {
    const segment = await store.getSegment(parsed);
    if (segment?.state !== "live") {
      throw new RollcallError(
        "unknown_segment",
        `there is no segment ${parsed} in environment ${session.environment}; "rollcall segments list" lists them`,
      );
    }
    const kind = flags.kind ?? segment.contextKind;
    if (key === undefined) await checkFile(session, reader, parsed, kind, flags);
    else await checkOne(session, reader, parsed, { kind, key }, flags);
  });
}

async function checkOne(
  { run, terminal }: Session,
  reader: SegmentReader,
  segment: string,
  context: { readonly kind: string; readonly key: string },
  flags: CheckFlags,
): Promise<void> {
  const { member, decision, status } = await reader.isMember(segment, context);
  const { colors } = terminal;
  terminal.answer({ segment, kind: context.kind, member, decision, status }, () => {
    const answer = member ? colors.green("member") : colors.red("not a member");
    const because = decision === "excluded" ? " (excluded)" : "";
    const doubt = status === "healthy" ? "" : ` (${status.replaceAll("_", " ")})`;
    return `${answer} of ${segment}${because}${doubt}\n`;
  });
  if (!member && flags.exitCode) run.exitCode = EXIT.no;
}

/**
 * Answers come in the order of the file: as text as they are found, however long it is; as JSON when all of them are there, so that a file
 * that turns out to be broken leaves no half of an object.
 */
async function checkFile(
  session: Session,
  reader: SegmentReader,
  segment: string,
  kind: string,
  flags: CheckFlags,
): Promise<void> {
  const { run, terminal } = session;
  const input = await openMemberFiles(session, [flags.file ?? "-"], flags);
  const counts: Record<Decision | "rejected", number> = { included: 0, excluded: 0, none: 0, rejected: 0 };
  const answers: string[] = [];
  for await (const keys of input.members()) {
    const decisions = await Promise.all(keys.map((key) => decide(reader, segment, { kind, key: String(key) })));
    for (const decision of decisions) counts[decision]++;
    const found = decisions.map((decision, index) => ({ key: String(keys[index]), decision }));
    if (terminal.format === "json") answers.push(found.map((answer) => JSON.stringify(answer)).join(","));
    else await terminal.write(found.map(({ key, decision }) => `${decision}\t${key}\n`).join(""));
  }
  counts.rejected += input.unusable.count;
  const checked = counts.included + counts.excluded + counts.none + counts.rejected;
  if (terminal.format === "json") {
    await terminal.write(`{"segment":${JSON.stringify(segment)},"kind":${JSON.stringify(kind)},"answers":[`);
    for (const [index, text] of answers.entries()) await terminal.write(index === 0 ? text : `,${text}`);
    await terminal.write(`],"checked":${checked},"counts":${JSON.stringify(counts)}}\n`);
  }
  terminal.note(
    `${formatNumber(checked)} checked: ${formatNumber(counts.included)} included, ${formatNumber(counts.excluded)} excluded, ${formatNumber(counts.none)} neither${counts.rejected === 0 ? "" : `, ${formatNumber(counts.rejected)} not a valid key`}`,
  );
  if (counts.included < checked && flags.exitCode) run.exitCode = EXIT.no;
}

/** A candidate that cannot be a context key is no reason to leave the others without an answer. */
async function decide(
  reader: SegmentReader,
  segment: string,
  context: { readonly kind: string; readonly key: string },
): Promise<Decision | "rejected"> {
  try {
    return (await reader.isMember(segment, context)).decision;
  } catch (error) {
    if (isRollcallError(error, "invalid_request")) return "rejected";
    throw error;
  }
}
