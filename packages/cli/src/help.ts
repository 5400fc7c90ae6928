// Examples under the help of a command.

import type { Command } from "commander";

/** Adds `lines`, each a command and what it does, below the help of `command`. */
export function examples(command: Command, lines: readonly (readonly [line: string, meaning: string])[]): void {
  const width = Math.max(...lines.map(([line]) => line.length));
  const text = lines.map(([line, meaning]) => `  $ ${line.padEnd(width)}  # ${meaning}`).join("\n");
  command.addHelpText("after", `\nExamples:\n${text}`);
}
