// What every format yields: members with the lines they came from, and the entries that hold no member at all.

import type { Member, MemberChange, RejectionReason } from "@rollcall/core";

/** Some entries of one file, in order. */
export interface Entries {
  readonly members: readonly Member[];
  /** What is to be done with each; absent where the input does not say. */
  readonly changes?: readonly MemberChange["change"][];
  /** The line of each entry; a single number where they follow one another from that line, one line each. */
  readonly lines: number | readonly number[];
  /** Entries that hold no member. */
  readonly unusable: readonly UnusableEntry[];
  /** Empty lines, which are no entries. */
  readonly emptyLines: number;
}

/**
 * Why an entry was left out: as core says, or because it has no member (a row with too few fields, an object without the
 * pointer's value), more fields than the header, or an operation other than add and remove.
 */
export type EntryRejectionReason = RejectionReason | "missing_member" | "too_many_fields" | "unknown_operation";

/** An entry that core never sees. */
export interface UnusableEntry {
  readonly line: number;
  readonly reason: EntryRejectionReason;
}

/** The change that the text of an operation column asks for. */
export function parseOperation(text: unknown): MemberChange["change"] | undefined {
  if (typeof text !== "string") return undefined;
  return OPERATIONS.get(text.trim().toLowerCase());
}

const OPERATIONS: ReadonlyMap<string, MemberChange["change"]> = new Map([
  ["add", "add"],
  ["+", "add"],
  ["insert", "add"],
  ["upsert", "add"],
  ["remove", "remove"],
  ["-", "remove"],
  ["delete", "remove"],
]);
