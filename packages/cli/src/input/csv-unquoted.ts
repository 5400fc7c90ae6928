// The records of CSV text that holds no quote. There every delimiter separates and every line feed ends a record, so the fields
// wanted are cut out of each line and the others cost nothing; `pnpm bench parse` says what that saves.

import type { CsvRecords } from "./csv-records.js";
import { splitLines } from "./lines.js";
import type { TextBlock } from "./text-block.js";

/** The same records as the parser finds in such text. */
export function findUnquotedRecords({ text, firstLine }: TextBlock, delimiter: string): CsvRecords {
  const lines = splitLines(text);
  const at = (index: number) => lines[index] ?? "";
  return {
    count: lines.length,
    lineOf: (index) => firstLine + index,
    isEmptyLine: (index) => at(index) === "",
    fieldOf: (index, column) => fieldOf(at(index), column, delimiter),
    hasMoreThan: (index, columns) => hasMoreThan(at(index), columns, delimiter),
  };
}

function fieldOf(line: string, column: number, delimiter: string): string | undefined {
  let start = 0;
  for (let index = 0; index < column; index++) {
    const at = line.indexOf(delimiter, start);
    if (at === -1) return undefined;
    start = at + delimiter.length;
  }
  const end = line.indexOf(delimiter, start);
  return end === -1 ? line.slice(start) : line.slice(start, end);
}

function hasMoreThan(line: string, columns: number, delimiter: string): boolean {
  let fields = 1;
  for (let at = line.indexOf(delimiter); at !== -1; at = line.indexOf(delimiter, at + delimiter.length)) {
    if (fields++ >= columns) return line.slice(at).replaceAll(delimiter, "") !== "";
  }
  return false;
}
