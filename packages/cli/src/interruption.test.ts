// Ctrl-C, SIGTERM and kill -9 while a snapshot is on its way: the segment reads as before, and the next run succeeds.

import { once } from "node:events";
import { mkdirSync, readdirSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createWorkplace, keyLines, type Running, type Workplace } from "./testing/rollcall-process.js";

const BEFORE = 1_000;
const AFTER = 120_000;

let place: Workplace;

beforeAll(async () => {
  place = createWorkplace();
  await place.run(["init"]);
  await place.run(["sync", "vips"], { stdin: keyLines(0, BEFORE) });
  mkdirSync(place.path("temp"));
  place.file("after.txt", keyLines(BEFORE / 2, AFTER));
});
afterAll(() => place.remove());

const ARGV = ["sync", "vips", "--mode", "replace", "--memory-limit", "1MB", "--temp-dir", "temp"];

/**
 * Starts a snapshot from a pipe that never ends, and feeds it until more than its memory limit has been read: a pipe holds 64 kB, so what
 * drained from here has arrived there. Its temporary file has no name any more by then.
 */
async function startEndless(): Promise<Running> {
  const running = place.start([...ARGV, "-"]);
  const { stdin } = running.child;
  if (stdin === null) throw new Error("no pipe");
  for (let from = 0; from < 300_000; from += 10_000) {
    if (!stdin.write(keyLines(from, from + 10_000))) await Promise.race([once(stdin, "drain"), running.finished]);
  }
  return running;
}

async function expectBefore(): Promise<void> {
  expect(await place.json(["segments", "show", "vips"])).toMatchObject({ members: { included: { value: BEFORE } } });
  expect(await place.json(["check", "vips", "user-0"])).toMatchObject({ member: true });
  expect(await place.json(["check", "vips", `user-${BEFORE}`])).toMatchObject({ member: false });
}

describe("an interrupted snapshot", () => {
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
    const running = place.start(["sync", "vips", "--json"]);
    // Nothing tells from outside that it waits for input, so the signal is repeated until it has been heard.
    const timer = setInterval(() => running.child.kill("SIGINT"), 500);
    const { exit, stdout } = await running.finished;
    clearInterval(timer);
    expect(exit === 130 || exit === "SIGINT").toBe(true);
    expect(stdout).toBe("");
    await expectBefore();
  });

  it("by kill -9, while reading or writing, leaves the old members; the next run succeeds and a sweep clears up", async () => {
    const reading = await startEndless();
    reading.child.kill("SIGKILL");
    expect((await reading.finished).exit).toBe("SIGKILL");
    await expectBefore();
    for (const afterMs of [150, 300, 450]) {
      const writing = place.start(["sync", "vips", "after.txt", "--mode", "replace", "--lease-ttl", "1s"], {
        stdin: "",
      });
      const timer = setTimeout(() => writing.child.kill("SIGKILL"), afterMs);
      const { exit } = await writing.finished;
      clearTimeout(timer);
      const shown = await place.json<{ members: { included: { value: number } } }>(["segments", "show", "vips"]);
      expect([BEFORE, AFTER - BEFORE / 2]).toContain(shown.members.included.value);
      if (exit !== 0) expect(exit).toBe("SIGKILL");
    }
    expect(await place.json(["sync", "vips", "after.txt", "--mode", "replace", "--lease-ttl", "1s"])).toMatchObject({
      members: { included: { value: AFTER - BEFORE / 2, exact: true } },
    });
    await place.json(["sweep", "--grace", "0s"]);
    expect(await place.json(["verify"])).toMatchObject({ findings: [], members: AFTER - BEFORE / 2 });
  });
});
