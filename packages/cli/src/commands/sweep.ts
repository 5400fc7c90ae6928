// rollcall sweep: drops what syncs left behind.

import type { Command } from "commander";
import { examples } from "../help.js";
import { showProgress } from "../progress.js";
import { formatNumber } from "../quantity.js";
import { type Run, type Session, startSession, withExistingStore } from "../session.js";

export function addSweep(program: Command, run: Run): void {
  const command = program
    .command("sweep")
    .description(
      "Drop replaced members past their grace period, and what writers that died left behind. Run it every hour or so.",
    )
    .action((_flags: object, self: Command) => sweep(startSession(run, self)));
  examples(command, [
    ["rollcall sweep", "drop what is due"],
    ["rollcall sweep --grace 0s", "drop all of it, if no reader is running"],
  ]);
}

async function sweep(session: Session): Promise<void> {
  const display = showProgress(session.terminal);
  try {
    const report = await withExistingStore(session, (rollcall) =>
      rollcall.sweep({ signal: session.signal, onProgress: display.onProgress }),
    );
    display.stop();
    session.terminal.answer(report, () => {
      const waiting =
        report.waitingSets === 0 ? "" : `; ${formatNumber(report.waitingSets)} wait for the end of their grace period`;
      return `dropped ${formatNumber(report.droppedSets)} member ${report.droppedSets === 1 ? "set" : "sets"}${waiting}\n`;
    });
  } finally {
    display.stop();
  }
}
