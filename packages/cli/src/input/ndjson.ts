// NDJSON: one JSON value a line, the member found by a JSON pointer (RFC 6901).

import { type Json, pointerSegments } from "@hyperjump/json-pointer";
import { type Member, type MemberChange, RollcallError } from "@rollcall/core";
import { type Entries, type EntryRejectionReason, parseOperation, type UnusableEntry } from "./entries.js";
import { splitLines } from "./lines.js";
import type { TextBlock } from "./text-block.js";

/** Options of {@link parseNdjson}. */
export interface NdjsonOptions {
  /** Where the member is; default: the whole value is the member. */
  readonly pointer?: string | undefined;
  /** Where the operation is. */
  readonly opPointer?: string | undefined;
}

type Pick = (value: Json) => Json | undefined;

/** Members, strings or integers. A line that is not JSON ends the sync: it may be the half of an entry. */
export async function* parseNdjson(
  name: string,
  blocks: AsyncIterable<TextBlock>,
  options: NdjsonOptions,
): AsyncGenerator<Entries> {
  const pickMember = compilePointer(options.pointer ?? "", "--pointer");
  const pickOperation = options.opPointer === undefined ? undefined : compilePointer(options.opPointer, "--op-pointer");
  let first = true;

  for await (const block of blocks) {
    const members: Member[] = [];
    const changes: MemberChange["change"][] = [];
    const numbers: number[] = [];
    const unusable: UnusableEntry[] = [];
    let emptyLines = 0;
    for (const [index, line] of splitLines(block.text).entries()) {
      const number = block.firstLine + index;
      if (line.trim() === "") {
        emptyLines++;
        continue;
      }
      const value = parseJson(name, line, number);
      if (first && options.pointer === undefined) refuseBareObject(name, value);
      first = false;
      const member = pickMember(value);
      const change = pickOperation === undefined ? "add" : parseOperation(pickOperation(value));
      if ((typeof member === "string" || typeof member === "number") && change !== undefined) {
        members.push(member);
        if (pickOperation !== undefined) changes.push(change);
        numbers.push(number);
      } else {
        unusable.push({ line: number, reason: reasonFor(member) });
      }
    }
    yield { members, lines: numbers, unusable, emptyLines, ...(pickOperation === undefined ? {} : { changes }) };
  }
}

function reasonFor(member: Json | undefined): EntryRejectionReason {
  if (member === undefined || member === null) return "missing_member";
  return typeof member === "string" || typeof member === "number" ? "unknown_operation" : "not_string_or_integer";
}

/** Own properties only: `constructor` and the like are no members. */
function compilePointer(pointer: string, flag: string): Pick {
  const segments = segmentsOf(pointer, flag);
  return (value) => {
    let at: Json | undefined = value;
    for (const segment of segments) {
      if (typeof at !== "object" || at === null) return undefined;
      if (Array.isArray(at)) at = ARRAY_INDEX.test(segment) ? at[Number(segment)] : undefined;
      else at = Object.hasOwn(at, segment) ? at[segment] : undefined;
    }
    return at;
  };
}

const ARRAY_INDEX = /^(0|[1-9]\d*)$/;

function segmentsOf(pointer: string, flag: string): readonly string[] {
  try {
    return [...pointerSegments(pointer)];
  } catch (cause) {
    throw new RollcallError("invalid_request", `${flag} must be a JSON pointer, for instance /user/id`, { cause });
  }
}

// The parser's own message quotes the line, so it is neither shown nor kept as cause.
function parseJson(name: string, line: string, number: number): Json {
  try {
    return JSON.parse(line) as Json;
  } catch {
    throw new RollcallError("invalid_request", `${name} line ${number}: is not JSON`);
  }
}

function refuseBareObject(name: string, value: Json): void {
  if (typeof value !== "object") return;
  throw new RollcallError(
    "invalid_request",
    `${name}: its lines are objects or arrays; say where the member is with --pointer, for instance --pointer /id`,
  );
}
