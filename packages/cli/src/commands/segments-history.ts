// rollcall segments history.

import type { Command } from "commander";
import { examples } from "../help.js";
import { parsePositiveInteger } from "../quantity.js";
import { requireSegment } from "../segment-summary.js";
import { type Run, type Session, startSession, withRollcall } from "../session.js";
import { describeHistory } from "../sync-report.js";

export function addSegmentsHistory(segments: Command, run: Run): void {
  const command = segments
    .command("history")
    .description("List the newest syncs of a segment, the newest first, 100 at most.")
    .argument("<segment>", "the key of the segment")
    .option("--limit <number>", "how many", parsePositiveInteger)
    .action((segmentKey: string, flags: { limit?: number }, self: Command) =>
      history(startSession(run, self), segmentKey, flags.limit),
    );
  examples(command, [
    ["rollcall segments history vips", "what was synced when, and what it changed"],
    ["rollcall segments history vips --limit 1 --json", "the report of the last sync"],
  ]);
}

async function history(session: Session, segmentKey: string, limit: number | undefined): Promise<void> {
  const reports = await withRollcall(
    session,
    async (rollcall) => {
      const segment = await requireSegment(rollcall, segmentKey);
      return (await rollcall.getHistory(segment.key)).slice(0, limit);
    },
    { access: "read" },
  );
  const { terminal } = session;
  terminal.answer({ segment: segmentKey, syncs: reports }, () =>
    reports.length === 0 ? `${segmentKey} was never synced\n` : describeHistory(reports, terminal.colors),
  );
}
