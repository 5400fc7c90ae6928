// The two ways out: answers on stdout, as text for people or as one JSON object for scripts; everything else on stderr.

import { once } from "node:events";
import type { Writable } from "node:stream";
import Table from "cli-table3";
import pc from "picocolors";

/** A stream that may be a terminal. */
export type Output = Writable & { readonly isTTY?: boolean | undefined; readonly columns?: number | undefined };

/** Whoever read the output went away, as `head` does when it has enough. */
export class OutputClosed extends Error {
  override readonly name = "OutputClosed";
}

/** What the global flags say about output. */
export interface TerminalOptions {
  readonly stdout: Output;
  readonly stderr: Output;
  readonly env: NodeJS.ProcessEnv;
  readonly format: "text" | "json";
  readonly color: "auto" | "never";
  readonly verbosity: "normal" | "quiet";
}

export type Colors = ReturnType<typeof pc.createColors>;

/** Where a command writes. */
export interface Terminal {
  readonly format: "text" | "json";
  /** The streams themselves, for progress. */
  readonly stderr: Output;
  readonly env: NodeJS.ProcessEnv;
  readonly verbosity: "normal" | "quiet";
  /** For what goes to stdout. */
  readonly colors: Colors;
  /** The answer of the command: `json` for scripts, else what `text` makes. */
  answer(json: unknown, text: () => string): void;
  /** A piece of a long answer; resolves when there is room for more. @throws {@link OutputClosed}. */
  write(text: string): Promise<void>;
  /** A remark on stderr; not with `--quiet`. */
  note(message: string): void;
  /** Something a person should look at; on stderr, always. */
  warn(message: string): void;
  /** The error that ended the command; `hint` is for people. */
  error(code: string, message: string, retryable: boolean, hint?: string): void;
}

export function createTerminal(options: TerminalOptions): Terminal {
  const { stdout, stderr, env, format, verbosity } = options;
  const colors = colorsFor(stdout, options);
  const errorColors = colorsFor(stderr, options);
  return {
    format,
    stderr,
    env,
    verbosity,
    colors,
    answer(json, text) {
      stdout.write(format === "json" ? `${JSON.stringify(json)}\n` : text());
    },
    async write(text) {
      if (stdout.destroyed || stdout.errored) throw new OutputClosed();
      if (stdout.write(text)) return;
      await once(stdout, "drain").catch(() => {
        throw new OutputClosed();
      });
    },
    note(message) {
      if (verbosity === "normal" && format === "text") stderr.write(`${message}\n`);
    },
    warn(message) {
      if (format === "json") stderr.write(`${JSON.stringify({ warning: { message } })}\n`);
      else stderr.write(`${errorColors.yellow("warning:")} ${message}\n`);
    },
    error(code, message, retryable, hint) {
      if (format === "json") {
        stderr.write(`${JSON.stringify({ error: { code, message, retryable } })}\n`);
        return;
      }
      stderr.write(`${errorColors.red("error:")} ${message}${errorColors.dim(` [${code}]`)}\n`);
      if (hint !== undefined) stderr.write(`${errorColors.dim("hint:")}  ${hint}\n`);
    },
  };
}

/** Colour on terminals, unless `--no-color`, `NO_COLOR` or `TERM=dumb` say otherwise; elsewhere if `FORCE_COLOR` does. */
function colorsFor(stream: Output, { env, format, color }: TerminalOptions): Colors {
  if (format === "json" || color === "never" || env.NO_COLOR) return pc.createColors(false);
  if (env.FORCE_COLOR !== undefined && env.FORCE_COLOR !== "0") return pc.createColors(true);
  return pc.createColors(stream.isTTY === true && env.TERM !== "dumb");
}

const PLAIN_BORDERS = {
  top: "",
  "top-mid": "",
  "top-left": "",
  "top-right": "",
  bottom: "",
  "bottom-mid": "",
  "bottom-left": "",
  "bottom-right": "",
  left: "",
  "left-mid": "",
  mid: "",
  "mid-mid": "",
  right: "",
  "right-mid": "",
  middle: "  ",
};

/** One column of a table. */
export interface Column {
  readonly name: string;
  readonly align?: "left" | "right";
}

/** A table with a heading, without lines, so that it can be copied and cut. */
export function table(columns: readonly Column[], rows: readonly (readonly string[])[], colors: Colors): string {
  const output = new Table({
    head: columns.map((column) => colors.bold(column.name)),
    colAligns: columns.map((column) => column.align ?? "left"),
    chars: PLAIN_BORDERS,
    style: { head: [], border: [], "padding-left": 0, "padding-right": 0 },
  });
  for (const row of rows) output.push([...row]);
  return `${trimLines(output.toString())}\n`;
}

/** Names and values under each other. */
export function fields(pairs: readonly (readonly [name: string, value: string])[], colors: Colors): string {
  const width = Math.max(...pairs.map(([name]) => name.length));
  return pairs.map(([name, value]) => `${colors.dim(name.padEnd(width))}  ${value}\n`).join("");
}

function trimLines(text: string): string {
  return text
    .split("\n")
    .map((line) => line.trimEnd())
    .join("\n");
}
