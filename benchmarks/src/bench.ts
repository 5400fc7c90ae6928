// pnpm bench: lists the benchmarks, or runs one and says for each bound whether it held.

import { cpus } from "node:os";
import { parseArgs } from "node:util";
import Table from "cli-table3";
import type { Benchmark, BenchmarkResult } from "./benchmark.js";
import { loadAllBenchmarks, loadBenchmark } from "./catalogue.js";
import { createSideRunner } from "./side-runner.js";

const USAGE = `Usage: pnpm bench [NAME] [--json] [--quick] [--server URL]

  NAME      the benchmark to run; without it they are listed
  --json    prints one JSON object instead of tables
  --quick   smaller sizes, to try a benchmark out; its figures prove nothing
  --server  redis://… of a server of your own that is EMPTY, and is emptied again, for the benchmarks on Redis; or set
            ROLLCALL_BENCH_REDIS. Default: one in a container

Exit code: 0 when every bound held, 1 when one did not, 2 on wrong usage.`;

/** Without colours, so that a table reads the same in a file. */
const PLAIN = { head: [], border: [] };

process.exitCode = await main();

async function main(): Promise<number> {
  let parsed: ReturnType<typeof parseCommand>;
  try {
    parsed = parseCommand();
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : error}\n\n${USAGE}`);
    return 2;
  }
  const { values, positionals } = parsed;
  if (values.help) {
    console.log(USAGE);
    return 0;
  }
  const [name] = positionals;
  if (name === undefined) {
    await list();
    return 0;
  }
  const benchmark = await loadBenchmark(name);
  if (benchmark === undefined) {
    console.error(`There is no benchmark ${name}.\n`);
    await list(console.error);
    return 2;
  }
  const result = await benchmark.run({
    quick: values.quick,
    redisUrl: values.server ?? (process.env.ROLLCALL_BENCH_REDIS || undefined),
    onProgress: (line) => console.error(`… ${line}`),
    runSide: createSideRunner(benchmark),
  });
  if (values.json) console.log(JSON.stringify(toJson(benchmark, result, values.quick)));
  else print(benchmark, result, values.quick);
  return result.bounds.every(({ held }) => held) ? 0 : 1;
}

function parseCommand() {
  return parseArgs({
    allowPositionals: true,
    options: {
      json: { type: "boolean", default: false },
      quick: { type: "boolean", default: false },
      server: { type: "string" },
      help: { type: "boolean", short: "h", default: false },
    },
  });
}

async function list(write = console.log): Promise<void> {
  const table = new Table({ head: ["benchmark", "measures"], style: PLAIN, colWidths: [18, 80], wordWrap: true });
  table.push(...(await loadAllBenchmarks()).map(({ name, measures }) => [name, measures]));
  write(table.toString());
}

function print(benchmark: Benchmark, result: BenchmarkResult, quick: boolean): void {
  console.log(`\n${benchmark.name}: ${benchmark.measures}\n`);
  const rows = new Table({ head: [...result.columns], style: PLAIN });
  rows.push(
    ...result.rows.map((row) => row.map((value) => (typeof value === "number" ? value.toLocaleString("en") : value))),
  );
  console.log(rows.toString());
  const bounds = new Table({ head: ["bound", "must be", "measured", "held"], style: PLAIN });
  bounds.push(
    ...result.bounds.map(({ name, bound, measured, held }) => [
      name,
      bound,
      measured ?? "not measurable here",
      held ? "yes" : "NO",
    ]),
  );
  console.log(bounds.toString());
  for (const note of [machine(), ...result.notes]) console.log(`- ${note}`);
  if (quick) console.log("- A quick run: sizes are smaller, and the figures prove nothing.");
}

function toJson(benchmark: Benchmark, { columns, rows, bounds, notes }: BenchmarkResult, quick: boolean) {
  return {
    benchmark: benchmark.name,
    measures: benchmark.measures,
    quick,
    machine: machine(),
    rows: rows.map((row) => Object.fromEntries(columns.map((column, i) => [column, row[i]]))),
    bounds,
    held: bounds.every(({ held }) => held),
    notes,
  };
}

function machine(): string {
  const all = cpus();
  return `Node ${process.versions.node}, ${process.platform} ${process.arch}, ${all.length} × ${all[0]?.model.trim() ?? "unknown processor"}`;
}
