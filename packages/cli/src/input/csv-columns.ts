// Which columns of a CSV file hold the member and the operation.

import { RollcallError } from "@rollcall/core";
import type { CsvOptions } from "./csv.js";

/** Indices from 0. */
export interface CsvColumns {
  readonly member: number;
  readonly operation: number | undefined;
  /** How many columns the first record has. */
  readonly count: number;
}

/** Finds them in the first record; throws `invalid_request` that lists the columns there are. */
export function findColumns(name: string, head: readonly string[], options: CsvOptions): CsvColumns {
  const { column, opColumn } = options;
  if (column === undefined && head.length > 1) {
    throw new RollcallError(
      "invalid_request",
      `${name}: say which column holds the member with --column; ${list(head, options)}`,
    );
  }
  const [only = ""] = head;
  if (column === undefined && options.header === "present" && OTHER_DELIMITERS.test(only)) {
    throw new RollcallError(
      "invalid_request",
      `${name}: the name of its only column looks like several; say what separates columns with --delimiter, or name the column with --column; if there is no header row, use --no-header`,
    );
  }
  return {
    member: column === undefined ? 0 : indexOf(name, head, column, options),
    operation: opColumn === undefined ? undefined : indexOf(name, head, opColumn, options),
    count: head.length,
  };
}

/** Separates columns in many exports, and stands in no column's name. */
const OTHER_DELIMITERS = /[,;|\t]/;

/** A name wins over a number, so that a column named `2` can be had. */
function indexOf(name: string, head: readonly string[], column: string, options: CsvOptions): number {
  if (options.header === "present") {
    const index = head.indexOf(column);
    if (index !== -1 && head.indexOf(column, index + 1) !== -1) {
      throw new RollcallError(
        "invalid_request",
        `${name}: two columns are named ${JSON.stringify(column)}; give the number of one`,
      );
    }
    if (index !== -1) return index;
  }
  const number = /^[1-9][0-9]{0,5}$/.test(column) ? Number(column) : undefined;
  if (number !== undefined && number <= head.length) return number - 1;
  throw new RollcallError(
    "invalid_request",
    `${name}: there is no column ${JSON.stringify(column)}; ${list(head, options)}`,
  );
}

// Without a header row the first record is data: a name that looks like a key is not printed.
const LIKE_A_NAME = /^\p{L}[\p{L}\p{N} _.:/()-]{0,63}$/u;
const LIKE_A_KEY = /[0-9a-f]{8}|[0-9]{4}/i;

function list(head: readonly string[], options: CsvOptions): string {
  if (options.header === "absent") return `the first record has ${head.length} columns`;
  const shown = head.slice(0, 50).map((field, index) => {
    return LIKE_A_NAME.test(field) && !LIKE_A_KEY.test(field) ? field : `(column ${index + 1})`;
  });
  const more = head.length > shown.length ? `, and ${head.length - shown.length} more` : "";
  const single = head.length === 1 ? "; if another character separates the columns, name it with --delimiter" : "";
  return `the columns are ${shown.join(", ")}${more}; if there is no header row, use --no-header and a number${single}`;
}
