// rollcall membership: every segment that a context is in.

import type { Command } from "commander";
import { examples } from "../help.js";
import { type Run, type Session, startSession, withReader } from "../session.js";
import { table } from "../terminal.js";

export function addMembership(program: Command, run: Run): void {
  const command = program
    .command("membership")
    .description("List the segments that a context is in, or is excluded from.")
    .argument("<key>", "the key of the context")
    .option("--kind <kind>", "the context's kind", "user")
    .action((key: string, flags: { kind: string }, self: Command) =>
      membership(startSession(run, self), key, flags.kind),
    );
  examples(command, [
    ["rollcall membership user-42", "all segments of users that user-42 is in"],
    ["rollcall membership acme --kind account", "of another context kind"],
  ]);
}

async function membership(session: Session, key: string, kind: string): Promise<void> {
  await withReader(session, async (reader) => {
    const { segments, status } = await reader.membership({ kind, key });
    const sorted = [...segments].sort(([a], [b]) => (a < b ? -1 : 1));
    const { terminal } = session;
    terminal.answer({ kind, status, segments: Object.fromEntries(sorted) }, () => {
      if (sorted.length === 0) return "in no segment\n";
      const rows = sorted.map(([segment, isIn]) => [segment, isIn ? "included" : "excluded"]);
      return table([{ name: "segment" }, { name: "list" }], rows, terminal.colors);
    });
  });
}
