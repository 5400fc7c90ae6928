// rollcall segments show.

import type { Command } from "commander";
import { examples } from "../help.js";
import { describeSegment, requireSegment, summarize } from "../segment-summary.js";
import { type Run, type Session, startSession, withRollcall } from "../session.js";

export function addSegmentsShow(segments: Command, run: Run): void {
  const command = segments
    .command("show")
    .description("Show one segment: details and where they come from, counts, positions.")
    .argument("<segment>", "the key of the segment")
    .action((segmentKey: string, _flags: object, self: Command) => show(startSession(run, self), segmentKey));
  examples(command, [["rollcall segments show vips", "everything about vips"]]);
}

async function show(session: Session, segmentKey: string): Promise<void> {
  const segment = await withRollcall(session, (rollcall) => requireSegment(rollcall, segmentKey), { access: "read" });
  session.terminal.answer(summarize(segment), () => describeSegment(segment, session.terminal.colors));
}
