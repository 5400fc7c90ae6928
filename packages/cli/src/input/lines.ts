// Plain text: one member a line.

import type { Entries } from "./entries.js";
import type { TextBlock } from "./text-block.js";

/** Members as they stand in their lines, nothing trimmed but the line end (LF or CRLF). Empty lines are passed over. */
export async function* parseLines(blocks: AsyncIterable<TextBlock>): AsyncGenerator<Entries> {
  for await (const block of blocks) {
    const lines = splitLines(block.text);
    if (!lines.includes("")) {
      yield { members: lines, lines: block.firstLine, unusable: [], emptyLines: 0 };
      continue;
    }
    const members: string[] = [];
    const numbers: number[] = [];
    for (const [index, line] of lines.entries()) {
      if (line === "") continue;
      members.push(line);
      numbers.push(block.firstLine + index);
    }
    yield { members, lines: numbers, unusable: [], emptyLines: lines.length - members.length };
  }
}

/** The lines of a text without their ends; a line feed at the end of the text starts no further line. */
export function splitLines(text: string): string[] {
  const lines = text.split("\n");
  if (lines.at(-1) === "") lines.pop();
  if (!text.includes("\r")) return lines;
  return lines.map((line) => (line.endsWith("\r") ? line.slice(0, -1) : line));
}
