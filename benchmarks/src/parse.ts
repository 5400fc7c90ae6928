// parse: reading member files with the libraries that were candidates for the command, with what the command does, and next
// to it how fast a snapshot is synced whose members need no reading.

import { createReadStream, createWriteStream } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip, createGzip } from "node:zlib";
import { openMemberInput } from "@rollcall/cli/input";
import { createRollcall } from "@rollcall/core";
import { createLmdbStore } from "@rollcall/lmdb";
import { parse as csvParse } from "csv-parse";
import csvParser from "csv-parser";
import { parse as fastCsv } from "fast-csv";
import Papa from "papaparse";
import split2 from "split2";
import { keyBatches, keyOf } from "./audience.js";
import { atLeast, type Benchmark, type BenchmarkResult, membersText, type RunOptions, round } from "./benchmark.js";
import { withTemporaryFolder } from "./temporary-folder.js";

export const parseBenchmark: Benchmark = {
  name: "parse",
  measures:
    "reading member files: what the command does, the libraries that were candidates, and a sync without reading.",
  sides: { read, sync },
  run,
};

const FORMATS = ["lines", "csv", "quoted-csv", "ndjson", "gzip"] as const;
type Format = (typeof FORMATS)[number];

const READERS: Readonly<Record<Format, readonly Reader[]>> = {
  lines: ["rollcall", "readline", "split2"],
  csv: ["rollcall", "papaparse", "csv-parse", "csv-parser", "fast-csv"],
  "quoted-csv": ["rollcall", "papaparse", "csv-parse", "csv-parser", "fast-csv"],
  ndjson: ["rollcall", "split2"],
  gzip: ["rollcall", "readline", "split2"],
};

type Reader = "rollcall" | "readline" | "split2" | "papaparse" | "csv-parse" | "csv-parser" | "fast-csv";

const TRIES = 3;

async function run({ quick, onProgress, runSide }: RunOptions): Promise<BenchmarkResult> {
  const members = quick ? 100_000 : 1_000_000;
  return withTemporaryFolder(async (folder) => {
    const rates = new Map<string, number>();
    const rows: (string | number)[][] = [];
    for (const format of FORMATS) {
      const file = join(folder, `members.${format}`);
      const entries = Readable.from(entriesOf(format, members));
      if (format === "gzip") await pipeline(entries, createGzip(), createWriteStream(file));
      else await pipeline(entries, createWriteStream(file));
      for (const reader of READERS[format]) {
        let best = 0;
        for (let attempt = 0; attempt < TRIES; attempt++) {
          const { result } = await runSide(read, { reader, format, file });
          if (result.entries !== members) throw new Error(`${reader} found ${result.entries} entries in ${format}`);
          best = Math.max(best, (members / result.durationMs) * 1_000);
        }
        rates.set(`${format} ${reader}`, best);
        rows.push([format, reader, Math.round(best)]);
        onProgress(`${format}, ${reader}: ${Math.round(best).toLocaleString("en")} entries/s`);
      }
    }
    let syncRate = 0;
    for (let attempt = 0; attempt < TRIES; attempt++) {
      const { result } = await runSide(sync, { members, folder: join(folder, `store-${attempt}`) });
      syncRate = Math.max(syncRate, (members / result.durationMs) * 1_000);
    }
    rows.push(["none", "a sync of members in memory", Math.round(syncRate)]);
    const rateOf = (format: Format) => rates.get(`${format} rollcall`) ?? Number.NaN;
    const overCandidates = (format: Format) => rateOf(format) / fastest(rates, format);
    const overSync = (format: Format) => rateOf(format) / syncRate;
    return {
      columns: ["format", "reader", "entries per second"],
      rows,
      bounds: [
        ...Object.entries(LEAST_OVER_CANDIDATES).map(([format, least]) =>
          atLeast(`${format}: as fast as the fastest candidate, times`, least, overCandidates(format as Format)),
        ),
        ...Object.entries(LEAST_OVER_SYNC).map(([format, least]) =>
          atLeast(`${format}: as fast as a sync without reading, times`, least, overSync(format as Format)),
        ),
      ],
      notes: [
        `${membersText(members)} entries in a file that was just written; best of ${TRIES}, each in a process of its own.`,
        "rollcall builds arrays of members with the line of every entry, checks UTF-8 and decides on gzip; the candidates do none of these.",
        "readline and split2 build one string for each line; split2 on NDJSON also parses it, and builds the member.",
        "papaparse, csv-parse and fast-csv build an array of all fields for each row, csv-parser an object keyed by column number.",
        "rollcall parses quoted CSV with papaparse, a block of whole records at a time, and NDJSON with JSON.parse.",
        ...FORMATS.filter((format) => LEAST_OVER_SYNC[format] === undefined).map(
          (format) => `${format} is read ${round(overSync(format))} times as fast as a sync without reading: no bound.`,
        ),
        "udsv is faster still, and was not chosen: a row with too few fields swallows the one after it.",
      ],
    };
  });
}

/** Quoted CSV and NDJSON are read slower than the fastest candidate reads them, which neither cuts at records nor keeps lines. */
const LEAST_OVER_CANDIDATES: Readonly<Record<Format, number>> = {
  lines: 1.2,
  csv: 1.2,
  "quoted-csv": 0.4,
  ndjson: 0.7,
  gzip: 1.1,
};

/** What is read at least as fast as its members are synced; the other formats are too near to it, or slower. */
const LEAST_OVER_SYNC: { readonly [F in Format]?: number } = { lines: 2, csv: 1, gzip: 2 };

function fastest(rates: ReadonlyMap<string, number>, format: Format): number {
  const others = READERS[format].filter((reader) => reader !== "rollcall");
  return Math.max(...others.map((reader) => rates.get(`${format} ${reader}`) ?? 0));
}

async function read({ reader, format, file }: { reader: Reader; format: Format; file: string }) {
  const started = performance.now();
  const entries = await (reader === "rollcall" ? readAsTheCommand(format, file) : readWith(reader, format, file));
  return { entries, durationMs: performance.now() - started };
}

async function readAsTheCommand(format: Format, file: string): Promise<number> {
  const input = await openMemberInput([file], {
    stdin: process.stdin,
    format: COMMAND_FORMATS[format],
    ...(format === "csv" || format === "quoted-csv" ? { column: "id" } : {}),
    ...(format === "ndjson" ? { pointer: "/user/id" } : {}),
  });
  let entries = 0;
  for await (const members of input.members()) entries += members.length;
  return entries;
}

const COMMAND_FORMATS = { lines: "lines", csv: "csv", "quoted-csv": "csv", ndjson: "ndjson", gzip: "lines" } as const;

/** As each library's documentation shows it for streams, with rows as arrays of fields, of which the first is wanted. */
async function readWith(reader: Exclude<Reader, "rollcall">, format: Format, file: string): Promise<number> {
  const bytes = format === "gzip" ? createReadStream(file).pipe(createGunzip()) : createReadStream(file);
  let entries = 0;
  if (reader === "readline") {
    for await (const line of createInterface({ input: bytes, crlfDelay: Number.POSITIVE_INFINITY })) {
      if (line !== "") entries++;
    }
    return entries;
  }
  const rows = bytes.pipe(streamOf(reader, format));
  rows.on("data", (row: string | Readonly<Record<number, string>>) => {
    const member = typeof row === "string" ? row : row[0];
    if (member !== undefined && member !== "") entries++;
  });
  await new Promise((resolve, reject) => rows.once("end", resolve).once("error", reject));
  // The row of column names is one of the rows.
  return reader === "split2" ? entries : entries - 1;
}

function streamOf(reader: Exclude<Reader, "rollcall" | "readline">, format: Format) {
  switch (reader) {
    case "split2":
      return format === "ndjson"
        ? split2((line: string) => (JSON.parse(line) as { user: { id: string } }).user.id)
        : split2();
    case "papaparse":
      return Papa.parse(Papa.NODE_STREAM_INPUT, { header: false });
    case "csv-parse":
      return csvParse({ columns: false });
    case "csv-parser":
      return csvParser({ headers: false });
    case "fast-csv":
      return fastCsv({ headers: false });
  }
}

async function sync({ members, folder }: { members: number; folder: string }) {
  const store = createLmdbStore(folder);
  await store.open();
  try {
    const rollcall = createRollcall(store);
    const started = performance.now();
    await rollcall.replace("audience", { included: inTurns(keyBatches(0, members)) });
    return { durationMs: performance.now() - started };
  } finally {
    await store.close();
  }
}

async function* inTurns(batches: Iterable<string[]>): AsyncGenerator<string[]> {
  yield* batches;
}

function* entriesOf(format: Format, members: number): Generator<string> {
  const entry = ENTRIES[format];
  if (format === "csv" || format === "quoted-csv")
    yield format === "csv" ? "id,email,country,created\n" : '"id","name","note"\n';
  const perChunk = 5_000;
  for (let start = 0; start < members; start += perChunk) {
    let text = "";
    for (let i = start; i < Math.min(members, start + perChunk); i++) text += entry(i);
    yield text;
  }
}

const ENTRIES: Readonly<Record<Format, (i: number) => string>> = {
  lines: (i) => `${keyOf(i)}\n`,
  gzip: (i) => `${keyOf(i)}\n`,
  csv: (i) => `${keyOf(i)},person${i}@example.com,DE,2024-01-02T03:04:05Z\n`,
  "quoted-csv": (i) => `"${keyOf(i)}","Last, First ""Nick""","line one${i % 100 === 0 ? "\n" : " "}and two"\n`,
  ndjson: (i) => `${JSON.stringify({ user: { id: keyOf(i) }, traits: { country: "DE", visits: i } })}\n`,
};
