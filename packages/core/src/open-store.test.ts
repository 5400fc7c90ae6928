// Adapters are found in real folders that hold real, small packages.

import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { isRollcallError, type RollcallErrorCode } from "./errors.js";
import { createMemoryStore } from "./memory-store.js";
import { openStore } from "./open-store.js";
import { type SegmentStore, STORE_PORT_VERSION, type StoreFactory } from "./store.js";

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "rollcall-open-store-"));
  vi.spyOn(process, "cwd").mockReturnValue(folder);
});

afterEach(async () => {
  vi.restoreAllMocks();
  await rm(folder, { recursive: true, force: true });
});

async function install(name: string, files: Readonly<Record<string, string>>): Promise<void> {
  for (const [path, text] of Object.entries(files)) {
    const file = join(folder, "node_modules", name, path);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, text);
  }
}

const IMPORT_ONLY = '{ "type": "module", "exports": { ".": { "types": "./a.d.ts", "import": "./index.js" } } }';
const CONDITIONS = '{ "type": "module", "exports": { ".": { "default": "./index.js" } } }';
const MAIN = '{ "type": "module", "main": "./index.js" }';

function adapter(scheme: string, portVersion: number = STORE_PORT_VERSION): string {
  return `
    export const storeFactory = {
      schemes: ["${scheme}"],
      createStore: (url, options) => ({
        url, options,
        environment: options.environment ?? "default",
        capabilities: { portVersion: ${portVersion} },
        async open() { this.opened = true; },
        async close() {},
      }),
    };`;
}

async function refusal(opening: Promise<SegmentStore>, code: RollcallErrorCode): Promise<string> {
  const error = await opening.then(
    () => undefined,
    (error: unknown) => error,
  );
  if (!isRollcallError(error, code)) throw new Error(`not refused with ${code}`, { cause: error });
  return error.message;
}

describe("openStore", () => {
  it("has memory built in, and answers an opened store", async () => {
    const store = await openStore("memory:", { environment: "staging" });
    expect(store.environment).toBe("staging");
    expect((await store.getEnvironment()).initialized).toBe(false);
  });

  it.each([
    ["conditions", CONDITIONS],
    ["import only", IMPORT_ONLY],
    ["main", MAIN],
  ])("finds an adapter in the working directory (%s), and opens its store", async (_, manifest) => {
    await install("@rollcall/redis", { "package.json": manifest, "index.js": adapter("redis") });
    const store = await openStore("redis+cluster://host", { environment: "e" });
    expect(store).toMatchObject({ url: "redis+cluster://host", options: { environment: "e" }, opened: true });
  });

  it("finds an adapter above the working directory", async () => {
    await install("rollcall-store-foo", { "package.json": MAIN, "index.js": adapter("foo") });
    vi.spyOn(process, "cwd").mockReturnValue(join(folder, "deep", "inside"));
    expect(await openStore("FOO:bar")).toMatchObject({ url: "FOO:bar" });
  });

  it("prefers the factories passed in, over those built in too", async () => {
    const mine = createMemoryStore();
    const factory: StoreFactory = { schemes: ["memory", "mine"], createStore: () => mine };
    expect(await openStore("memory:", { factories: [factory] })).toBe(mine);
    expect(await openStore("mine+x://y", { factories: [factory] })).toBe(mine);
  });

  it("tells a missing client from a missing adapter", async () => {
    await install("@rollcall/redis", {
      "package.json": CONDITIONS,
      "index.js": `import "client-that-is-missing/promise";\n${adapter("redis")}`,
    });
    const message = await refusal(openStore("redis://name:secret@host"), "adapter_not_found");
    expect(message).toMatch(/@rollcall\/redis is installed, .*npm install client-that-is-missing$/);
    expect(message).not.toContain("secret");
  });

  it("tells an adapter that is broken", async () => {
    await install("@rollcall/redis", { "package.json": CONDITIONS, "index.js": 'import "./gone.js";' });
    expect(await refusal(openStore("redis:"), "adapter_not_found")).toContain("could not be loaded");
    await install("@rollcall/postgres", { "package.json": "{", "index.js": "" });
    expect(await refusal(openStore("postgres:"), "adapter_not_found")).toContain("could not be loaded");
    await install("@rollcall/dynamodb", { "package.json": CONDITIONS });
    expect(await refusal(openStore("dynamodb:"), "adapter_not_found")).toContain("could not be loaded");
  });

  it("refuses a package that is no adapter, of another port version, or for other schemes", async () => {
    await install("rollcall-store-none", { "package.json": MAIN, "index.js": "export const storeFactory = 1;" });
    await install("rollcall-store-newer", { "package.json": MAIN, "index.js": adapter("newer", 99) });
    await install("rollcall-store-other", { "package.json": MAIN, "index.js": adapter("another") });
    expect(await refusal(openStore("none:"), "adapter_not_found")).toContain("storeFactory");
    expect(await refusal(openStore("newer:"), "adapter_not_found")).toContain("99");
    expect(await refusal(openStore("other:"), "adapter_not_found")).toContain("another");
  });

  it.each(["", "/var/lib/rollcall", "./data", "C:\\data", "c:/data", "nonsense://name:secret@host", "://x", "1x:y"])(
    "refuses %j",
    async (url) => {
      expect(await refusal(openStore(url), "invalid_request")).not.toContain("secret");
    },
  );

  it("closes a store that does not open, and says why it did not", async () => {
    const store = createMemoryStore();
    const close = vi.spyOn(store, "close");
    vi.spyOn(store, "open").mockRejectedValue(new Error("no"));
    const factory: StoreFactory = { schemes: ["mine"], createStore: () => store };
    await expect(openStore("mine:", { factories: [factory] })).rejects.toThrow("no");
    expect(close).toHaveBeenCalledOnce();
  });
});
