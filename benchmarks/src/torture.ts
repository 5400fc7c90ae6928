// pnpm torture: syncs that are killed with SIGKILL at a random moment, on any store, under the eyes of a warm reader.
//
// After each kill the same sync is repeated, and what the store then holds is compared with a model, member by member. While a
// writer lives and after it died, the reader may see the old state or the new one; of a snapshot never a mixture, and never the
// old one again once it saw the new one.

import { randomBytes, randomInt } from "node:crypto";
import { parseArgs } from "node:util";
import { createRollcall } from "@rollcall/core";
import Table from "cli-table3";
import { sweepAll } from "./torture-model.js";
import { type MadePlace, makers, openPlace } from "./torture-place.js";
import { torture } from "./torture-run.js";
import { GRACE_MS, LEASE_TTL_MS, type Tally, type Torture } from "./torture-tally.js";

const USAGE = `Usage: pnpm torture [--on NAME | --store URL] [--environment NAME] [--runs N] [--members N] [--seed N] [--json]

  --on           ${Object.keys(makers).join(", ")}: made for this run, in a container if it is a server; default lmdb
  --store        any store that is there
  --environment  default: a new one
  --runs         killed syncs of each mode, beside those that finish before the kill; default 50
  --members      members of the segment, about; default 200000, on dynamodb 5000, for there every shard that is compared is a request
  --seed         replays the moments of killing, as far as the machine allows`;

const { values } = parseArgs({
  options: {
    on: { type: "string" },
    store: { type: "string" },
    environment: { type: "string", default: `torture-${randomBytes(4).toString("hex")}` },
    runs: { type: "string", default: "50" },
    members: { type: "string" },
    seed: { type: "string", default: String(randomInt(2 ** 31)) },
    json: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});
if (values.help) {
  console.log(USAGE);
  process.exit(0);
}

const runs = wholeNumber("runs", 1);
values.members ??= values.on === "dynamodb" ? "5000" : "200000";
const members = wholeNumber("members", 1_000);
const seed = wholeNumber("seed", 0);
const deviations = await runBoth(await choosePlace());
process.exit(deviations === 0 ? 0 : 1);

async function choosePlace(): Promise<MadePlace> {
  const { on, store } = values;
  if (store !== undefined && on === undefined) return { place: { url: store }, [Symbol.asyncDispose]: async () => {} };
  const make = Object.entries(makers).find(([name]) => name === (on ?? "lmdb"))?.[1];
  if (make === undefined || store !== undefined) wrongUsage("--on takes one of the names below, and then no --store");
  return make();
}

function wholeNumber(name: "runs" | "members" | "seed", least: number): number {
  const number = Number(values[name]);
  if (Number.isSafeInteger(number) && number >= least) return number;
  return wrongUsage(`--${name} must be a whole number of ${least} or more`);
}

function wrongUsage(complaint: string): never {
  console.error(`${complaint}\n\n${USAGE}`);
  process.exit(2);
}

/** How many deviations were found. */
async function runBoth(made: MadePlace): Promise<number> {
  await using _ = made;
  const { place } = made;
  const { environment } = values;
  const on = values.store === undefined ? (values.on ?? "lmdb") : "the store at the URL";
  log(
    `torture on ${on}: ${runs} killed syncs of each mode, about ${members} members, environment ${environment}, seed ${seed}`,
  );
  const { store, close } = await openPlace(place, environment);
  const rollcall = createRollcall(store, { leaseTtlMs: LEASE_TTL_MS, graceMs: GRACE_MS });
  const context: Torture = { place, environment, members, store, rollcall, random: generator(seed), log };
  const tallies = [await torture(context, "replace", runs), await torture(context, "merge", runs)];
  const leftOver = await sweepAll(context);
  await rollcall.close();
  await close();
  const found = tallies.flatMap((tally) => tally.deviations).concat(leftOver);
  if (values.json) console.log(JSON.stringify({ on, seed, members, tallies, deviations: found }));
  else print(tallies, found);
  return found.length;
}

function print(tallies: readonly Tally[], deviations: readonly string[]): void {
  const table = new Table({
    head: ["mode", "runs", "killed", "finished first", "then seen: old", "new", "partly", "observations", "deviations"],
  });
  for (const tally of tallies) {
    table.push([
      tally.mode,
      tally.runs,
      tally.killedBeforeAcknowledged,
      tally.finishedBeforeKill,
      tally.seenOld,
      tally.seenNew,
      tally.seenPartial,
      tally.observations,
      tally.deviations.length,
    ]);
  }
  console.log(table.toString());
  for (const deviation of deviations) console.log(deviation);
  console.log(
    deviations.length === 0 ? "no deviation; nothing left over after the sweep" : `${deviations.length} deviations`,
  );
}

// mulberry32, public domain: small, seeded, good enough to spread moments of killing.
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b_79f5) >>> 0;
    let value = Math.imul(state ^ (state >>> 15), 1 | state);
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value;
    return ((value ^ (value >>> 14)) >>> 0) / 2 ** 32;
  };
}

function log(line: string): void {
  process.stderr.write(`${line}\n`);
}
