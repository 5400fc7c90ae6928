// What the port's suite cannot see: folders, the modes of opening, other processes, and a disk that runs out. Child
// processes run the built package.

import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { type Block, type Fence, type MemberSet, parseName, type SegmentKey, segmentKeySchema } from "@rollcall/core";
import { open } from "lmdb";
import { afterEach, describe, expect, it } from "vitest";
import { createLmdbStore, type LmdbStoreOptions, storeFactory } from "./index.js";
import { recordKey } from "./member-records.js";

const run = promisify(execFile);
const segmentKey = parseName(segmentKeySchema, "people", "the segment") as SegmentKey;
const fence: Fence = { segmentKey, generation: 1, holder: "writer", token: 1 };
const nothing = new Uint8Array();

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

describe("the folder", () => {
  it("is created with its parents", async () => {
    const folder = join(await makeFolder(), "a", "b");
    await openStore(folder);
    expect((await readdir(folder)).toSorted()).toEqual(["env-default", "rollcall.json"]);
  });

  it("keeps environments apart on file systems that ignore case", async () => {
    const folder = await makeFolder();
    for (const environment of ["prod", "PROD", "prod.eu", "con"]) await openStore(folder, { environment });
    const names = (await readdir(folder)).filter((name) => name.startsWith("env-"));
    expect(new Set(names.map((name) => name.toLowerCase())).size).toBe(4);
    expect(names).toContain("env-%50%52%4f%44");
  });

  it("is refused when it holds something else, which stays untouched", async () => {
    const folder = await makeFolder();
    await writeFile(join(folder, "notes.txt"), "mine");
    await expectRefusal(folder, "layout_mismatch");
    expect(await readdir(folder)).toEqual(["notes.txt"]);
  });

  it("is refused when it is a file, or below one", async () => {
    const file = join(await makeFolder(), "file");
    await writeFile(file, "mine");
    await expectRefusal(file, "layout_mismatch");
    await expectRefusal(join(file, "below"), "layout_mismatch");
  });

  it("is refused when it has a newer layout, or a marker that is not ours", async () => {
    for (const marker of [
      '{"format":"rollcall-lmdb","layout":2}',
      '{"format":"other","layout":1}',
      "{}",
      "null",
      "no JSON",
    ]) {
      const folder = await makeFolder();
      await writeFile(join(folder, "rollcall.json"), marker);
      await expectRefusal(folder, "layout_mismatch");
      await expectRefusal(folder, "layout_mismatch", { readOnly: true });
    }
  });

  it("is refused when an environment in it has a newer layout", async () => {
    const folder = await makeFolder();
    await (await openStore(folder)).close();
    await changeRaw(folder, ({ registry }) => registry.put(["layout"], '{"layout":2}'));
    await expectRefusal(folder, "layout_mismatch");
  });

  it("is refused when its data file is none", async () => {
    const folder = await makeFolder();
    await (await openStore(folder)).close();
    await writeFile(join(folder, "env-default", "data.mdb"), "not a database ".repeat(1_000));
    await expectRefusal(folder, "layout_mismatch");
  });

  it("may be opened by many processes at the same moment", async () => {
    const folder = await makeFolder();
    const outputs = await Promise.all(
      Array.from({ length: 4 }, () =>
        runChild(`await store.open(); console.log((await store.getEnvironment()).id); await store.close();`, folder),
      ),
    );
    expect(new Set(outputs.map(({ stdout }) => stdout)).size).toBe(1);
  });

  it("that may be read but not written is read-only; one that may not be read is denied", async () => {
    const folder = await makeFolder();
    await (await openStore(folder)).close();
    // A process that runs as root may do everything, hence the change of user where it is possible.
    const tryOpen = `if (process.getuid() === 0) process.setuid(65534);
      await store.open().then(() => console.log("opened"), (error) => console.log(error.code));`;
    await chmod(folder, 0o555);
    expect((await runChild(tryOpen, folder)).stdout.trim()).toBe("store_read_only");
    await chmod(folder, 0o000);
    expect((await runChild(tryOpen, folder)).stdout.trim()).toBe("access_denied");
    await chmod(folder, 0o755);
  });
});

describe("an option", () => {
  it("that does not exist is refused: a misspelt one would stand for its default", () => {
    const options = { enviroment: "production" } as object;
    expect(() => createLmdbStore("./nowhere", options)).toThrow(/no option enviroment; known are environment/);
  });
});

describe("a reader", () => {
  it("of an environment that does not exist says so and writes nothing", async () => {
    const folder = await makeFolder();
    await expectRefusal(join(folder, "missing"), "store_read_only", { readOnly: true });
    await expectRefusal(folder, "store_read_only", { readOnly: true });
    expect(await readdir(folder)).toEqual([]);
    await openStore(folder, { environment: "other" });
    await expectRefusal(folder, "store_read_only", { readOnly: true });
    // What a writer leaves that was killed when it had just begun.
    await mkdir(join(folder, "env-default"));
    await writeFile(join(folder, "env-default", "data.mdb"), "");
    await expectRefusal(folder, "store_read_only", { readOnly: true });
    await openStore(folder);
  });

  it("reads, and refuses to write", async () => {
    const folder = await makeFolder();
    const writer = await openStore(folder);
    const set = await writer.allocateMemberSet(0, fence);
    await writer.writeBlocks(set, [blockOf(1)], fence);
    await writer.close();
    const reader = await openStore(folder, { readOnly: true });
    expect(await reader.findMemberSets(hashOf(1), [set])).toEqual([[set.id]]);
    await expect(reader.writeBlocks(set, [blockOf(2)], fence)).rejects.toMatchObject({ code: "store_read_only" });
    await expect(reader.dropMemberSets([set])).rejects.toMatchObject({ code: "store_read_only" });
  });

  it("may be open before a writer of the same process, and goes on reading", async () => {
    const folder = await makeFolder();
    await (await openStore(folder)).close();
    const reader = await openStore(folder, { readOnly: true });
    const writer = await openStore(folder);
    const set = await writer.allocateMemberSet(0, fence);
    await writer.writeBlocks(set, [blockOf(1)], fence);
    expect(await reader.findMemberSets(hashOf(1), [set])).toEqual([[set.id]]);
    await writer.close();
    expect(await reader.findMemberSets(hashOf(1), [set])).toEqual([[set.id]]);
  });

  it("may be asked for by URL", async () => {
    const folder = await makeFolder();
    await (await openStore(folder)).close();
    const reader = storeFactory.createStore(`lmdb:${folder}?readOnly=true`, {});
    cleanups.push(() => reader.close());
    await reader.open();
    await expect(reader.allocateMemberSet(0, fence)).rejects.toMatchObject({ code: "store_read_only" });
  });
});

describe("two handles in one process", () => {
  it("may be opened and closed while the other writes", async () => {
    const folder = await makeFolder();
    const first = await openStore(folder);
    const set = await first.allocateMemberSet(0, fence);
    const writes = Array.from({ length: 20 }, (_, n) => first.writeBlocks(set, [blockOf(n)], fence));
    for (let k = 0; k < 5; k++) await (await openStore(folder)).close();
    const second = await openStore(folder);
    await Promise.all(writes);
    await first.close();
    await second.writeBlocks(set, [blockOf(100)], fence);
    expect(await countMembers(second, set)).toBe(21);
  });
});

describe("a transaction that is refused", () => {
  it("leaves nothing, and does not take others along", async () => {
    const store = await openStore(await makeFolder());
    const set = await store.allocateMemberSet(0, fence);
    // Queued in one turn, so that they share a transaction.
    const results = await Promise.allSettled([
      store.writeBlocks(set, [blockOf(1)], fence),
      store.writeBlocks(set, [blockOf(2)], { ...fence, token: 0 }),
      store.writeBlocks(set, [blockOf(3)], { ...fence, holder: "another" }),
      store.writeBlocks(set, [blockOf(4)], fence),
    ]);
    expect(results.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "rejected", "fulfilled"]);
    expect(await membersOf(store, set)).toEqual([1, 4]);
  });

  it("leaves nothing when a record in the middle is damaged", async () => {
    const folder = await makeFolder();
    const store = await openStore(folder);
    const set = await store.allocateMemberSet(8, fence);
    await store.close();
    await changeRaw(folder, ({ members }) => members.put(recordKey(8, 5), Uint8Array.of(0x10, 9, 9, 9)));
    const again = await openStore(folder);
    const blocks = [3, 5, 7].map((shard): Block => ({ shard, adds: inShard(shard), removes: nothing }));
    const higher = { ...fence, token: 2 };
    await expect(again.writeBlocks(set, blocks, higher)).rejects.toMatchObject({ code: "corrupt_data" });
    await expect(again.findMemberSets(inShard(5), [set])).rejects.toMatchObject({ code: "corrupt_data" });
    expect(await again.findMemberSets(inShard(3), [set])).toEqual([[]]);
    // The fence was not raised either.
    await again.raiseFence(set, fence);
  });
});

describe("other processes", () => {
  it("see every write that was acknowledged before they ask", async () => {
    const folder = await makeFolder();
    const store = await openStore(folder);
    const set = await store.allocateMemberSet(0, fence);
    const child = startChild(
      `await store.open();
       process.send("ready");
       process.on("message", async ({ hash, set }) => {
         process.send(await store.findMemberSets(Uint8Array.from(hash), [set]));
       });`,
      folder,
    );
    expect(await nextMessage(child)).toBe("ready");
    for (let n = 0; n < 200; n++) {
      await store.writeBlocks(set, [blockOf(n)], fence);
      child.send({ hash: [...hashOf(n)], set });
      expect(await nextMessage(child)).toEqual([[set.id]]);
    }
  });

  it("that are killed while writing leave everything that they had acknowledged, and the store usable", async () => {
    const folder = await makeFolder();
    for (let round = 0; round < 3; round++) {
      const child = startChild(
        `import { writeSync } from "node:fs";
         await store.open();
         const fence = ${JSON.stringify(fence)};
         const set = await store.allocateMemberSet(0, fence);
         writeSync(1, JSON.stringify(set) + "\\n");
         for (let n = 0; ; n++) {
           const hash = new Uint8Array(16);
           new DataView(hash.buffer).setUint32(12, n);
           await store.writeBlocks(set, [{ shard: 0, adds: hash, removes: new Uint8Array() }], fence);
           writeSync(1, n + "\\n");
         }`,
        folder,
      );
      let set: MemberSet | undefined;
      let acknowledged = -1;
      const exited = once(child, "exit");
      for await (const line of createInterface({ input: child.stdout! })) {
        if (set === undefined) set = JSON.parse(line) as MemberSet;
        else acknowledged = Number(line);
        if (acknowledged === 30 + round) child.kill("SIGKILL");
      }
      await exited;
      const store = await openStore(folder);
      const found = await membersOf(store, set!);
      // At most the one that was under way is there besides.
      expect(found.length - 1 - acknowledged).toBeOneOf([0, 1]);
      expect(found).toEqual(found.map((_, n) => n));
      await store.writeBlocks(set!, [blockOf(1_000_000)], fence);
      await store.close();
    }
  });
});

describe("a disk that runs out", () => {
  it("is an error that loses nothing acknowledged, and the store goes on when there is space again", async () => {
    const folder = await makeFolder();
    // A limit on file sizes ends a write in the middle, just as a full disk does. The signal that comes with it is ignored.
    const { stdout } = await runChild(
      `process.on("SIGXFSZ", () => {});
       await store.open();
       const fence = ${JSON.stringify(fence)};
       const set = await store.allocateMemberSet(0, fence);
       let written = 0;
       let failure;
       while (failure === undefined) {
         const adds = new Uint8Array(16 * 1000);
         for (let k = 0; k < 1000; k++) new DataView(adds.buffer).setUint32(16 * k + 12, written + k);
         await store.writeBlocks(set, [{ shard: 0, adds, removes: new Uint8Array() }], fence).then(
           () => { written += 1000; },
           (error) => { failure = error; },
         );
       }
       const read = [];
       for await (const chunk of store.scanMembers(set)) read.push(chunk.length / 16);
       await store.close();
       console.log(JSON.stringify({ set, written, code: failure.code, retryable: failure.retryable, read }));`,
      folder,
      "ulimit -f 4000;",
    );
    const { set, written, ...rest } = JSON.parse(stdout);
    expect(rest).toEqual({ code: "store_full", retryable: false, read: [written] });
    expect(written).toBeGreaterThan(0);
    expect((await readdir(join(folder, "env-default"))).toSorted()).toEqual(["data.mdb", "lock.mdb"]);
    const store = await openStore(folder);
    expect(await countMembers(store, set)).toBe(written);
    await store.writeBlocks(set, [blockOf(0xffff_ffff)], fence);
    expect(await countMembers(store, set)).toBe(written + 1);
  });
});

describe("a write", () => {
  it("is in the file when it is acknowledged, and old space is used again", async () => {
    const folder = await makeFolder();
    const store = await openStore(folder);
    const file = join(folder, "env-default", "data.mdb");
    const sizes: number[] = [];
    for (let round = 0; round < 8; round++) {
      const set = await store.allocateMemberSet(12, fence);
      const blocks = Array.from({ length: 4_096 }, (_, shard): Block => {
        const adds = new Uint8Array(16);
        new DataView(adds.buffer).setUint32(0, (shard << 20) >>> 0);
        return { shard, adds, removes: nothing };
      });
      await store.writeBlocks(set, blocks, fence);
      await store.dropMemberSets([set]);
      sizes.push((await stat(file)).size);
    }
    expect(await store.listMemberSets()).toEqual([]);
    expect(sizes.at(-1)).toBeLessThanOrEqual(2 * sizes[1]!);
    expect((await readFile(join(folder, "rollcall.json"), "utf8")).trim()).toBe(
      '{"format":"rollcall-lmdb","layout":1}',
    );
  });
});

async function makeFolder(): Promise<string> {
  const folder = await mkdtemp(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "rollcall-lmdb-"));
  cleanups.push(() => rm(folder, { recursive: true, force: true }));
  // mkdtemp leaves it to its owner; some tests look at it as another user.
  await chmod(folder, 0o755);
  return folder;
}

async function openStore(folder: string, options: LmdbStoreOptions = {}) {
  const store = createLmdbStore(folder, options);
  cleanups.push(() => store.close());
  await store.open();
  return store;
}

async function expectRefusal(folder: string, code: string, options: LmdbStoreOptions = {}): Promise<void> {
  const store = createLmdbStore(folder, options);
  await expect(store.open()).rejects.toMatchObject({ code });
  await store.close();
}

/** Changes the tables of a closed store behind its back. */
async function changeRaw(
  folder: string,
  change: (tables: { registry: ReturnType<typeof open>; members: ReturnType<typeof open> }) => Promise<unknown>,
): Promise<void> {
  const root = open({ path: join(folder, "env-default"), noSubdir: false, overlappingSync: false, maxDbs: 3 });
  await change({
    registry: root.openDB({ name: "registry", encoding: "string" }) as ReturnType<typeof open>,
    members: root.openDB({ name: "members", keyEncoding: "uint32", encoding: "binary" }) as ReturnType<typeof open>,
  });
  await root.close();
}

function childCode(code: string, folder: string): string {
  const imports = code.match(/^ *import .*$/gm) ?? [];
  const rest = imports.reduce((text, line) => text.replace(line, ""), code);
  return `import { createLmdbStore } from "@rollcall/lmdb";\n${imports.join("\n")}
    const store = createLmdbStore(${JSON.stringify(folder)});\n${rest}`;
}

async function runChild(code: string, folder: string, shell = "") {
  const script = `${shell} exec "$0" --input-type=module -e "$1"`;
  return run("sh", ["-c", script, process.execPath, childCode(code, folder)], { cwd: import.meta.dirname });
}

function startChild(code: string, folder: string): ChildProcess {
  const child = spawn(process.execPath, ["--input-type=module", "-e", childCode(code, folder)], {
    cwd: import.meta.dirname,
    stdio: ["ignore", "pipe", "inherit", "ipc"],
  });
  cleanups.push(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill("SIGKILL");
    await once(child, "exit");
  });
  return child;
}

async function nextMessage(child: ChildProcess): Promise<unknown> {
  const [message] = await once(child, "message");
  return message;
}

function hashOf(n: number): Uint8Array {
  const hash = new Uint8Array(16);
  new DataView(hash.buffer).setUint32(12, n);
  return hash;
}

function blockOf(n: number): Block {
  return { shard: 0, adds: hashOf(n), removes: nothing };
}

function inShard(shard: number): Uint8Array {
  return Uint8Array.from({ length: 16 }, (_, k) => (k === 0 ? shard : 1));
}

async function membersOf(store: Awaited<ReturnType<typeof openStore>>, set: MemberSet): Promise<number[]> {
  const members: number[] = [];
  for await (const chunk of store.scanMembers(set)) {
    const view = new DataView(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    for (let at = 12; at < chunk.length; at += 16) members.push(view.getUint32(at));
  }
  return members.sort((a, b) => a - b);
}

async function countMembers(store: Awaited<ReturnType<typeof openStore>>, set: MemberSet): Promise<number> {
  return (await membersOf(store, set)).length;
}
