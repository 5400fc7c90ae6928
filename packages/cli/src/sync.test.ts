import { createHash } from "node:crypto";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { CommandReport } from "./sync-report.js";
import { createWorkplace, errorOf, keyLines, type Workplace } from "./testing/rollcall-process.js";

let place: Workplace;
let segment = "s0";
let counter = 0;

beforeAll(async () => {
  place = createWorkplace();
  await place.run(["init"]);
});
afterAll(() => place.remove());
beforeEach(() => {
  segment = `s${++counter}`;
});

async function membersAmong(keys: readonly string[]): Promise<string[]> {
  const { stdout } = await place.run(["check", segment, "--file", "-"], { stdin: keys.join("\n") });
  return stdout.split("\n").flatMap((line) => (line.startsWith("included\t") ? [line.slice("included\t".length)] : []));
}

describe("rollcall sync", () => {
  it("says that a segment is new, and in which environment: either name may be mistyped", async () => {
    const sync = (...more: string[]) => place.run(["sync", "new-one", ...more], { stdin: "a\n" });
    const isNew = "segment new-one is new in environment default\n";
    expect((await sync("--dry-run")).stderr).not.toContain("is new");
    expect((await sync()).stderr).toContain(isNew);
    expect((await sync()).stderr).not.toContain("is new");
    expect((await sync("--environment", "defualt")).stderr).toContain("is new in environment defualt");
    expect((await sync("--environment", "another", "--quiet")).stderr).toBe("");
  });

  it("merges and replaces, and reports what changed", async () => {
    place.file("first.txt", "a\nb\nc\n");
    const first = await place.json<CommandReport>(["sync", segment, "first.txt"]);
    expect(first).toMatchObject({
      segmentKey: segment,
      contextKind: "user",
      mode: "merge",
      outcome: "applied",
      received: 3,
      added: { value: 3, exact: true },
      members: { included: { value: 3, exact: true } },
    });
    place.file("delta.csv", "id,op\nd,add\na,remove\nd,add\n");
    const delta = await place.json<CommandReport>([
      "sync",
      segment,
      "delta.csv",
      "--column",
      "id",
      "--op-column",
      "op",
    ]);
    expect(delta).toMatchObject({
      added: { value: 1 },
      removed: { value: 1 },
      duplicates: 1,
      members: { included: { value: 3 } },
    });
    place.file("gone.txt", "b\n");
    await place.json(["sync", segment, "gone.txt", "--remove"]);
    expect(await membersAmong(["a", "b", "c", "d"])).toEqual(["c", "d"]);
    const replaced = await place.json<CommandReport>(["sync", segment, "-", "--mode", "replace"], { stdin: "d\ne\nf" });
    expect(replaced).toMatchObject({
      mode: "replace",
      added: { value: 2 },
      removed: { value: 1 },
      unchanged: { value: 1 },
    });
    expect(await membersAmong(["a", "c", "d", "e", "f"])).toEqual(["d", "e", "f"]);
  });

  it("reads every format, packed or not, several files at once, and standard input without a name", async () => {
    place.file("a.txt", "a1\r\na2\r\n");
    place.file("b.csv", 'x,id\r\n1,"b1"\r\n');
    place.file("c.tsv.gz", gzipSync("id\tx\nc1\t2\n"));
    await place.json(["sync", segment, "a.txt"]);
    await place.json(["sync", segment, "b.csv", "c.tsv.gz", "--column", "id"]);
    await place.json(["sync", segment, "--pointer", "/u/0"], { stdin: gzipSync('{"u":["d1"]}\n{"u":[42]}\n') });
    const all = ["a1", "a2", "b1", "c1", "d1", "42"];
    expect(await membersAmong([...all, "id", "x", "1"])).toEqual(all);
  });

  it("changes the excluded list, which answers where the included one does not", async () => {
    await place.json(["sync", segment], { stdin: "a\nb\n" });
    const report = await place.json<CommandReport>(["sync", segment, "--list", "excluded"], { stdin: "b\nc\n" });
    expect(report.members).toMatchObject({ included: { value: 2 }, excluded: { value: 2 } });
    expect(await membersAmong(["a", "b", "c"])).toEqual(["a", "b"]);
    expect(await place.json(["check", segment, "c"])).toMatchObject({ decision: "excluded" });
  });

  it("takes digests of keys that the sender hashed", async () => {
    const digest = createHash("sha256").update("a").digest("hex");
    const other = createHash("sha256").update("b").digest("base64");
    const report = await place.json<CommandReport>(["sync", segment, "--member-format", "sha256"], {
      stdin: `${digest}\n${other}\nnot-a-digest\n`,
    });
    expect(report.rejected).toEqual({ count: 1, listed: [{ reason: "not_a_digest", file: "stdin", line: 3 }] });
    expect(await membersAmong(["a", "b", "c"])).toEqual(["a", "b"]);
  });

  it("leaves out what is not a member, names files and lines, never the member, and syncs the rest", async () => {
    const long = `secret-${"x".repeat(1_100)}`;
    place.file("p.csv", `n,id\n1,a\n2,""\n3\n\n4,${long}\n5,b,extra\n6,c\n`);
    place.file("q.csv", "n,id\n1,d\n2\n");
    const argv = ["sync", segment, "p.csv", "q.csv", "--column", "id"];
    const report = await place.json<CommandReport>(argv);
    expect(report).toMatchObject({ received: 8, added: { value: 3 }, emptyLines: 1 });
    expect(report.rejected).toEqual({
      count: 5,
      listed: [
        { reason: "empty", file: "p.csv", line: 3 },
        { reason: "missing_member", file: "p.csv", line: 4 },
        { reason: "too_long", file: "p.csv", line: 6 },
        { reason: "too_many_fields", file: "p.csv", line: 7 },
        { reason: "missing_member", file: "q.csv", line: 3 },
      ],
    });
    const { exit, stdout, stderr } = await place.run(argv);
    expect(exit).toBe(0);
    expect(stderr).toContain("p.csv line 6: too long");
    expect(stdout + stderr).not.toContain("secret");
  });

  it("shows with --dry-run what would change, and changes nothing", async () => {
    await place.json(["sync", segment], { stdin: "a\nb\n" });
    const merge = await place.json<CommandReport>(["sync", segment, "--dry-run"], { stdin: "b\nc\n" });
    expect(merge).toMatchObject({
      outcome: "planned",
      added: { value: 1 },
      removed: { value: 0 },
      unchanged: { value: 1 },
    });
    const replace = await place.json<CommandReport>(["sync", segment, "--mode", "replace", "--dry-run"], {
      stdin: "b\nc\nd\n",
    });
    expect(replace).toMatchObject({
      outcome: "planned",
      added: { value: 2 },
      removed: { value: 1 },
      unchanged: { value: 1 },
    });
    expect(await membersAmong(["a", "b", "c", "d"])).toEqual(["a", "b"]);
    const { stdout } = await place.run(["sync", segment, "--dry-run"], { stdin: "c\n" });
    expect(stdout).toContain("dry run");
  });

  it("keeps a name set by hand over one from the source", async () => {
    await place.json(["sync", segment, "--name", "Source", "--description", "D", "--tag", "x", "--tag", "y"], {
      stdin: "a\n",
    });
    await place.json(["segments", "edit", segment, "--name", "Hand"]);
    await place.json(["sync", segment, "--name", "Source 2", "--tag", "z"], { stdin: "b\n" });
    expect(await place.json(["segments", "show", segment])).toMatchObject({
      details: {
        name: { value: "Hand", origin: "manual" },
        description: { value: "D", origin: "sync" },
        tags: { value: ["z"], origin: "sync" },
      },
    });
  });

  it("recognises a repeated sync id and a repeated source position, and refuses a gap", async () => {
    await place.json(["sync", segment, "--sync-id", "one"], { stdin: "a\n" });
    const again = await place.json<CommandReport>(["sync", segment, "--sync-id", "one"], { stdin: "a\n" });
    expect(again.outcome).toBe("already_applied");
    const first = ["sync", segment, "--source", "topic-0", "--next", "10"];
    await place.json(first, { stdin: "b\n" });
    expect(await place.json<CommandReport>(first, { stdin: "b\n" })).toMatchObject({ outcome: "already_applied" });
    const gap = await place.run(["sync", segment, "--source", "topic-0", "--expect", "11", "--next", "12", "--json"], {
      stdin: "c\n",
    });
    expect(gap.exit).toBe(4);
    expect(errorOf(gap)).toMatchObject({ code: "out_of_order", retryable: false });
    await place.json(["sync", segment, "--source", "topic-0", "--expect", "10", "--next", "11"], { stdin: "c\n" });
    expect(await membersAmong(["a", "b", "c"])).toEqual(["a", "b", "c"]);
  });

  it("keeps the kind of the segment when none is given", async () => {
    await place.json(["sync", segment, "--kind", "account"], { stdin: "a\n" });
    expect(await place.json<CommandReport>(["sync", segment], { stdin: "b\n" })).toMatchObject({
      contextKind: "account",
    });
    expect(await membersAmong(["a", "b"])).toEqual(["a", "b"]);
    expect(await place.json(["check", segment, "a", "--kind", "user"])).toMatchObject({ member: false });
  });

  it("spills a snapshot beyond the memory limit, and leaves no temporary file", async () => {
    place.file("tmp-marker", "");
    const temp = place.path("temp");
    await place.run(["init"], { shell: `mkdir -p '${temp}' && true` });
    const stdin = keyLines(0, 200_000);
    const argv = ["sync", segment, "--mode", "replace", "--memory-limit", "1MB", "--temp-dir", temp];
    expect(await place.json<CommandReport>(argv, { stdin })).toMatchObject({
      members: { included: { value: 200_000 } },
    });
    const { stdout } = await place.run([], { shell: `find '${temp}' -type f` });
    expect(stdout).toBe("");
  });
});
