// Ctrl-C, SIGTERM and kill -9 while a sync is on its way: what readers see then, and that the next run ends as if nothing had been.

import { once } from "node:events";
import { mkdirSync, readdirSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import { hashCount, type Segment, type SegmentKey, type SegmentStore } from "@rollcall/core";
import { createLmdbStore } from "@rollcall/lmdb";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createWorkplace, errorOf, keyLines, type Running, type Workplace } from "./testing/rollcall-process.js";

let place: Workplace;
/** The same store, seen from here while commands write it. */
let store: SegmentStore;

beforeAll(async () => {
  place = createWorkplace();
  mkdirSync(place.path("temp"));
  await place.run(["init"]);
  store = createLmdbStore(place.path("rollcall-data"), { readOnly: true });
  await store.open();
});
afterAll(async () => {
  await store.close();
  place.remove();
});

const TIMEOUT_MS = 120_000;

async function recordOf(segment: string): Promise<Segment> {
  const record = await store.getSegment(segment as SegmentKey);
  if (record === undefined) throw new Error(`no segment ${segment}`);
  return record;
}

/** Waits for a record of `segment` that is `wanted`, while `running` is under way. */
async function untilRecord(segment: string, running: Running, wanted: (record: Segment) => boolean | Promise<boolean>) {
  const deadline = performance.now() + TIMEOUT_MS / 2;
  while (!(await wanted(await recordOf(segment)))) {
    if (running.child.exitCode !== null) throw new Error(`the command ended: ${(await running.finished).stderr}`);
    if (performance.now() > deadline) throw new Error("waited in vain");
    await pause(1);
  }
}

/** Kills with SIGKILL as soon as the record is `wanted`; answers whether the writer was still at work. */
async function killAt(segment: string, running: Running, wanted: Reached): Promise<boolean> {
  while (running.child.exitCode === null && !(await wanted(await recordOf(segment)))) await pause(1);
  running.child.kill("SIGKILL");
  const { exit, stderr } = await running.finished;
  if (exit !== 0 && exit !== "SIGKILL") throw new Error(`the command failed: ${stderr}`);
  // A writer that had finished would have given the lease back.
  return (await recordOf(segment)).lease.holder !== undefined;
}

/** The decision about each of `user-0` to `user-(keys - 1)`, as the command tells it. */
async function decisionsOf(segment: string, keys: number): Promise<string[]> {
  const { exit, stdout } = await place.run(["check", segment, "--file", "-"], { stdin: keyLines(0, keys) });
  expect(exit).toBe(0);
  const lines = stdout.trimEnd().split("\n");
  expect(lines.length).toBe(keys);
  return lines.map((line, index) => {
    const [decision = "", key] = line.split("\t");
    expect(key).toBe(`user-${index}`);
    return decision;
  });
}

/** The first key about which the segment says something else than `allowed`. */
function firstUnlike(decisions: readonly string[], allowed: (index: number) => readonly string[]): number {
  return decisions.findIndex((decision, index) => !allowed(index).includes(decision));
}

function countOf(segment: string): Promise<{ members: { included: { value: number; exact: boolean } } }> {
  return place.json(["segments", "show", segment]);
}

/** After a sweep the store holds what segments point at, and nothing else. */
async function expectNothingLeftAfterSweep(): Promise<void> {
  await place.json(["sweep", "--grace", "0s"]);
  const pointedAt = (await store.listSegments()).flatMap(({ included, excluded, staged, retired }) => {
    expect({ staged, retired }).toEqual({ staged: [], retired: [] });
    return [included.set, excluded.set].flatMap((set) => (set === undefined ? [] : [set.id]));
  });
  const stored = (await store.listMemberSets()).map(({ id }) => id);
  expect(stored.toSorted()).toEqual(pointedAt.toSorted());
  expect(await place.json(["verify"])).toMatchObject({ findings: [] });
}

describe("an interrupted snapshot", () => {
  const BEFORE = 1_000;

  beforeAll(() => place.run(["sync", "vips"], { stdin: keyLines(0, BEFORE) }));

  /**
   * Starts a snapshot from a pipe that never ends, and feeds it until more than its memory limit has been read: a pipe holds 64 kB, so what
   * drained from here has arrived there. Its temporary file has no name any more by then.
   */
  async function startEndless(flags: readonly string[] = []): Promise<Running> {
    const argv = ["sync", "vips", "--mode", "replace", "--memory-limit", "1MB", "--temp-dir", "temp", ...flags, "-"];
    const running = place.start(argv);
    const { stdin } = running.child;
    if (stdin === null) throw new Error("no pipe");
    for (let from = 0; from < 300_000; from += 10_000) {
      if (!stdin.write(keyLines(from, from + 10_000))) await Promise.race([once(stdin, "drain"), running.finished]);
    }
    return running;
  }

  async function expectBefore(): Promise<void> {
    expect(await countOf("vips")).toMatchObject({ members: { included: { value: BEFORE, exact: true } } });
    const decisions = await decisionsOf("vips", 2 * BEFORE);
    expect(firstUnlike(decisions, (index) => (index < BEFORE ? ["included"] : ["none"]))).toBe(-1);
  }

  for (const [signal, code] of [
    ["SIGINT", 130],
    ["SIGTERM", 143],
    ["SIGHUP", 129],
  ] as const) {
    it(`ends in an orderly way on ${signal} with ${code}, without temporary files`, async () => {
      const running = await startEndless();
      running.child.kill(signal);
      const { exit, stderr } = await running.finished;
      expect(exit).toBe(code);
      expect(stderr).toContain("[aborted]");
      expect(readdirSync(place.path("temp"))).toEqual([]);
      await expectBefore();
    });
  }

  it("says so as JSON too", async () => {
    const running = await startEndless(["--json"]);
    running.child.kill("SIGINT");
    const finished = await running.finished;
    expect(finished.exit).toBe(130);
    expect(finished.stdout).toBe("");
    expect(errorOf(finished)).toMatchObject({ code: "aborted", retryable: true });
    await expectBefore();
  });

  it("is not seen when it is killed while it reads", async () => {
    const running = await startEndless();
    running.child.kill("SIGKILL");
    expect((await running.finished).exit).toBe("SIGKILL");
    await expectBefore();
  });
});

/** What `kill -9` is tried on: the keys before, the sync that is killed, and what may be and what must be afterwards. */
interface KilledSync {
  readonly mode: "merge" | "replace";
  readonly before: number;
  readonly keys: number;
  readonly input: () => string;
  readonly flags: readonly string[];
  readonly isAfter: (index: number) => boolean;
}

type Reached = (record: Segment) => Promise<boolean>;

const MOST_ATTEMPTS = 10;
const KEYS = 300_000;
const KILLED: { readonly [Mode in KilledSync["mode"]]: KilledSync } = {
  replace: {
    mode: "replace",
    before: 1_000,
    keys: KEYS,
    input: () => keyLines(500, KEYS),
    flags: [],
    isAfter: (index) => index >= 500,
  },
  merge: {
    mode: "merge",
    before: 100_000,
    keys: KEYS,
    input: () => {
      const removed = keyLines(0, 50_000).replaceAll("\n", ",remove\n");
      return `id,op\n${removed}${keyLines(100_000, KEYS).replaceAll("\n", ",add\n")}`;
    },
    flags: ["--column", "id", "--op-column", "op"],
    isAfter: (index) => index >= 50_000,
  },
};

async function isStaged(record: Segment): Promise<boolean> {
  return record.lease.holder !== undefined && record.staged.length > 0;
}

/** Whether the set that is being written holds anything. */
async function hasStagedMembers(record: Segment): Promise<boolean> {
  const [set] = record.staged;
  if (record.lease.holder === undefined || set === undefined) return false;
  for await (const hashes of store.scanMembers(set)) if (hashCount(hashes) > 0) return true;
  return false;
}

async function isLeased(record: Segment): Promise<boolean> {
  return record.lease.holder !== undefined;
}

/** Whether the list holds another number of members than before. */
async function hasChangedMembers(record: Segment): Promise<boolean> {
  const { set } = record.included;
  if (record.lease.holder === undefined || set === undefined) return false;
  let members = 0;
  for await (const hashes of store.scanMembers(set)) members += hashCount(hashes);
  return members !== KILLED.merge.before;
}

describe("a sync ended by kill -9", () => {
  const moments = [
    { sync: KILLED.replace, moment: "when it is about to write", reached: isStaged },
    { sync: KILLED.replace, moment: "when it has written some members", reached: hasStagedMembers },
    { sync: KILLED.merge, moment: "when it is about to write", reached: isLeased },
    { sync: KILLED.merge, moment: "when it has changed some members", reached: hasChangedMembers },
  ];
  for (const [number, { sync, moment, reached }] of moments.entries()) {
    it(`${sync.mode}, ${moment}: readers see ${sync.mode === "replace" ? "the old members" : "each member old or new"}, and the next run completes it`, {
      timeout: TIMEOUT_MS,
    }, async () => {
      const file = place.file(`${sync.mode}-${number}.csv`, sync.input());
      const format = sync.mode === "replace" ? ["--format", "lines"] : [];
      // On a busy machine a writer may finish before it is met: then another one is, on a segment of its own.
      let [segment, argv, met] = ["", [] as string[], false];
      for (let attempt = 1; attempt <= MOST_ATTEMPTS && !met; attempt++) {
        segment = `${sync.mode}-${number}-${attempt}`;
        argv = ["sync", segment, file, "--mode", sync.mode, "--lease-ttl", "1s", ...format, ...sync.flags];
        await place.json(["sync", segment], { stdin: keyLines(0, sync.before) });
        met = await killAt(segment, place.start(argv, { stdin: "" }), reached);
      }
      expect(met).toBe(true);
      expect((await recordOf(segment)).staged.length).toBe(sync.mode === "replace" ? 1 : 0);

      const isBefore = (index: number) => index < sync.before;
      const says = (isMember: boolean) => (isMember ? "included" : "none");
      const allowed = (index: number) =>
        sync.mode === "replace" ? [says(isBefore(index))] : [says(isBefore(index)), says(sync.isAfter(index))];
      expect(firstUnlike(await decisionsOf(segment, sync.keys), allowed)).toBe(-1);
      if (sync.mode === "replace") {
        expect(await countOf(segment)).toMatchObject({ members: { included: { value: sync.before, exact: true } } });
      }

      await place.json(argv);
      const expected = Array.from({ length: sync.keys }, (_, index) => says(sync.isAfter(index)));
      expect(firstUnlike(await decisionsOf(segment, sync.keys), (index) => [expected[index] ?? ""])).toBe(-1);
      const value = expected.filter((decision) => decision === "included").length;
      expect(await countOf(segment)).toMatchObject({ members: { included: { value, exact: true } } });
      await expectNothingLeftAfterSweep();
    });
  }
});

describe("an interrupted merge", () => {
  it("ends in an orderly way on SIGINT, each member old or new, and the next run need not wait", {
    timeout: TIMEOUT_MS,
  }, async () => {
    const { before, keys, input, flags, isAfter } = KILLED.merge;
    await place.json(["sync", "merged"], { stdin: keyLines(0, before) });
    const argv = ["sync", "merged", place.file("merged.csv", input()), ...flags];
    const running = place.start([...argv, "--json"], { stdin: "" });
    await untilRecord("merged", running, isLeased);
    running.child.kill("SIGINT");
    const finished = await running.finished;
    expect({ exit: finished.exit, stdout: finished.stdout }).toEqual({ exit: 130, stdout: "" });
    expect(errorOf(finished)).toMatchObject({ code: "aborted" });
    const { lease } = await recordOf("merged");
    expect(lease.holder).toBeDefined();
    expect(lease.expiresAt).toBeLessThanOrEqual(Date.now());

    const says = (isMember: boolean) => (isMember ? "included" : "none");
    const decisions = await decisionsOf("merged", keys);
    expect(firstUnlike(decisions, (index) => [says(index < before), says(isAfter(index))])).toBe(-1);
    await place.json([...argv, "--lease-wait", "1s"]);
    expect(firstUnlike(await decisionsOf("merged", keys), (index) => [says(isAfter(index))])).toBe(-1);
    const value = keys - 50_000;
    expect(await countOf("merged")).toMatchObject({ members: { included: { value, exact: true } } });
    await expectNothingLeftAfterSweep();
  });
});
