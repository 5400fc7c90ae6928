// rollcall forget: removes contexts from every segment, for erasure requests.

import { type Member, RollcallError } from "@rollcall/core";
import type { Command } from "commander";
import { examples } from "../help.js";
import { isJsonFile } from "../input/format.js";
import { openMemberInput } from "../input/member-input.js";
import { formatNumber } from "../quantity.js";
import { type Run, type Session, startSession, withExistingStore } from "../session.js";

export function addForget(program: Command, run: Run): void {
  const command = program
    .command("forget")
    .description("Remove a context from every segment of its kind, and from what replaced snapshots left.")
    .argument("[key]", "the key of the context; use --file to keep it out of process lists")
    .option("--file <path>", "forget every key in this plain file (- is standard input) instead")
    .option("--kind <kind>", "the context's kind", "user")
    .action((key: string | undefined, flags: { kind: string; file?: string }, self: Command) =>
      forget(startSession(run, self), key, flags),
    );
  examples(command, [
    ["rollcall forget user-42", "one context"],
    ["rollcall forget --file erasures.txt", "every key in a file, one a line"],
  ]);
}

async function forget(
  session: Session,
  key: string | undefined,
  flags: { kind: string; file?: string },
): Promise<void> {
  if ((key === undefined) === (flags.file === undefined)) {
    throw new RollcallError("invalid_request", "name one context key, or a file of them with --file");
  }
  const batches = key === undefined ? await keysOf(session, flags.file ?? "-") : [[key]];
  await withExistingStore(session, async (rollcall) => {
    const segments = new Set<string>();
    let contexts = 0;
    for await (const batch of batches) {
      for (const each of batch) {
        const report = await rollcall.forget({ kind: flags.kind, key: String(each) }, { signal: session.signal });
        for (const segment of report.segments) segments.add(segment);
        contexts++;
      }
    }
    const answer = { kind: flags.kind, contexts, segments: [...segments].sort() };
    session.terminal.answer(answer, () => {
      const from = answer.segments.length === 0 ? "which no segment held" : `which ${answer.segments.join(", ")} held`;
      return `forgot ${formatNumber(contexts)} ${contexts === 1 ? "context" : "contexts"}, ${from}\n`;
    });
  });
}

async function keysOf(session: Session, file: string): Promise<AsyncIterable<readonly Member[]>> {
  // Its lines would be taken for keys that no segment holds, and a request to forget would seem to be done.
  if (isJsonFile(file))
    throw new RollcallError(
      "invalid_request",
      `${file}: is to hold one key a line; jq -r '.[]' makes that of a JSON array`,
    );
  const input = await openMemberInput([file], { stdin: session.run.stdin, signal: session.signal, format: "lines" });
  return input.members();
}
