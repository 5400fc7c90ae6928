import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { removeStalePidFile } from "./engine.mjs";

describe("a PID file", { skip: process.platform !== "linux" }, () => {
  const folder = mkdtempSync(join(tmpdir(), "rollcall-pid-"));
  const sleeper = spawn("sleep", ["60"], { stdio: "ignore" });
  after(() => {
    sleeper.kill();
    rmSync(folder, { recursive: true });
  });
  const removed = (content, program) => {
    const file = join(folder, "daemon.pid");
    writeFileSync(file, content);
    const answer = removeStalePidFile(file, program);
    assert.equal(existsSync(file), !answer);
    return answer;
  };

  it("stays while its program runs", () => {
    assert.equal(removed(`${sleeper.pid}\n`, "sleep"), false);
  });

  it("goes when another program has its number", () => {
    assert.equal(removed(`${sleeper.pid}`, "dockerd"), true);
  });

  it("goes when nothing has its number, or it names none", () => {
    assert.equal(removed("4194305", "dockerd"), true);
    assert.equal(removed("", "dockerd"), true);
  });

  it("need not be there", () => {
    assert.equal(removeStalePidFile(join(folder, "none.pid"), "dockerd"), false);
  });
});
