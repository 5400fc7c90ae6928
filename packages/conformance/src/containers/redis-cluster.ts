// A Redis Cluster for tests: three masters, with a replica each if wanted, all in one container.

import type { Address } from "./container.js";
import { until } from "./deadline.js";
import { type NatMap, natMapOf } from "./nat-map.js";
import { type RedisProcesses, startRedisContainer } from "./redis-processes.js";
import { beginSlotMove, type SlotMove } from "./slot-move.js";

export interface RedisClusterOptions {
  /** Replicas of each master. Default 0. */
  readonly replicas?: 0 | 1;
}

export interface RedisCluster {
  /** Where the tests reach each node. The first three start as masters; node `i + 3` starts as a replica of node `i`. */
  readonly nodes: readonly Address[];
  /** From the addresses by which the nodes know each other to those that the tests reach: the `natMap` of ioredis. */
  readonly natMap: NatMap;
  /** What redis-cli prints for a command to one node. An error reply, so also a redirection, rejects. */
  cli(node: number, ...args: readonly string[]): Promise<string>;
  /** Kills a node with SIGKILL and resolves when it is dead. It stays dead until `start`. */
  kill(node: number): Promise<void>;
  /** Starts it again and resolves when it answers. Whether the cluster has taken it back is for `ready` to say. */
  start(node: number): Promise<void>;
  /** Resolves when every running node finds the cluster well, all slots served, and every replica in sync. */
  ready(): Promise<void>;
  /** The node that serves a slot, by what the running nodes agree on. */
  masterOf(slot: number): Promise<number>;
  /** Moves a slot with its keys while clients go on. */
  moveSlot(slot: number, toNode: number): Promise<void>;
  /** Begins such a move, for a test that looks at it half done. */
  beginMove(slot: number, toNode: number): Promise<SlotMove>;
  /** Removes everything. */
  stop(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

const slots = 16_384;
const masters = [0, 1, 2] as const;
const portOf = (node: number) => 7000 + node;

/** Starts a cluster and resolves when it is ready. */
export async function startRedisCluster({ replicas = 0 }: RedisClusterOptions = {}): Promise<RedisCluster> {
  const nodes = Array.from({ length: masters.length * (1 + replicas) }, (_, node) => node);
  const processes = await startRedisContainer({ ports: nodes.map(portOf) });
  const { container } = processes;
  const stop = () => container.stop();
  const cli = (node: number, ...args: readonly string[]) => processes.cli(portOf(node), ...args);
  const view: ClusterView = { processes, nodes, ids: [] };
  try {
    await startNodes(view);
    await join(view);
    await ready(view);
  } catch (error) {
    await stop();
    throw error;
  }

  const beginMove = async (slot: number, toNode: number) => {
    const from = await masterOf(view, slot);
    const running = await runningNodes(view);
    return beginSlotMove(
      { ask: cli, idOf: (node) => idOf(view, node), ip: container.ip, portOf },
      { slot, from, to: toNode, masters: await mastersAmong(view, running) },
    );
  };

  return {
    nodes: nodes.map((node) => container.address(portOf(node))),
    natMap: natMapOf(container, nodes.map(portOf)),
    cli,
    kill: (node) => processes.kill(portOf(node)),
    start: (node) => processes.start(portOf(node)),
    ready: () => ready(view),
    masterOf: (slot) => masterOf(view, slot),
    beginMove,
    async moveSlot(slot, toNode) {
      const move = await beginMove(slot, toNode);
      while ((await move.migrateKeys()) > 0);
      await move.end();
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

interface ClusterView {
  readonly processes: RedisProcesses;
  readonly nodes: readonly number[];
  /** The nodes' own names, which they keep as long as their data. */
  ids: readonly string[];
}

async function startNodes(view: ClusterView): Promise<void> {
  const { processes, nodes } = view;
  await Promise.all(
    nodes.map(async (node) => {
      await processes.configure(portOf(node), {
        settings: [
          `port ${portOf(node)}`,
          "cluster-enabled yes",
          "cluster-config-file nodes.conf",
          "cluster-node-timeout 2000",
          `cluster-announce-ip ${processes.container.ip}`,
          "repl-diskless-sync-delay 0",
        ],
      });
      await processes.start(portOf(node));
    }),
  );
  view.ids = await Promise.all(nodes.map((node) => processes.cli(portOf(node), "cluster", "myid")));
}

// What `redis-cli --cluster create` does, with the order of the nodes kept and without its fixed pauses.
async function join(view: ClusterView): Promise<void> {
  const { nodes, processes } = view;
  const cli = (node: number, ...args: readonly string[]) => processes.cli(portOf(node), ...args);
  const share = Math.ceil(slots / masters.length);
  for (const node of masters) {
    const own = Array.from({ length: Math.min(share, slots - node * share) }, (_, slot) => String(node * share + slot));
    await cli(node, "cluster", "set-config-epoch", String(node + 1));
    await cli(node, "cluster", "addslots", ...own);
  }
  for (const node of nodes.slice(1)) {
    await cli(0, "cluster", "meet", processes.container.ip, String(portOf(node)));
  }
  await until("all nodes know each other", async () => {
    const seen = await Promise.all(nodes.map((node) => describe(view, node)));
    return seen.every((lines) => view.ids.every((id) => lines.some((line) => line.id === id && line.well)));
  });
  for (const node of nodes.slice(masters.length)) {
    await cli(node, "cluster", "replicate", idOf(view, node - masters.length));
  }
  if (nodes.length === masters.length) return;
  await until("all nodes know who is a replica", async () => {
    const seen = await Promise.all(nodes.map((node) => describe(view, node)));
    return seen.every((lines) => lines.filter(({ master }) => master).length === masters.length);
  });
}

async function ready(view: ClusterView): Promise<void> {
  await until(
    "the cluster is ready",
    async () => {
      const running = await runningNodes(view);
      const well = await Promise.all(running.map((node) => isWell(view, node)));
      return running.length > 0 && well.every(Boolean);
    },
    { timeoutMs: 45_000 },
  );
}

async function isWell({ processes }: ClusterView, node: number): Promise<boolean> {
  const info = await processes.cli(portOf(node), "cluster", "info");
  if (!/^cluster_state:ok\r?$/m.test(info) || !new RegExp(`^cluster_slots_ok:${slots}\\r?$`, "m").test(info))
    return false;
  const [role, , , link] = (await processes.cli(portOf(node), "role")).split("\n");
  return role === "master" || link === "connected";
}

async function masterOf(view: ClusterView, slot: number): Promise<number> {
  return until(`the nodes agree on who serves slot ${slot}`, async () => {
    const running = await runningNodes(view);
    const answers = await Promise.all(
      running.map(async (node) => (await describe(view, node)).find((line) => line.well && line.serves(slot))?.id),
    );
    const [id] = answers;
    if (id === undefined || answers.some((other) => other !== id)) return false;
    return view.ids.indexOf(id);
  });
}

async function runningNodes({ processes, nodes }: ClusterView): Promise<number[]> {
  const alive = await Promise.all(nodes.map((node) => processes.alive(portOf(node))));
  return nodes.filter((_, at) => alive[at]);
}

async function mastersAmong(view: ClusterView, nodes: readonly number[]): Promise<number[]> {
  const [asked] = nodes;
  if (asked === undefined) return [];
  const lines = await describe(view, asked);
  return nodes.filter((node) => lines.some(({ id, master, well }) => id === view.ids[node] && master && well));
}

function idOf({ ids }: ClusterView, node: number): string {
  const id = ids[node];
  if (id === undefined) throw new RangeError(`the cluster has no node ${node}`);
  return id;
}

interface NodeLine {
  readonly id: string;
  readonly master: boolean;
  readonly well: boolean;
  serves(slot: number): boolean;
}

// What one node says about all of them: `<id> <address> <flags> <master> <ping> <pong> <epoch> <link> <slot> …`.
async function describe({ processes }: ClusterView, node: number): Promise<NodeLine[]> {
  const lines = (await processes.cli(portOf(node), "cluster", "nodes")).split("\n").filter(Boolean);
  return lines.map((line) => {
    const [id = "", , flagged = "", , , , , link, ...served] = line.trim().split(" ");
    const flags = flagged.split(",");
    const ranges = served
      .filter((range) => !range.startsWith("["))
      .map((range) => {
        const [from = -1, to = from] = range.split("-").map(Number);
        return { from, to };
      });
    return {
      id,
      master: flags.includes("master"),
      well: link === "connected" && !flags.some((flag) => ["fail", "fail?", "handshake", "noaddr"].includes(flag)),
      serves: (slot) => ranges.some(({ from, to }) => from <= slot && slot <= to),
    };
  });
}
