// What the names of keys show and hold apart, and where on a Cluster the keys are.

import { randomUUID } from "node:crypto";
import type { Address } from "@rollcall/conformance/containers";
import { type ContextHashes, contextHash, createRollcall } from "@rollcall/core";
import keySlot from "cluster-key-slot";
import { Redis } from "ioredis";
import { describe, expect, inject, it } from "vitest";
import type { Argument } from "./commands.js";
import { NO_RESENDING } from "./deployments.test-setup.js";
import { adminClient, contentsOf, keysOf } from "./keyspace.test-setup.js";
import { busyLife, storeOpener } from "./layout.test-setup.js";
import { recordedClient } from "./recorded-client.test-setup.js";

const { nodes } = inject("redisCluster");
const openStore = storeOpener();
const admin = adminClient();

describe("the keyspace", () => {
  it("shows no context key, and no context in the name of a key", async () => {
    for (const pepper of [undefined, "pepper"]) {
      const { store, prefix } = await openStore();
      const people = ["ada@example.com", "grace@example.com"];
      const rollcall = createRollcall(store, { pepper });
      await rollcall.replace("people", { included: [...people, `${"x".repeat(2_000)}@example.com`] });
      await rollcall.merge("people", { add: ["alan@example.com", ""], remove: people.slice(1) }, { syncId: "sync-1" });
      await rollcall.forget({ kind: "user", key: "ada@example.com" });
      const names = await keysOf(admin, prefix);
      const contents = await Promise.all(names.map(readAll));
      const text = Buffer.concat([...names.map((name) => Buffer.from(name)), ...contents.flat()]).toString("latin1");
      // It is really all there: what must be kept is found in the same way.
      expect(text).toContain('"segmentKey":"people"');
      const written = ["example.com", ...people, "alan@example.com"].flatMap((key) => [
        key,
        Buffer.from(key).toString("base64").slice(0, -4),
        Buffer.from(key).toString("hex"),
      ]);
      expect(written.filter((form) => text.includes(form))).toEqual([]);
      const hashed = [...people, "alan@example.com"].map((key) =>
        Buffer.from(contextHash(key, pepper) as ContextHashes),
      );
      const forms = hashed.flatMap((hash) => [hash.toString("hex"), hash.toString("base64"), hash.toString("latin1")]);
      const allNames = names.join("\n");
      expect(forms.filter((form) => allNames.includes(form.slice(0, 10)))).toEqual([]);
      // What is kept is the hash.
      expect(text).toContain(hashed[2]?.toString("latin1"));
    }
  });

  it("is shared by no two environments, whatever they are called", async () => {
    const prefix = randomUUID();
    const places = [
      [prefix, "prod"],
      [prefix, "prod.eu"],
      [prefix, "prod-eu"],
      [`${prefix}.prod`, "prod"],
      [`${prefix}.prod`, "eu"],
    ] as const;
    const seen = new Map<string, string>();
    for (const [ownPrefix, environment] of places) {
      const { store } = await openStore({ prefix: ownPrefix, environment });
      await busyLife(createRollcall(store, { graceMs: 0 }));
      const now = await contentsOf(admin, prefix);
      expect(now.size).toBeGreaterThan(seen.size);
      // All that was there is there as it was.
      for (const [key, dump] of seen) expect(now.get(key)).toBe(dump);
      for (const [key, dump] of now) seen.set(key, dump);
    }
  });
});

describe("on a Cluster", () => {
  it("every call stays in one slot, and shards lie on all nodes alike", async () => {
    const before = await crossSlotErrors();
    const { client, commands } = recordedClient();
    const { store, prefix } = await openStore({}, client);
    await busyLife(createRollcall(store, { graceMs: 0, expectedContexts: 200_000 }));
    const isScript = ([name]: readonly Argument[]) => name === "evalsha" || name === "eval";
    const slotsOf = ([, , count, ...rest]: readonly Argument[]) =>
      new Set(rest.slice(0, Number(count)).map((key) => keySlot(String(key)))).size;
    expect(new Set(commands.filter(isScript).map(slotsOf))).toEqual(new Set([1]));
    // The other commands have one key each.
    const others = commands.filter((command) => !isScript(command)).map(([name]) => String(name));
    expect(others.filter((name) => !ONE_KEY.includes(name))).toEqual([]);
    expect(await crossSlotErrors()).toBe(before);

    const perNode = await Promise.all(nodes.map((node) => withClient(node, (client) => client.keys(`${prefix}:*`))));
    const total = perNode.flat().length;
    for (const keys of perNode) expect(keys.length / total).toBeGreaterThan(0.25);
    // The server finds a key where we think that it is.
    for (const key of perNode.map(([first]) => first!))
      expect(await withClient(nodes[0]!, (client) => client.cluster("KEYSLOT", key))).toBe(keySlot(key));
  });
});

/** Commands of the adapter that name one key. */
const ONE_KEY = [
  "get",
  "getrange",
  "hdel",
  "hget",
  "hkeys",
  "hmget",
  "hscan",
  "hset",
  "hsetnx",
  "info",
  "lpush",
  "lrange",
  "ltrim",
  "setbit",
];

/** All that a key holds: DUMP would compress it. */
async function readAll(key: string): Promise<Buffer[]> {
  const type = await admin.type(key);
  if (type === "string") return [(await admin.getBuffer(key)) ?? Buffer.alloc(0)];
  if (type === "list") return admin.lrangeBuffer(key, 0, -1);
  return [...(await admin.hkeysBuffer(key)), ...(await admin.hvalsBuffer(key))];
}

async function crossSlotErrors(): Promise<number> {
  const counts = await Promise.all(
    nodes.map((node) =>
      withClient(node, async (client) =>
        Number(/^errorstat_CROSSSLOT:count=(\d+)/m.exec(await client.info("errorstats"))?.[1] ?? 0),
      ),
    ),
  );
  return counts.reduce((sum, count) => sum + count, 0);
}

async function withClient<T>(node: Address, work: (client: Redis) => Promise<T>): Promise<T> {
  const client = new Redis({ ...node, ...NO_RESENDING });
  try {
    return await work(client);
  } finally {
    client.disconnect();
  }
}
