import { Writable } from "node:stream";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { showProgress } from "./progress.js";
import { createTerminal, type Output, type TerminalOptions } from "./terminal.js";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

function stream(isTTY: boolean) {
  const written: string[] = [];
  const output = new Writable({
    write(chunk, _encoding, done) {
      written.push(String(chunk));
      done();
    },
  });
  // What cli-progress asks of a terminal.
  const terminal: Output = Object.assign(output, {
    isTTY,
    columns: 120,
    cursorTo: (_x: number) => true,
    clearLine: () => true,
    moveCursor: () => true,
  });
  return { terminal, text: () => written.join("") };
}

function terminalOn(stderr: Output, options: Partial<TerminalOptions> = {}) {
  const base = { stdout: stderr, stderr, env: {}, format: "text", color: "never", verbosity: "normal" } as const;
  return createTerminal({ ...base, ...options });
}

/** A snapshot of 100,000 members that reads 10,000 a second from a file of known size, and writes as fast. */
function perform(terminal: ReturnType<typeof terminalOn>) {
  let bytesRead = 0;
  const display = showProgress(terminal, () => ({ bytesRead, totalBytes: 1_000 }));
  for (const phase of ["read", "write"] as const) {
    for (let done = 0; done <= 100_000; done += 10_000) {
      bytesRead = done / 100;
      display.onProgress({ phase, done, ...(phase === "write" ? { total: 100_000 } : {}) });
      vi.advanceTimersByTime(1_000);
    }
  }
  display.stop();
}

it("is a plain line every few seconds where there is no terminal", () => {
  const { terminal, text } = stream(false);
  perform(terminalOn(terminal));
  expect(text().split("\n")).toEqual([
    "reading: 30,000 members, 30%, 10,000/s, about 7 s left",
    "reading: 60,000 members, 60%, 10,000/s, about 4 s left",
    "reading: 90,000 members, 90%, 10,000/s, about 1 s left",
    "writing: 30,000 members, 30%, 10,000/s, about 7 s left",
    "writing: 60,000 members, 60%, 10,000/s, about 4 s left",
    "writing: 90,000 members, 90%, 10,000/s, about 1 s left",
    "",
  ]);
});

it("is a bar on a terminal", () => {
  const { terminal, text } = stream(true);
  perform(terminalOn(terminal));
  expect(text()).toContain(`${"█".repeat(14)}${"░".repeat(14)} writing: 50,000 members, 50%, 10,000/s, about 5 s left`);
});

it("is nothing with --quiet, with --json, and before there is something to tell", () => {
  for (const options of [{ verbosity: "quiet" }, { format: "json" }] as const) {
    for (const isTTY of [true, false]) {
      const { terminal, text } = stream(isTTY);
      perform(terminalOn(terminal, options));
      expect(text()).toBe("");
    }
  }
  const { terminal, text } = stream(false);
  const display = showProgress(terminalOn(terminal));
  display.onProgress({ phase: "read", done: 1 });
  display.stop();
  expect(text()).toBe("");
});
