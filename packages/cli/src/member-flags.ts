// The flags that say how member files are read, for every command that reads them in any format.

import { type Command, Option } from "commander";
import { INPUT_FORMATS, type InputFormat } from "./input/format.js";
import { type MemberInput, openMemberInput } from "./input/member-input.js";
import type { Session } from "./session.js";

/** What commander parses. */
export interface MemberFlags {
  readonly format?: InputFormat;
  readonly column?: string;
  readonly opColumn?: string;
  readonly header: boolean;
  readonly delimiter?: string;
  readonly pointer?: string;
  readonly opPointer?: string;
}

/** What is read from the files: members only, or what is to be done with each as well. */
export type FileContents = "members" | "changes";

export function addMemberFlags(command: Command, contents: FileContents): void {
  const changes = contents === "changes";
  command
    .addOption(
      new Option("--format <format>", "default: by the file's extension; .json needs it").choices(INPUT_FORMATS),
    )
    .option("--column <name>", "CSV, TSV: the column of the key, by name or by number from 1");
  if (changes) command.option("--op-column <name>", "CSV, TSV: the column that says add or remove (merge)");
  command
    .option("--no-header", "CSV, TSV: the first record is data, not names")
    .option("--delimiter <text>", "CSV, TSV: what separates columns, for instance ';'")
    .option("--pointer <pointer>", "NDJSON: the JSON pointer of the key, for instance /user/id");
  if (changes) command.option("--op-pointer <pointer>", "NDJSON: the JSON pointer of what says add or remove (merge)");
}

/** Opens `files` as the flags say; `-` is standard input. */
export function openMemberFiles(session: Session, files: readonly string[], flags: MemberFlags): Promise<MemberInput> {
  return openMemberInput(files, {
    stdin: session.run.stdin,
    signal: session.signal,
    format: flags.format,
    column: flags.column,
    opColumn: flags.opColumn,
    header: flags.header ? undefined : "absent",
    delimiter: flags.delimiter === "\\t" ? "\t" : flags.delimiter,
    pointer: flags.pointer,
    opPointer: flags.opPointer,
  });
}
