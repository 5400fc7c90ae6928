// The tour of `npm run quickstart`: makes an audience of a million, and runs the real command line on it, each command
// shown as a person would type it. What comes out is checked after every step.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { mkdir, readdir, rm, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { requireNode, root } from "./workspace.mjs";

const program = join(root, "packages", "cli", "bin", "rollcall.js");
const segment = "spring-offer";

/**
 * Walks through the command line in `folder`, which is emptied first and left for the reader to play with. Sets the exit
 * code of this process to 1, and stops, where a step does not end as it should.
 */
export async function runQuickstart({ members = 1_000_000, folder = join(root, ".quickstart") } = {}) {
  const started = performance.now();
  const tour = createTour(folder);
  try {
    await rm(folder, { recursive: true, force: true });
    await mkdir(folder, { recursive: true });
    await walk(tour, createAudience(members));
    await tellWhatNext(tour, (performance.now() - started) / 1_000);
  } catch (error) {
    if (!(error instanceof UnexpectedResult)) throw error;
    console.error(`\nFAIL  ${error.message}`);
    process.exitCode = 1;
  }
}

async function walk({ say, show, ask, expect, write }, audience) {
  say(`An audience of ${format(audience.first.size)} users, as a customer data platform or a warehouse would export it.
Two more files come later: the changes of one day, and the next full export.`);
  await write("audience.csv", ["user_id,plan,country"], audience.first.rows());
  await write("delta.csv", ["user_id,op"], audience.delta.rows());
  await write("export.csv", ["user_id,plan,country"], audience.next.rows());
  await write("empty.csv", ["user_id,plan,country"], []);

  say("Make a store: one folder on this disk. No server is needed.");
  await show(["init"]);

  say(`The first sync. It creates the segment "${segment}"; the name comes from the source.`);
  await show(["sync", segment, "audience.csv", "--column", "user_id", "--name", "cdp_audience_4711"]);
  await expectSync({ added: audience.first.size, removed: 0, members: audience.first.size });

  say("Who is in it? The exit code is for scripts: 0 for a member, 3 for anybody else.");
  await show(["check", segment, audience.staying, "--exit-code"], 0);
  await show(["check", segment, audience.coming, "--exit-code"], 3);

  say(`A delta: one file whose column "op" says add or remove.`);
  await show(["sync", segment, "delta.csv", "--column", "user_id", "--op-column", "op"]);
  await expectSync({
    added: audience.delta.adds,
    removed: audience.delta.removes,
    members: audience.first.size + audience.delta.adds - audience.delta.removes,
  });
  await show(["check", segment, audience.coming, "--exit-code"], 0);
  await show(["check", segment, audience.leaving, "--exit-code"], 3);

  say("A person renames the segment. From now on no sync overwrites that name.");
  await show(["segments", "edit", segment, "--name", "Spring offer"]);

  say("Tonight's full export is empty, by some fault upstream. The segment is protected; exit code 4 says: refused.");
  await show(["sync", segment, "empty.csv", "--column", "user_id", "--mode", "replace"], 4);

  say(`The export as it should be, with the source's own name again. Every reader sees the old members until it sees the
new ones, and never a mixture.`);
  await show([
    ...["sync", segment, "export.csv", "--column", "user_id", "--mode", "replace"],
    ...["--name", "cdp_audience_4711"],
  ]);
  await expectSync(audience.replaced);
  await show(["check", segment, audience.staying, "--exit-code"], 3);
  await show(["check", segment, audience.newest, "--exit-code"], 0);

  say("The name that the person gave is still there.");
  await show(["segments", "show", segment]);
  const { details } = await ask(["segments", "show", segment]);
  expect(details.name, { value: "Spring offer", origin: "manual" }, "the name of the segment");

  say("What was synced, the newest first.");
  await show(["segments", "history", segment]);
  const { syncs } = await ask(["segments", "history", segment]);
  expect(
    syncs.map(({ mode, outcome }) => `${mode} ${outcome}`),
    ["replace applied", "merge applied", "merge applied"],
    "the history",
  );

  say("Count everything again, and look for anything that should not be there.");
  await show(["verify"]);
  const verified = await ask(["verify"]);
  expect(verified, { segments: 1, members: audience.replaced.members, findings: [] }, "what verify found");

  async function expectSync(wanted) {
    const { syncs } = await ask(["segments", "history", segment, "--limit", "1"]);
    const { added, removed, members, rejected } = syncs[0];
    const exact = (count) => (count.exact ? count.value : `about ${count.value}`);
    expect(
      {
        added: exact(added),
        removed: exact(removed),
        members: exact(members.included),
        rejected: rejected.count,
      },
      { ...wanted, rejected: 0 },
      "the report of the sync",
    );
  }
}

/**
 * The audience in its three states. Users have numbers: 1 to `size` at first; then some more join and each 250th leaves;
 * the next export has lost the first tenth and gained a twentieth at the end.
 */
function createAudience(size) {
  const everyGone = 250;
  const joined = Math.round(size * 0.006);
  const start = Math.round(size * 0.1);
  const end = Math.round(size * 1.05);
  const gone = (from, to) => Math.floor(to / everyGone) - Math.floor(from / everyGone);
  const present = size + joined - gone(0, size);
  const kept = size + joined - start - gone(start, size);
  return {
    first: { size, rows: () => users(0, size) },
    delta: {
      adds: joined,
      removes: gone(0, size),
      *rows() {
        for (let index = 1; index <= Math.max(joined, gone(0, size)); index++) {
          if (index <= joined) yield `${userId(size + index)},add`;
          if (index * everyGone <= size) yield `${userId(index * everyGone)},remove`;
        }
      },
    },
    next: { rows: () => users(start, end) },
    replaced: { added: end - start - kept, removed: present - kept, members: end - start },
    /** In the first export and not in the next. */
    staying: userId(42),
    /** Joins and leaves with the delta. */
    coming: userId(size + 1),
    leaving: userId(everyGone),
    /** Comes with the next export. */
    newest: userId(end),
  };
}

const plans = ["free", "free", "free", "pro", "team"];
const countries = ["BR", "DE", "FR", "IN", "JP", "KE", "PL", "US"];

function* users(from, to) {
  for (let number = from + 1; number <= to; number++) {
    const draw = Math.imul(number, 0x9e3779b1) >>> 8;
    yield `${userId(number)},${plans[draw % plans.length]},${countries[(draw >>> 8) % countries.length]}`;
  }
}

function userId(number) {
  return `user-${String(number).padStart(7, "0")}`;
}

class UnexpectedResult extends Error {}

function createTour(folder) {
  // Whatever store the reader has in the environment, the tour keeps to its own folder.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^ROLLCALL_/i.test(name)));

  const start = (args, stdio) => spawn(process.execPath, [program, ...args], { cwd: folder, env, stdio });

  return {
    folder,
    say(text) {
      console.log(`\n${text}\n`);
    },

    /** Shows the command and lets it speak for itself; it must end with `wanted`. */
    async show(args, wanted = 0) {
      const line = `rollcall ${args.map(quoted).join(" ")}`;
      console.log(`$ ${line}`);
      const [code, signal] = await once(start(args, ["ignore", "inherit", "inherit"]), "close");
      if (code !== wanted)
        throw new UnexpectedResult(`${line}: ended with ${signal ?? `exit code ${code}`}, not with ${wanted}`);
    },

    /** Asks in silence, for checking. */
    async ask(args) {
      const child = start([...args, "--json"], ["ignore", "pipe", "inherit"]);
      let text = "";
      child.stdout.setEncoding("utf8").on("data", (chunk) => {
        text += chunk;
      });
      const [code, signal] = await once(child, "close");
      if (code !== 0)
        throw new UnexpectedResult(`rollcall ${args.join(" ")} --json: ended with ${signal ?? `exit code ${code}`}`);
      return JSON.parse(text);
    },

    expect(got, wanted, what) {
      const [gotText, wantedText] = [got, wanted].map((value) => JSON.stringify(value));
      if (gotText !== wantedText) throw new UnexpectedResult(`${what} should be ${wantedText} and is ${gotText}`);
    },

    /** Writes a file line by line, shows its beginning. */
    async write(name, heading, rows) {
      const path = join(folder, name);
      const shown = [...heading];
      let count = 0;
      const stream = createWriteStream(path);
      let text = `${heading.join("\n")}\n`;
      for (const row of rows) {
        if (count++ < 2) shown.push(row);
        text += `${row}\n`;
        if (text.length < 1 << 20) continue;
        if (!stream.write(text)) await once(stream, "drain");
        text = "";
      }
      stream.end(text);
      await once(stream, "close");
      const { size } = await stat(path);
      const more = count > 2 ? ["…"] : [];
      console.log(`${name}: ${format(count)} rows, ${(size / 1e6).toFixed(1)} MB`);
      console.log([...shown, ...more].map((line) => `    ${line}`).join("\n"));
    },
  };
}

async function tellWhatNext({ folder, say }, seconds) {
  const define =
    process.platform === "win32"
      ? `function rollcall { node "${program}" @args }    # in PowerShell`
      : `alias rollcall='node "${program.replaceAll("'", "'\\''")}"'`;
  console.log(`\nAll of it as expected, in ${seconds.toFixed(0)} s. Files and store are in
    ${folder}
(${((await sizeOf(folder)) / 1e6).toFixed(0)} MB; the next run makes them anew, and you may delete the folder).`);
  say(
    "Next, play with what is there, or sync a file of your own: plain text with one key a line, or a column of a CSV.",
  );
  console.log(`    ${define}
    cd ${quoted(folder)}
    rollcall check ${segment} user-0500000
    rollcall sync my-segment my-users.csv --column id --dry-run
    rollcall --help

docs/quick-start.md goes from here to your own data, and on to the library.`);
}

async function sizeOf(folder) {
  let bytes = 0;
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    bytes += entry.isDirectory() ? await sizeOf(path) : (await stat(path)).size;
  }
  return bytes;
}

function quoted(argument) {
  return /^[\w./:=@%+,-]+$/.test(argument) ? argument : `"${argument}"`;
}

function format(number) {
  return number.toLocaleString("en-US");
}

// On its own, on a workspace that is built: node scripts/quickstart-tour.mjs [--members 20000] [--folder ./tour]
if (import.meta.url === pathToFileURL(process.argv[1] ?? "-").href) {
  requireNode();
  const { values } = parseArgs({ options: { members: { type: "string" }, folder: { type: "string" } } });
  await runQuickstart({
    ...(values.members === undefined ? {} : { members: Number(values.members) }),
    ...(values.folder === undefined ? {} : { folder: resolve(values.folder) }),
  });
}
