// rollcall verify: recounts, looks for what should not be there, and mends it on request.

import type { Command } from "commander";
import { EXIT } from "../exit-code.js";
import { examples } from "../help.js";
import { showProgress } from "../progress.js";
import { formatNumber } from "../quantity.js";
import { type Run, type Session, startSession, withExistingStore } from "../session.js";
import { table } from "../terminal.js";

export function addVerify(program: Command, run: Run): void {
  const command = program
    .command("verify")
    .description("Recount every segment and look for broken invariants; exits with 3 if something is left unmended.")
    .option("--repair", "mend what is found")
    .action((flags: { repair?: true }, self: Command) => verify(startSession(run, self), flags.repair));
  examples(command, [
    ["rollcall verify", "look, change nothing"],
    ["rollcall verify --repair", "mend what is found"],
  ]);
}

async function verify(session: Session, repair: true | undefined): Promise<void> {
  const display = showProgress(session.terminal);
  try {
    const report = await withExistingStore(session, (rollcall) =>
      rollcall.verify({ repair, signal: session.signal, onProgress: display.onProgress }),
    );
    display.stop();
    const { terminal } = session;
    terminal.answer(report, () => {
      const checked = `checked ${formatNumber(report.segments)} ${report.segments === 1 ? "segment" : "segments"} with ${formatNumber(report.members)} members`;
      if (report.findings.length === 0) return `${checked}: ${terminal.colors.green("all is well")}\n`;
      const rows = report.findings.map(({ kind, segmentKey, message, repaired }) => [
        kind.replaceAll("_", " "),
        segmentKey ?? "",
        repaired ? terminal.colors.green("yes") : terminal.colors.red("no"),
        message,
      ]);
      const columns = [{ name: "finding" }, { name: "segment" }, { name: "repaired" }, { name: "what" }];
      return `${checked}\n${table(columns, rows, terminal.colors)}`;
    });
    if (report.findings.some((finding) => !finding.repaired)) session.run.exitCode = EXIT.no;
  } finally {
    display.stop();
  }
}
