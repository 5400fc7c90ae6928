// The members of CSV text that holds no quote. There every delimiter separates and every line feed ends a record, so the one
// wanted field is cut out of each line and the others cost nothing; `pnpm bench parse` says what that saves.

import type { MemberChange } from "@rollcall/core";
import type { CsvColumns } from "./csv-columns.js";
import { type Entries, parseOperation, type UnusableEntry } from "./entries.js";
import { splitLines } from "./lines.js";
import type { TextBlock } from "./text-block.js";

/** The same as the parser gives for such text. */
export function pickUnquoted(block: TextBlock, delimiter: string, columns: CsvColumns): Entries {
  const members: string[] = [];
  const changes: MemberChange["change"][] = [];
  const numbers: number[] = [];
  const unusable: UnusableEntry[] = [];
  const lines = splitLines(block.text);
  let emptyLines = 0;
  for (const [index, text] of lines.entries()) {
    const line = block.firstLine + index;
    if (text === "") {
      emptyLines++;
      continue;
    }
    const start = startOfField(text, delimiter, columns.member);
    if (start === -1) {
      unusable.push({ line, reason: "missing_member" });
    } else if (hasMoreFields(text, start, delimiter, columns)) {
      unusable.push({ line, reason: "too_many_fields" });
    } else {
      const change = columns.operation === undefined ? "add" : operationOf(text, delimiter, columns.operation);
      if (change === undefined) {
        unusable.push({ line, reason: "unknown_operation" });
        continue;
      }
      members.push(fieldAt(text, start, delimiter));
      if (columns.operation !== undefined) changes.push(change);
      numbers.push(line);
    }
  }
  return { members, lines: numbers, unusable, emptyLines, ...(columns.operation === undefined ? {} : { changes }) };
}

function startOfField(text: string, delimiter: string, field: number): number {
  let start = 0;
  for (let index = 0; index < field; index++) {
    const at = text.indexOf(delimiter, start);
    if (at === -1) return -1;
    start = at + delimiter.length;
  }
  return start;
}

function fieldAt(text: string, start: number, delimiter: string): string {
  const end = text.indexOf(delimiter, start);
  return end === -1 ? text.slice(start) : text.slice(start, end);
}

/** Whether there are fields beyond the last column that are not empty; counted from the member's on. */
function hasMoreFields(text: string, memberStart: number, delimiter: string, columns: CsvColumns): boolean {
  let field = columns.member;
  for (let at = text.indexOf(delimiter, memberStart); at !== -1; at = text.indexOf(delimiter, at + delimiter.length)) {
    field++;
    if (field < columns.count) continue;
    return text.slice(at).replaceAll(delimiter, "") !== "";
  }
  return false;
}

function operationOf(text: string, delimiter: string, field: number): MemberChange["change"] | undefined {
  const start = startOfField(text, delimiter, field);
  return start === -1 ? undefined : parseOperation(fieldAt(text, start, delimiter));
}
