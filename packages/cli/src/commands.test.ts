import { readdirSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createWorkplace, errorOf, runHere, type Workplace } from "./testing/rollcall-process.js";

let place: Workplace;

beforeAll(async () => {
  place = createWorkplace();
  await place.run(["init"]);
  await place.run(["sync", "vips", "--name", "VIPs \u001b[31mred"], { stdin: "a\nb\nc\n" });
  await place.run(["sync", "vips", "--list", "excluded"], { stdin: "a\nx\n" });
  await place.run(["sync", "staff"], { stdin: "a\n" });
  await place.run(["sync", "firms", "--kind", "account"], { stdin: "a\n" });
});
afterAll(() => place.remove());

describe("rollcall check", () => {
  it("answers one context", async () => {
    const answers = await Promise.all(["a", "x", "z"].map((key) => place.json(["check", "vips", key])));
    expect(answers).toEqual([
      { segment: "vips", kind: "user", member: true, decision: "included", status: "healthy" },
      { segment: "vips", kind: "user", member: false, decision: "excluded", status: "healthy" },
      { segment: "vips", kind: "user", member: false, decision: "none", status: "healthy" },
    ]);
    expect((await place.run(["check", "vips", "a"])).stdout).toBe("member of vips\n");
    expect((await place.run(["check", "vips", "z"])).stdout).toBe("not a member of vips\n");
    expect(await place.json(["check", "firms", "a"])).toMatchObject({ kind: "account", member: true });
  });

  it("tells by the exit code on request", async () => {
    expect((await place.run(["check", "vips", "a", "--exit-code"])).exit).toBe(0);
    expect((await place.run(["check", "vips", "x", "--exit-code"])).exit).toBe(3);
    expect((await place.run(["check", "vips", "x"])).exit).toBe(0);
    expect((await place.run(["check", "vips", "--file", "-", "--exit-code"], { stdin: "a\nz\n" })).exit).toBe(3);
  });

  it("answers a file of candidates in its order, in either form", async () => {
    place.file("candidates.csv", `n,id\n1,z\n2,a\n3,x\n4,${"x".repeat(1_100)}\n`);
    const text = await place.run(["check", "vips", "--file", "candidates.csv", "--column", "id"]);
    expect(text.stdout.split("\n").slice(0, 3)).toEqual(["none\tz", "included\ta", "excluded\tx"]);
    expect(text.stderr).toContain("4 checked: 1 included, 1 excluded");
    const json = await place.json<{ answers: unknown[] }>([
      "check",
      "vips",
      "--file",
      "candidates.csv",
      "--column",
      "id",
    ]);
    expect(json).toMatchObject({ segment: "vips", kind: "user", checked: 4 });
    expect(json.answers.slice(0, 2)).toEqual([
      { key: "z", decision: "none" },
      { key: "a", decision: "included" },
    ]);
  });

  it("answers with one JSON object or none, and speaks of no change, when the file turns out to be broken", async () => {
    place.file("broken.ndjson", `${'"a"\n'.repeat(100_000)}{"half`);
    place.file("broken.csv", `id,x\n${"a,1\n".repeat(100_000)}"a,1\n`);
    for (const argv of [["broken.ndjson"], ["broken.csv", "--column", "id"]]) {
      const finished = await place.run(["check", "vips", "--json", "--file", ...argv]);
      expect({ exit: finished.exit, stdout: finished.stdout }).toEqual({ exit: 2, stdout: "" });
      const { code, message } = errorOf(finished);
      expect(code).toBe("invalid_request");
      expect(message).toContain("line 10000");
      expect(message).not.toContain("applied");
    }
  });

  it("stops quietly when nobody reads on", async () => {
    const stdin = "candidate\n".repeat(200_000);
    const { stdout, stderr } = await place.run(["check", "vips", "--file", "-", "--quiet"], {
      stdin,
      shell: '"$@" | head -n 1',
    });
    expect(stdout).toBe("none\tcandidate\n");
    expect(stderr).toBe("");
  });
});

describe("rollcall membership", () => {
  it("lists the segments of the context's kind", async () => {
    expect(await place.json(["membership", "a"])).toEqual({
      kind: "user",
      status: "healthy",
      segments: { staff: true, vips: true },
    });
    expect(await place.json(["membership", "x"])).toMatchObject({ segments: { vips: false } });
    expect(await place.json(["membership", "a", "--kind", "account"])).toMatchObject({ segments: { firms: true } });
    expect((await place.run(["membership", "z"])).stdout).toBe("in no segment\n");
  });
});

describe("rollcall segments", () => {
  it("lists, shows and tells the history", async () => {
    const { segments } = await place.json<{ segments: { key: string; members: unknown }[] }>(["segments", "list"]);
    expect(segments.map(({ key }) => key)).toEqual(["firms", "staff", "vips"]);
    const text = await place.run(["segments", "list"]);
    expect(text.stdout).toMatch(/^vips {2,}VIPs .*user +3 +2/m);
    expect((await place.run(["segments", "show", "vips"])).stdout).toMatch(/^included +3$/m);
    const { syncs } = await place.json<{ syncs: { lists: string[] }[] }>(["segments", "history", "vips"]);
    expect(syncs.map(({ lists }) => lists)).toEqual([["excluded"], ["included"]]);
    const limited = await place.json<{ syncs: unknown[] }>(["segments", "history", "vips", "--limit", "1"]);
    expect(limited.syncs.length).toBe(1);
  });

  it("lets no control character of a detail reach the terminal", async () => {
    for (const argv of [
      ["segments", "list"],
      ["segments", "show", "vips"],
    ]) {
      expect((await place.run(argv)).stdout).not.toContain("\u001b");
    }
  });

  it("edits by hand, and deletes only when told so", async () => {
    await place.run(["sync", "gone", "--tag", "x"], { stdin: "a\n" });
    const edited = await place.json(["segments", "edit", "gone", "--description", "by hand", "--clear-tags"]);
    expect(edited).toMatchObject({
      details: { description: { value: "by hand", origin: "manual" }, tags: { value: [], origin: "manual" } },
    });
    expect((await place.run(["segments", "delete", "gone"])).exit).toBe(2);
    expect(await place.json(["segments", "delete", "gone", "--yes"])).toEqual({ segment: "gone", deleted: true });
    expect((await place.run(["segments", "show", "gone"])).exit).toBe(2);
  });
});

describe("rollcall forget, sweep, verify and copy", () => {
  it("forgets one context or a file of them", async () => {
    await place.run(["sync", "f1"], { stdin: "p\nq\nr\n" });
    expect(await place.json(["forget", "p"])).toEqual({ kind: "user", contexts: 1, segments: ["f1"] });
    place.file("erasures.txt", "q\nnobody\n");
    expect(await place.json(["forget", "--file", "erasures.txt"])).toEqual({
      kind: "user",
      contexts: 2,
      segments: ["f1"],
    });
    expect(await place.json(["membership", "q"])).toMatchObject({ segments: {} });
    expect(await place.json(["check", "f1", "r"])).toMatchObject({ member: true });
    place.file("erasures.json", '["r"]\n');
    const refused = await place.run(["forget", "--file", "erasures.json", "--json"]);
    expect({ exit: refused.exit, message: errorOf(refused).message }).toMatchObject({
      exit: 2,
      message: expect.stringContaining("jq -r '.[]'"),
    });
    expect(await place.json(["check", "f1", "r"])).toMatchObject({ member: true });
  });

  it("sweeps what replaced snapshots left", async () => {
    await place.run(["sync", "swept", "--mode", "replace"], { stdin: "a\n" });
    await place.run(["sync", "swept", "--mode", "replace"], { stdin: "a\nb\n" });
    const { waitingSets } = await place.json<{ waitingSets: number }>(["sweep"]);
    expect(waitingSets).toBeGreaterThan(0);
    expect(await place.json(["sweep", "--grace", "0s"])).toMatchObject({ droppedSets: waitingSets, waitingSets: 0 });
  });

  it("verifies", async () => {
    expect(await place.json(["verify"])).toMatchObject({ findings: [] });
    expect((await place.run(["verify", "--repair"])).stdout).toContain("all is well");
  });

  it("copies to another store and to another environment, and never over segments", async () => {
    const report = await place.json<{ segments: number }>(["copy", "lmdb:./rollcall-data", "lmdb:./backup"]);
    const { segments } = await place.json<{ segments: unknown[] }>(["segments", "list", "--store", "lmdb:./backup"]);
    expect(report.segments).toBe(segments.length);
    expect(await place.json(["check", "vips", "a"], { env: { ROLLCALL_STORE: "lmdb:./backup" } })).toMatchObject({
      member: true,
    });
    const trial = ["copy", "lmdb:./rollcall-data", "lmdb:./rollcall-data", "--to-environment", "trial"];
    await place.json(trial);
    expect(await place.json(["check", "vips", "a"], { env: { ROLLCALL_ENVIRONMENT: "trial" } })).toMatchObject({
      member: true,
    });
    await place.run(["sync", "x", "--environment", "other"], { stdin: "a\n" });
    const refused = await place.run([
      "copy",
      "lmdb:./rollcall-data",
      "lmdb:./rollcall-data",
      "--to-environment",
      "other",
    ]);
    expect(refused.exit).toBe(4);
  });
});

describe("rollcall copy from what is not there", () => {
  for (const [what, from, environment] of [
    ["a folder", "lmdb:./mistyped", "default"],
    ["an environment", "lmdb:./rollcall-data", "mistyped"],
  ] as const) {
    it(`${what}: fails, and makes neither source nor target`, async () => {
      const listing = () => [...readdirSync(place.folder), ...readdirSync(place.path("rollcall-data"))].sort();
      const before = listing();
      const finished = await place.run(["copy", from, "lmdb:./target", "--environment", environment, "--json"]);
      expect({ exit: finished.exit, stdout: finished.stdout }).toEqual({ exit: 6, stdout: "" });
      expect(errorOf(finished).code).toBe("store_read_only");
      expect(listing()).toEqual(before);
    });
  }
});

describe("the command itself", () => {
  it("uses the store of the flag before that of the variable before that of rollcall init", async () => {
    await place.run(["sync", "only-here", "--store", "lmdb:./flagged"], { stdin: "a\n" });
    const env = { ROLLCALL_STORE: "lmdb:./nothing-here" };
    expect((await place.run(["check", "only-here", "a"], { env })).exit).toBe(6);
    expect((await place.run(["check", "only-here", "a", "--store", "lmdb:./flagged"], { env })).exit).toBe(0);
    const told = await place.run(["sync", "vips"], { stdin: "a\n" });
    expect(told.stderr).toContain("lmdb:./rollcall-data");
  });

  it("keeps environments apart, and makes init repeatable", async () => {
    const argv = ["init", "--environment", "staging", "--expected-contexts", "1_000"];
    const first = await place.json<{ id: string }>(argv);
    expect(await place.json(argv)).toEqual(first);
    expect(first).toMatchObject({
      store: "lmdb:./rollcall-data",
      environment: "staging",
      peppered: false,
      expectedContexts: 1_000,
    });
    expect(await place.json(["segments", "list", "--environment", "staging"])).toEqual({
      environment: "staging",
      segments: [],
    });
  });

  it("prints help with examples for every command, and its version", async () => {
    const commands = [
      [],
      ["init"],
      ["sync"],
      ["check"],
      ["membership"],
      ["forget"],
      ["copy"],
      ["sweep"],
      ["verify"],
      ["segments"],
    ];
    const segments = ["list", "show", "edit", "delete", "history"].map((name) => ["segments", name]);
    for (const command of [...commands, ...segments]) {
      const { exit, stdout } = await runHere([...command, "--help"]);
      expect(exit, command.join(" ")).toBe(0);
      expect(stdout, command.join(" ")).toMatch(/Examples:\n {2}\$ /);
    }
    expect((await place.run(["--version"])).stdout).toMatch(/^\d+\.\d+\.\d+/);
    const bare = await place.run([]);
    expect(bare).toMatchObject({ exit: 2, stdout: "" });
    expect(bare.stderr).toContain("Usage: rollcall");
  });

  it("colours on request only, and not with NO_COLOR or --no-color", async () => {
    const argv = ["check", "vips", "a"];
    const coloured = await place.run(argv, { env: { FORCE_COLOR: "1" } });
    expect(coloured.stdout).toContain("\u001b[32m");
    for (const plain of [
      await place.run(argv),
      await place.run(argv, { env: { FORCE_COLOR: "1", NO_COLOR: "1" } }),
      await place.run([...argv, "--no-color"], { env: { FORCE_COLOR: "1" } }),
      await place.run([...argv, "--json"], { env: { FORCE_COLOR: "1" } }),
    ]) {
      expect(plain.stdout).not.toContain("\u001b");
    }
  });
});
