// rollcall cost: what a workload would cost at a database that is paid by use, by the formula of its adapter.

import {
  type CostEstimate,
  type CostWorkload,
  findStoreFactory,
  type MonthlyCosts,
  RollcallError,
  type UnitPrices,
} from "@rollcall/core";
import type { Command } from "commander";
import { examples } from "../help.js";
import { formatNumber, parsePositiveInteger, parsePrice, parseShare } from "../quantity.js";
import { type Run, type Session, startSession } from "../session.js";
import { table } from "../terminal.js";

interface CostFlags extends Omit<CostWorkload, "reads"> {
  readonly eventual?: true;
  readonly writePrice?: number;
  readonly readPrice?: number;
  readonly storagePrice?: number;
}

export function addCost(program: Command, run: Run): void {
  const command = program
    .command("cost")
    .description("Estimate what a month would cost at a database that is paid by use. Asks no database.")
    .argument("<database>", "the scheme of its URLs: dynamodb")
    .requiredOption("--contexts <number>", "contexts of the environment", parsePositiveInteger)
    .requiredOption("--segments <number>", "segments, all of the same size", parsePositiveInteger)
    .requiredOption("--density <share>", "the share of the contexts in each segment, 0 to 1", parseShare)
    .option("--changes <number>", "members that change in each segment in a month", parsePositiveInteger)
    .option("--changes-per-merge <number>", "changes that come in one merge (default: 1)", parsePositiveInteger)
    .option("--replaces <number>", "snapshots of each segment in a month", parsePositiveInteger)
    .option(
      "--lookups <number>",
      "lookups of a context in all segments in a month, past the cache",
      parsePositiveInteger,
    )
    .option("--eventual", "lookups are eventually consistent")
    .option("--write-price <dollars>", "dollars for a million write units", parsePrice)
    .option("--read-price <dollars>", "dollars for a million read units", parsePrice)
    .option("--storage-price <dollars>", "dollars for a gigabyte in a month", parsePrice)
    .action((database: string, flags: CostFlags, self: Command) => cost(startSession(run, self), database, flags));
  examples(command, [
    [
      "rollcall cost dynamodb --contexts 1_000_000 --segments 10 --density 0.1 --replaces 30 --lookups 50_000_000",
      "in units",
    ],
    [
      "rollcall cost dynamodb --contexts 100_000_000 --segments 300 --density 0.1 --changes 1_000_000 --write-price 0.625 --read-price 0.125 --storage-price 0.25",
      "in dollars too, at prices of yours",
    ],
  ]);
}

async function cost({ terminal }: Session, database: string, flags: CostFlags): Promise<void> {
  const factory = await findStoreFactory(database);
  if (factory.estimateCosts === undefined)
    throw new RollcallError("invalid_request", `${database} is not paid by use, so there is nothing to estimate`);
  const { eventual, writePrice, readPrice, storagePrice, ...workload } = flags;
  const prices = pricesOf([writePrice, readPrice, storagePrice]);
  const estimate = factory.estimateCosts({ ...workload, reads: eventual ? "eventual" : "strong" }, prices);
  terminal.answer(estimate, () => describe(estimate, terminal.colors));
}

function pricesOf([writeUnits, readUnits, storage]: readonly (number | undefined)[]): UnitPrices | undefined {
  if (writeUnits === undefined && readUnits === undefined && storage === undefined) return undefined;
  if (writeUnits === undefined || readUnits === undefined || storage === undefined)
    throw new RollcallError(
      "invalid_request",
      "name all three prices: --write-price, --read-price and --storage-price",
    );
  return { writeUnits, readUnits, storage };
}

function describe({ own, peer }: CostEstimate, colors: Session["terminal"]["colors"]): string {
  const row = (name: string, { writeUnits, readUnits, storageBytes, dollars }: MonthlyCosts) => [
    name,
    formatNumber(Math.round(writeUnits)),
    formatNumber(Math.round(readUnits)),
    `${formatNumber(Math.round(storageBytes / 1e6))} MB`,
    ...(dollars === undefined ? [] : [`$ ${dollars.toFixed(2)}`]),
  ];
  const right = (name: string) => ({ name, align: "right" as const });
  return table(
    [
      { name: "in a month" },
      ...["write units", "read units", "storage", ...(own.dollars === undefined ? [] : ["dollars"])].map(right),
    ],
    [row("Rollcall", own), row("one item for each context, in transactions", peer)],
    colors,
  );
}
