// A master, its replica and one Sentinel for tests, all in one container.

import type { Address } from "./container.js";
import { until } from "./deadline.js";
import { type NatMap, natMapOf } from "./nat-map.js";
import { type RedisProcesses, startRedisContainer } from "./redis-processes.js";

export interface RedisSentinel {
  /** Where the tests reach the Sentinel. */
  readonly sentinels: readonly Address[];
  /** The name under which it watches the master. */
  readonly name: string;
  /** From the addresses that it answers with to those that the tests reach: the `natMap` of ioredis. */
  readonly natMap: NatMap;
  /** The ports inside the container, by which the other members are called. */
  readonly ports: { readonly data: readonly [number, number]; readonly sentinel: number };
  /** What redis-cli prints for a command. An error reply rejects. */
  cli(port: number, ...args: readonly string[]): Promise<string>;
  /** Kills one process with SIGKILL and resolves when it is dead. It stays dead until `start`. */
  kill(port: number): Promise<void>;
  /** Starts it again and resolves when it answers. */
  start(port: number): Promise<void>;
  /** Has the Sentinel change the roles, and resolves when both servers have theirs. Resolves to the new master's port. */
  failover(): Promise<number>;
  /** The port of the server that the Sentinel takes for the master. */
  master(): Promise<number>;
  /** Removes everything. */
  stop(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

const name = "rollcall";
const [first, second, sentinel] = [6379, 6380, 26_379] as const;

/** Starts them, and resolves when the replica is in sync and the Sentinel knows it. */
export async function startRedisSentinel(): Promise<RedisSentinel> {
  const processes = await startRedisContainer({ ports: [first, second, sentinel] });
  const { container, cli, kill, start } = processes;
  const stop = () => container.stop();
  try {
    await startPair(processes);
    await startSentinel(processes);
  } catch (error) {
    await stop();
    throw error;
  }

  const master = async () => Number((await askMaster(processes)).split("\n")[1]);

  return {
    sentinels: [container.address(sentinel)],
    name,
    natMap: natMapOf(container, [first, second, sentinel]),
    ports: { data: [first, second], sentinel },
    cli,
    kill,
    start,
    master,
    async failover() {
      const before = await master();
      const after = before === first ? second : first;
      // Refused while an earlier failover is still under way, or the replica is not yet seen to be well.
      await until("the Sentinel begins a failover", async () => {
        await cli(sentinel, "sentinel", "failover", name);
        return true;
      });
      await until(
        `${after} is the master`,
        async () => (await master()) === after && (await isMaster(processes, after)),
      );
      if (await processes.alive(before)) {
        await until(`${before} follows ${after}`, () => follows(processes, before, after));
      }
      return after;
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

async function startPair(processes: RedisProcesses): Promise<void> {
  const { ip } = processes.container;
  const settings = (port: number) => [
    `port ${port}`,
    `replica-announce-ip ${ip}`,
    // Without it a full resynchronization waits five seconds for other replicas to come.
    "repl-diskless-sync-delay 0",
  ];
  await processes.configure(first, { settings: settings(first) });
  await processes.configure(second, { settings: [...settings(second), `replicaof ${ip} ${first}`] });
  await Promise.all([processes.start(first), processes.start(second)]);
  await until("the replica is in sync", () => follows(processes, second, first));
}

async function startSentinel(processes: RedisProcesses): Promise<void> {
  const { ip } = processes.container;
  await processes.configure(sentinel, {
    settings: [
      `port ${sentinel}`,
      `sentinel announce-ip ${ip}`,
      `sentinel monitor ${name} ${ip} ${first} 1`,
      `sentinel down-after-milliseconds ${name} 1000`,
      `sentinel failover-timeout ${name} 3000`,
    ],
    args: ["--sentinel"],
  });
  await processes.start(sentinel);
  // A Sentinel looks at its servers every ten seconds, and only after as long takes an old master back as a replica.
  // Servers before 7.0 cannot be told to hurry.
  await processes.cli(sentinel, "sentinel", "debug", "info-period", "200", "publish-period", "200").catch(() => "");
  await until("the Sentinel knows the replica", async () => {
    const replicas = await processes.cli(sentinel, "sentinel", "replicas", name);
    return replicas.includes(`\n${second}\n`) && /\nmaster-link-status\nok\n/.test(replicas);
  });
}

function askMaster(processes: RedisProcesses): Promise<string> {
  return processes.cli(sentinel, "sentinel", "get-master-addr-by-name", name);
}

async function isMaster(processes: RedisProcesses, port: number): Promise<boolean> {
  return (await processes.cli(port, "role")).startsWith("master\n");
}

async function follows(processes: RedisProcesses, replica: number, master: number): Promise<boolean> {
  const [role, , port, link] = (await processes.cli(replica, "role")).split("\n");
  return role === "slave" && Number(port) === master && link === "connected";
}
