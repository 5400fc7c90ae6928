// rollcall segments list.

import type { Command } from "commander";
import { examples } from "../help.js";
import { formatTime } from "../quantity.js";
import { oneLine, summarize } from "../segment-summary.js";
import { type Run, type Session, startSession, withRollcall } from "../session.js";
import { count } from "../sync-report.js";
import { table } from "../terminal.js";

export function addSegmentsList(segments: Command, run: Run): void {
  const command = segments
    .command("list")
    .description("List all segments of the environment.")
    .action((_flags: object, self: Command) => list(startSession(run, self)));
  examples(command, [
    ["rollcall segments list", "as a table"],
    ["rollcall segments list --json | jq -r '.segments[].key'", "the keys"],
  ]);
}

async function list(session: Session): Promise<void> {
  const { terminal } = session;
  const segments = await withRollcall(session, (rollcall) => rollcall.listSegments(), { access: "read" });
  terminal.answer({ environment: session.environment, segments: segments.map(summarize) }, () => {
    if (segments.length === 0) return `no segments in environment ${session.environment}\n`;
    return table(
      [
        { name: "segment" },
        { name: "name" },
        { name: "kind" },
        { name: "included", align: "right" },
        { name: "excluded", align: "right" },
        { name: "last synced" },
      ],
      segments.map(({ key, details, contextKind, included, excluded, lastSyncedAt }) => [
        key,
        oneLine(details.name?.value ?? ""),
        contextKind,
        count(included.count),
        count(excluded.count),
        lastSyncedAt === undefined ? "never" : formatTime(lastSyncedAt),
      ]),
      terminal.colors,
    );
  });
}
