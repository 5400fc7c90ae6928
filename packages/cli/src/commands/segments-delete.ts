// rollcall segments delete.

import { createInterface } from "node:readline/promises";
import { RollcallError } from "@rollcall/core";
import type { Command } from "commander";
import { examples } from "../help.js";
import { requireSegment } from "../segment-summary.js";
import { type Run, type Session, startSession, withExistingStore } from "../session.js";
import { count } from "../sync-report.js";

export function addSegmentsDelete(segments: Command, run: Run): void {
  const command = segments
    .command("delete")
    .description("Delete a segment. Its members are dropped by the next sweep after the grace period.")
    .argument("<segment>", "the key of the segment")
    .option("--yes", "do not ask")
    .action((segmentKey: string, flags: { yes?: true }, self: Command) =>
      remove(startSession(run, self), segmentKey, flags.yes),
    );
  examples(command, [
    ["rollcall segments delete vips", "asks first"],
    ["rollcall segments delete vips --yes", "in a script"],
  ]);
}

async function remove(session: Session, segmentKey: string, yes: true | undefined): Promise<void> {
  await withExistingStore(session, async (rollcall) => {
    const segment = await requireSegment(rollcall, segmentKey);
    if (!yes) await confirm(session, `Delete ${segment.key} with ${count(segment.included.count)} members?`);
    await rollcall.deleteSegment(segment.key, { signal: session.signal });
    session.terminal.answer({ segment: segment.key, deleted: true }, () => `deleted ${segment.key}\n`);
  });
}

/** @throws `invalid_request` unless a person says yes. */
async function confirm({ run, signal, terminal }: Session, question: string): Promise<void> {
  const isAsked = terminal.format === "text" && run.stderr.isTTY === true && run.stdin.isTTY === true;
  if (!isAsked) throw new RollcallError("invalid_request", "deleting asks for confirmation; in a script give --yes");
  const prompt = createInterface({ input: run.stdin, output: run.stderr });
  try {
    const answer = await prompt.question(`${question} [y/N] `, { signal });
    if (!/^y(es)?$/i.test(answer.trim()))
      throw new RollcallError("invalid_request", "not confirmed; nothing was deleted");
  } finally {
    prompt.close();
  }
}
