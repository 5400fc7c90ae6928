// Which format a file has, and the parser for it.

import { RollcallError } from "@rollcall/core";
import type { ByteSource } from "./byte-source.js";
import { parseCsv } from "./csv.js";
import type { Entries } from "./entries.js";
import { parseLines } from "./lines.js";
import { parseNdjson } from "./ndjson.js";
import { readTextBlocks } from "./text-block.js";

/** The formats, as `--format` names them. */
export const INPUT_FORMATS = ["lines", "csv", "tsv", "ndjson"] as const;
export type InputFormat = (typeof INPUT_FORMATS)[number];

/** How the entries of a file are read. */
export interface FormatOptions {
  /** Default: by the file's extension, else by which of the options below are given, else `lines`, but for `.json`. */
  readonly format?: InputFormat | undefined;
  readonly column?: string | undefined;
  readonly opColumn?: string | undefined;
  readonly header?: "present" | "absent" | undefined;
  readonly delimiter?: string | undefined;
  readonly pointer?: string | undefined;
  readonly opPointer?: string | undefined;
}

const BY_EXTENSION: ReadonlyMap<string, InputFormat> = new Map([
  ["txt", "lines"],
  ["list", "lines"],
  ["csv", "csv"],
  ["tsv", "tsv"],
  ["tab", "tsv"],
  ["ndjson", "ndjson"],
  ["jsonl", "ndjson"],
]);

/** The format of the file named `name`. Throws `invalid_request` if the options belong to another one, or if a name that ends in `.json` leaves it open. */
export function chooseFormat(name: string, options: FormatOptions): InputFormat {
  const forCsv = options.column ?? options.opColumn ?? options.delimiter ?? options.header;
  const forNdjson = options.pointer ?? options.opPointer;
  const format =
    options.format ?? byName(name) ?? (forCsv !== undefined ? "csv" : forNdjson !== undefined ? "ndjson" : "lines");
  // Each line of it would be taken for a member or a record, the bracket too.
  if (options.format === undefined && format !== "ndjson" && isJsonFile(name)) throw jsonFile(name);
  const isCsv = format === "csv" || format === "tsv";
  if (forCsv !== undefined && !isCsv)
    throw wrongOption(name, format, "--column, --op-column, --delimiter and --no-header", "csv");
  if (forNdjson !== undefined && format !== "ndjson")
    throw wrongOption(name, format, "--pointer and --op-pointer", "ndjson");
  if (isCsv && options.delimiter !== undefined && !/^[^"\r\n\ufeff]+$/.test(options.delimiter)) {
    throw new RollcallError("invalid_request", "--delimiter must not be empty, a double quote or a line end");
  }
  return format;
}

/** The entries of one file. */
export function readEntries(source: ByteSource, options: FormatOptions): AsyncIterable<Entries> {
  const format = chooseFormat(source.name, options);
  const blocks = readTextBlocks(source.name, source.chunks(), format === "csv" || format === "tsv" ? "record" : "line");
  switch (format) {
    case "lines":
      return parseLines(blocks);
    case "ndjson":
      return parseNdjson(source.name, blocks, options);
    case "csv":
    case "tsv":
      return parseCsv(source.name, blocks, {
        delimiter: options.delimiter ?? (format === "tsv" ? "\t" : ","),
        header: options.header ?? "present",
        column: options.column,
        opColumn: options.opColumn,
      });
  }
}

/** Whether the file named `name` says that it is JSON: then its lines are not what it holds. */
export function isJsonFile(name: string): boolean {
  return extensionOf(name) === "json";
}

function byName(name: string): InputFormat | undefined {
  return BY_EXTENSION.get(extensionOf(name));
}

function extensionOf(name: string): string {
  const parts = name.toLowerCase().replace(/\.gz$/, "").split(".");
  return parts.length > 1 ? (parts.at(-1) ?? "") : "";
}

function jsonFile(name: string): RollcallError {
  return new RollcallError(
    "invalid_request",
    `${name}: JSON is read one value from each line; add --format ndjson if it is so, or make it so (of an array by jq -c '.[]'); or add --format lines if each line as it stands is a member`,
  );
}

function wrongOption(name: string, format: InputFormat, flags: string, other: InputFormat): RollcallError {
  return new RollcallError(
    "invalid_request",
    `${name}: is read as ${format}, to which ${flags} do not apply; add --format ${other} if that is what it is`,
  );
}
