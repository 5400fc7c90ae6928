// Every kind of bad input: a typed error with its exit code, and a segment that reads as before.

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  createWorkplace,
  errorOf,
  keyLines,
  type RunOptions,
  runHere,
  type Workplace,
} from "./testing/rollcall-process.js";

let place: Workplace;

beforeAll(async () => {
  place = createWorkplace();
  await place.run(["init"]);
  await place.run(["sync", "vips"], { stdin: "a\nb\nc\n" });
});
afterAll(() => place.remove());

async function expectRefusal(
  argv: readonly string[],
  exit: number,
  code: string,
  options: RunOptions = {},
): Promise<string> {
  const finished = await place.run([...argv, "--json"], options);
  expect(finished.stdout).toBe("");
  const error = errorOf(finished);
  expect({ exit: finished.exit, code: error.code }).toEqual({ exit, code });
  return error.message;
}

async function expectUntouched(): Promise<void> {
  const { stdout } = await place.run(["check", "vips", "--file", "-"], { stdin: "a\nb\nc\nd\nsecret\n" });
  expect(stdout).toBe("included\ta\nincluded\tb\nincluded\tc\nnone\td\nnone\tsecret\n");
}

describe("input that cannot be read", () => {
  const good = keyLines(0, 30_000);
  const cases: {
    readonly what: string;
    readonly argv: string[];
    readonly contents?: string | Buffer;
    readonly says: string;
  }[] = [
    {
      what: "an unknown column",
      argv: ["bad.csv", "--column", "id"],
      contents: "user_id,op\nd,add\n",
      says: "user_id, op",
    },
    { what: "JSON of no known form", argv: ["list.json"], contents: '["d","e"]\n', says: "jq -c '.[]'" },
    { what: "no column named", argv: ["bad.csv"], contents: "user_id,op\nd,add\n", says: "--column" },
    {
      what: "invalid UTF-8",
      argv: ["bad.txt"],
      contents: Buffer.concat([Buffer.from("d\n"), Buffer.from([0xff, 0x0a])]),
      says: "bad.txt line 2",
    },
    { what: "a truncated gzip", argv: ["bad.gz"], contents: gzipSync(good).subarray(0, -20), says: "cut off" },
    {
      what: "a corrupt gzip",
      argv: ["bad.gz"],
      contents: gzipSync(good).map((byte, index) => (index === 20_000 ? byte ^ 0x55 : byte)) as Buffer,
      says: "damaged",
    },
    {
      what: "a quote that is never closed",
      argv: ["bad.csv", "--column", "1"],
      contents: 'id,x\nd,1\n"secret,2\n',
      says: "line 3",
    },
    {
      what: "a line that is not JSON",
      argv: ["bad.ndjson", "--pointer", "/id"],
      contents: '{"id":"d"}\n{"id":"secret',
      says: "line 2: is not JSON; nothing was applied",
    },
    { what: "a missing file", argv: ["absent.txt"], says: "no such file" },
    { what: "a directory", argv: ["."], says: "is a directory" },
    { what: "one bad file among good ones", argv: ["good.txt", "absent.txt"], says: "absent.txt" },
  ];
  for (const { what, argv, contents, says } of cases) {
    it(`${what}: nothing is applied`, async () => {
      place.file("good.txt", good);
      if (contents !== undefined) place.file(argv[0] ?? "", contents);
      for (const mode of ["merge", "replace"]) {
        const message = await expectRefusal(["sync", "vips", ...argv, "--mode", mode], 2, "invalid_request");
        expect(message).toContain(says);
        expect(message).not.toContain("secret");
      }
      await expectUntouched();
    });
  }
});

describe("a request that is wrong", () => {
  it("says so without talk of causes that would not help", async () => {
    for (const argv of [
      ["sync", "vips", "absent.txt"],
      ["membership", "a", "--pepper-file", "absent"],
    ]) {
      const { exit, stderr } = await place.run(argv);
      expect(exit).toBe(2);
      expect(stderr).toMatch(/^error: .*\[invalid_request\]\n$/);
    }
  });
});

describe("requests that are refused", () => {
  it("an empty input to replace: the shrink guard", async () => {
    place.file("empty.txt", "");
    place.file("empty.csv", "id\n");
    await expectRefusal(["sync", "vips", "empty.txt", "--mode", "replace"], 4, "shrink_guard");
    await expectRefusal(["sync", "vips", "empty.csv", "--column", "id", "--mode", "replace"], 4, "shrink_guard");
    await expectRefusal(["sync", "vips", "--mode", "replace", "--min-remaining", "0.9"], 4, "shrink_guard", {
      stdin: "a\nb\n",
    });
    await expectUntouched();
    await place.run(["sync", "wiped"], { stdin: "a\nb\n" });
    expect(await place.json(["sync", "wiped", "--mode", "replace", "--allow-shrink"])).toMatchObject({
      removed: { value: 2 },
    });
    const text = await place.run(["sync", "vips", "empty.txt", "--mode", "replace"]);
    expect(text.stderr).toContain("--allow-shrink");
  });

  it("another context kind", async () => {
    await expectRefusal(["sync", "vips", "--kind", "account"], 4, "context_kind_mismatch", { stdin: "d\n" });
    await expectUntouched();
  });

  it("an invalid segment key, kind or environment", async () => {
    await expectRefusal(["sync", "no spaces"], 2, "invalid_request", { stdin: "d\n" });
    await expectRefusal(["check", "a/b", "d"], 2, "invalid_request");
    await expectRefusal(["sync", "vips", "--kind", "a b"], 2, "invalid_request", { stdin: "d\n" });
    await expectRefusal(["segments", "list", "--environment", "../x"], 2, "invalid_request");
  });

  it("an unknown segment", async () => {
    await expectRefusal(["check", "nobody", "a"], 2, "unknown_segment");
    for (const command of ["show", "history"])
      await expectRefusal(["segments", command, "nobody"], 2, "unknown_segment");
    await expectRefusal(["segments", "edit", "nobody", "--name", "x"], 2, "unknown_segment");
    await expectRefusal(["segments", "delete", "nobody", "--yes"], 2, "unknown_segment");
  });

  it("options that contradict each other or are unknown", async () => {
    for (const argv of [
      ["sync", "vips", "--remove", "--mode", "replace"],
      ["sync", "vips", "--op-column", "op", "--mode", "replace"],
      ["sync", "vips", "--op-column", "op", "--remove"],
      ["sync", "vips", "--allow-shrink"],
      ["sync", "vips", "--source", "s"],
      ["sync", "vips", "--expect", "1"],
      ["sync", "vips", "-", "-"],
      ["sync", "vips", "--mode", "upsert"],
      ["sync", "vips", "--lease-wait", "10"],
      ["sync", "vips", "--memory-limit", "256 MiB"],
      ["sync", "vips", "--min-remaining", "2", "--mode", "replace"],
      ["sync", "vips", "--no-such-option"],
      ["sync"],
      ["check", "vips"],
      ["check", "vips", "a", "--file", "-"],
      ["segments", "edit", "vips"],
      ["segments", "delete", "vips"],
      ["forget"],
      ["nonsense"],
      [],
    ]) {
      const finished = await runHere([...argv, "--json", "--store", `lmdb:${place.path("rollcall-data")}`], "d\n");
      expect({ argv, exit: finished.exit, code: errorOf(finished).code }).toEqual({
        argv,
        exit: 2,
        code: "invalid_request",
      });
    }
    await expectUntouched();
  });
});

describe("stores that cannot be used", () => {
  it("none named and none here", async () => {
    const elsewhere = createWorkplace();
    try {
      const finished = await elsewhere.run(["segments", "list"]);
      expect(finished.exit).toBe(2);
      expect(finished.stderr).toContain("rollcall init");
    } finally {
      elsewhere.remove();
    }
  });

  // An adapter that is not installed: in the packed packages, for the workspace has all of them.
  it("an unknown URL scheme, and no URL", async () => {
    await expectRefusal(["segments", "list", "--store", "nosuch://h"], 2, "invalid_request");
    await expectRefusal(["segments", "list", "--store", "./folder"], 2, "invalid_request");
  });

  it("a foreign folder, and a file in its place", async () => {
    mkdirSync(place.path("foreign"));
    writeFileSync(place.path("foreign/notes.txt"), "mine");
    await expectRefusal(["sync", "vips", "--store", "lmdb:./foreign"], 6, "layout_mismatch", { stdin: "d\n" });
    expect(readFileSync(place.path("foreign/notes.txt"), "utf8")).toBe("mine");
    place.file("file", "x");
    await expectRefusal(["sync", "vips", "--store", "lmdb:./file"], 6, "layout_mismatch", { stdin: "d\n" });
  });

  it("a place where nobody may write, not even the superuser", async () => {
    const finished = await place.run(["sync", "vips", "--store", "lmdb:/sys/rollcall", "--json"], { stdin: "d\n" });
    expect(finished.exit).toBe(6);
    expect(["access_denied", "store_read_only"]).toContain(errorOf(finished).code);
  });

  it("a store of a newer layout", async () => {
    await place.run(["init", "--store", "lmdb:./newer"]);
    const marker = place.path("newer/rollcall.json");
    writeFileSync(marker, readFileSync(marker, "utf8").replace(/"layout":\d+/, '"layout":99'));
    for (const argv of [["sync", "vips"], ["check", "vips", "a"], ["verify"]]) {
      await expectRefusal([...argv, "--store", "lmdb:./newer"], 6, "layout_mismatch", { stdin: "d\n" });
    }
  });

  it("a store that is opened for reading only", async () => {
    await expectRefusal(["sync", "vips", "--store", "lmdb:./rollcall-data?readOnly=true"], 6, "store_read_only", {
      stdin: "d\n",
    });
    await expectUntouched();
  });

  it("a folder that is not there is not made by a question", async () => {
    await expectRefusal(["check", "vips", "a", "--store", "lmdb:./absent"], 6, "store_read_only");
    const { stdout } = await place.run([], { shell: "ls -d absent rollcall-data" });
    expect(stdout).toBe("rollcall-data\n");
  });

  it("a full disk: the segment reads as before, and the next run succeeds", async () => {
    await place.run(["sync", "big"], { stdin: "a\nb\n" });
    // The limit on the size of files stands in for the disk: LMDB's file cannot grow beyond it.
    const snapshot = place.file("snapshot.txt", `a\nb\n${keyLines(0, 300_000)}`);
    const argv = ["sync", "big", snapshot, "--mode", "replace"];
    await expectRefusal(argv, 6, "store_full", { shell: 'ulimit -f 4096; exec "$@"' });
    expect(await place.json(["check", "big", "user-5"])).toMatchObject({ member: false });
    expect(await place.json(["check", "big", "a"])).toMatchObject({ member: true });
    expect(await place.json(argv)).toMatchObject({ members: { included: { value: 300_002, exact: true } } });
    await place.json(["sweep", "--grace", "0s"]);
    expect(await place.json(["verify"])).toMatchObject({ findings: [] });
  });

  it("another pepper than the environment's", async () => {
    await place.run(["init", "--environment", "peppered"], { env: { ROLLCALL_PEPPER: "one" } });
    const flags = ["--environment", "peppered"];
    await expectRefusal(["sync", "x", ...flags], 2, "pepper_mismatch", { stdin: "a\n" });
    await expectRefusal(["sync", "x", ...flags], 2, "pepper_mismatch", {
      stdin: "a\n",
      env: { ROLLCALL_PEPPER: "two" },
    });
    await expectRefusal(["membership", "a", ...flags], 2, "pepper_mismatch");
    await expectRefusal(["membership", "a", ...flags], 2, "invalid_request", { env: { ROLLCALL_PEPPER: "" } });
    await expectRefusal(["membership", "a", ...flags, "--pepper-file", "absent"], 2, "invalid_request");
    place.file("pepper.txt", "one\n");
    await place.json(["sync", "x", ...flags, "--pepper-file", "pepper.txt"], { stdin: "a\n" });
    expect(await place.json(["check", "x", "a", ...flags], { env: { ROLLCALL_PEPPER: "one" } })).toMatchObject({
      member: true,
    });
  });
});
