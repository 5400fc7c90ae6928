// Which records of a CSV file hold a member, and why the others do not; the same rules however the records were found.

import type { MemberChange } from "@rollcall/core";
import type { CsvColumns } from "./csv-columns.js";
import { type Entries, parseOperation, type UnusableEntry } from "./entries.js";

/** The records of one block of text, by index. */
export interface CsvRecords {
  readonly count: number;
  /** The line of the file that the record starts in. */
  lineOf(index: number): number;
  /** Whether it is an empty line, which is no record. */
  isEmptyLine(index: number): boolean;
  /** The field in a column, from 0; `undefined` where the record has fewer. */
  fieldOf(index: number, column: number): string | undefined;
  /** Whether a field beyond the first `columns` holds anything. */
  hasMoreThan(index: number, columns: number): boolean;
}

/** The members of the records from `start` on. */
export function pickMembers(records: CsvRecords, start: number, columns: CsvColumns): Entries {
  const { member: memberColumn, operation: operationColumn, count } = columns;
  const members: string[] = [];
  const changes: MemberChange["change"][] = [];
  const lines: number[] = [];
  const unusable: UnusableEntry[] = [];
  let emptyLines = 0;
  for (let index = start; index < records.count; index++) {
    if (records.isEmptyLine(index)) {
      emptyLines++;
      continue;
    }
    const line = records.lineOf(index);
    const member = records.fieldOf(index, memberColumn);
    if (member === undefined) {
      unusable.push({ line, reason: "missing_member" });
      continue;
    }
    if (records.hasMoreThan(index, count)) {
      unusable.push({ line, reason: "too_many_fields" });
      continue;
    }
    if (operationColumn !== undefined) {
      const change = parseOperation(records.fieldOf(index, operationColumn));
      if (change === undefined) {
        unusable.push({ line, reason: "unknown_operation" });
        continue;
      }
      changes.push(change);
    }
    members.push(member);
    lines.push(line);
  }
  return { members, lines, unusable, emptyLines, ...(operationColumn === undefined ? {} : { changes }) };
}
