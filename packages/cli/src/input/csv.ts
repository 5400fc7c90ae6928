// CSV and TSV (RFC 4180): one record a member, in a named or numbered column.

import { RollcallError } from "@rollcall/core";
import Papa from "papaparse";
import { type CsvColumns, findColumns } from "./csv-columns.js";
import { type CsvRecords, pickMembers } from "./csv-records.js";
import { findUnquotedRecords } from "./csv-unquoted.js";
import type { Entries } from "./entries.js";
import type { TextBlock } from "./text-block.js";

/** Options of {@link parseCsv}. */
export interface CsvOptions {
  readonly delimiter: string;
  /** Whether the first record names the columns. */
  readonly header: "present" | "absent";
  /** A name, or a number from 1; may be absent where there is only one column. */
  readonly column?: string | undefined;
  readonly opColumn?: string | undefined;
}

/**
 * Members from one column. A record without that column, or with more fields than the first one, is left out and
 * reported; quotes that do not match end the sync, because from there on it is unclear where a record ends.
 */
export async function* parseCsv(
  name: string,
  blocks: AsyncIterable<TextBlock>,
  options: CsvOptions,
): AsyncGenerator<Entries> {
  let columns: CsvColumns | undefined;
  for await (const block of blocks) {
    if (columns !== undefined && !block.text.includes('"')) {
      yield pickMembers(findUnquotedRecords(block, options.delimiter), 0, columns);
      continue;
    }
    const { rows, lines } = parseRows(name, block, options.delimiter);
    let start = 0;
    if (columns === undefined) {
      while (start < rows.length && isEmptyLine(rows[start])) start++;
      const head = rows[start];
      if (head === undefined) continue;
      columns = findColumns(name, head, options);
      if (options.header === "present") start++;
    }
    yield pickMembers(recordsOf(rows, lines), start, columns);
  }
}

/** The line that each record starts in; a single number, that of the first, where each takes one line. */
type RecordLines = number | readonly number[];

function parseRows(
  name: string,
  block: TextBlock,
  delimiter: string,
): { readonly rows: readonly string[][]; readonly lines: RecordLines } {
  const { text, newline } = uniformLineEnds(block);
  const { data: rows, errors } = Papa.parse<string[]>(text, { delimiter, newline });
  if (text.endsWith(newline) && isEmptyLine(rows.at(-1))) rows.pop();
  const oneLineEach = rows.length === block.lineFeeds + (text.endsWith(newline) ? 0 : 1);
  const lines = oneLineEach ? block.firstLine : linesOf(rows, block.firstLine);
  const broken = errors.find((error) => error.type === "Quotes");
  if (broken !== undefined) {
    const at = lineOf(lines, Math.min(broken.row ?? 0, rows.length - 1));
    throw new RollcallError(
      "invalid_request",
      `${name} line ${at}: a quoted field is not closed, or text follows its closing quote`,
    );
  }
  return { rows, lines };
}

function recordsOf(rows: readonly string[][], lines: RecordLines): CsvRecords {
  const at = (index: number) => rows[index] ?? [];
  return {
    count: rows.length,
    lineOf: (index) => lineOf(lines, index),
    isEmptyLine: (index) => isEmptyLine(at(index)),
    fieldOf: (index, column) => at(index)[column],
    hasMoreThan(index, columns) {
      const row = at(index);
      return row.length > columns && row.slice(columns).some((field) => field !== "");
    },
  };
}

function isEmptyLine(row: readonly string[] | undefined): boolean {
  return row?.length === 1 && row[0] === "";
}

function lineOf(lines: RecordLines, index: number): number {
  return typeof lines === "number" ? lines + index : (lines[index] ?? 0);
}

/** A field may hold line feeds; the line of a record is that of the one before plus those. */
function linesOf(rows: readonly string[][], firstLine: number): number[] {
  let line = firstLine;
  return rows.map((row) => {
    const own = line++;
    for (const field of row) {
      for (let at = field.indexOf("\n"); at !== -1; at = field.indexOf("\n", at + 1)) line++;
    }
    return own;
  });
}

const QUOTED_OR_CRLF = /"(?:[^"]|"")*"|\r\n/g;

/** The parser wants one line end throughout; a file may mix them, and a quoted field keeps its own as they are. */
function uniformLineEnds({ text, lineFeeds }: TextBlock): { text: string; newline: "\n" | "\r\n" } {
  if (!text.includes("\r")) return { text, newline: "\n" };
  let pairs = 0;
  for (let at = text.indexOf("\r\n"); at !== -1; at = text.indexOf("\r\n", at + 2)) pairs++;
  if (pairs === lineFeeds) return { text, newline: "\r\n" };
  return { text: text.replace(QUOTED_OR_CRLF, (match) => (match === "\r\n" ? "\n" : match)), newline: "\n" };
}
