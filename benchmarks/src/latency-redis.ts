// latency-redis: what other clients of a Redis server notice while a large segment is replaced and an old one is swept.

import { createRollcall } from "@rollcall/core";
import type { Redis } from "ioredis";
import { type SegmentShare, streamMembers } from "./audience.js";
import { atMost, type Benchmark, membersText, type RunOptions, round } from "./benchmark.js";
import { openBigSegments } from "./big-segments-redis.js";
import { leaveCoreFree } from "./free-core.js";
import { connectTo, type MeasuredRedis, withRedis } from "./measured-redis.js";
import { withRollcall } from "./rollcall-redis.js";
import { segmentKey } from "./segment-loading.js";
import { bigSegmentRef } from "./segments-redis.js";

const MEMBERS = 1_000_000;
const ROUNDS = 3;
const EVERYONE: SegmentShare = { number: 0, oneIn: 1 };
/** By this key a load tells the probe when it begins and when it has ended; reading it is the probing itself. */
const PHASE = "bench:phase";
/** Commands that take longer are looked at one by one; fewer, and writing them down would take time too. */
const SLOW_MICROSECONDS = 1_000;
const MOST_SLOW = 100_000;

interface Target {
  readonly url: string;
  readonly members: number;
}

/** Milliseconds that a load took. */
type Load = (target: Target) => Promise<number>;

/** The peer loads a segment. */
async function loadByPeer({ url, members }: Target): Promise<number> {
  const peer = await openBigSegments(url);
  const ms = await duringPhase(url, () => peer.add(bigSegmentRef(0), streamMembers(EVERYONE, members)));
  peer.close();
  return ms;
}

/** A segment that is there is replaced, and what it held before is swept, as a server does it that gives readers their time. */
async function replaceAndSweep({ url, members }: Target): Promise<number> {
  return withRollcall(url, { expectedContexts: members }, async ({ store, rollcall }) => {
    const replace = () => rollcall.replace(segmentKey(0), { included: streamMembers(EVERYONE, members) });
    await replace();
    const sweeper = createRollcall(store, { graceMs: 0 });
    const ms = await duringPhase(url, async () => {
      await replace();
      const { droppedSets } = await sweeper.sweep();
      if (droppedSets !== 1) throw new Error(`${droppedSets} sets were swept`);
    });
    await sweeper.close();
    return ms;
  });
}

async function duringPhase(url: string, work: () => Promise<unknown>): Promise<number> {
  const client = await connectTo(url);
  await client.set(PHASE, "begun");
  const started = performance.now();
  await work();
  const ms = performance.now() - started;
  await client.set(PHASE, "ended");
  client.disconnect();
  return ms;
}

/** What a client sees that asks, and asks again when it has its answer. */
interface Probed {
  readonly asked: number;
  readonly p50Ms: number;
  readonly p999Ms: number;
  readonly maxMs: number;
}

/** Probes from the begin of a load to its end. */
async function probe({ url }: { readonly url: string }): Promise<Probed> {
  const client = await connectTo(url);
  const times: number[] = [];
  for (;;) {
    const started = performance.now();
    const phase = await client.get(PHASE);
    const ms = performance.now() - started;
    if (phase === "begun") times.push(ms);
    if (phase === "ended") break;
  }
  client.disconnect();
  const sorted = Float64Array.from(times).sort();
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
  return { asked: sorted.length, p50Ms: at(0.5), p999Ms: at(0.999), maxMs: at(1) };
}

interface Seen {
  readonly loadMs: number;
  readonly probed: Probed;
  /** The longest command of the load, in milliseconds. */
  readonly longestMs: number;
}

async function watch(load: Load, members: number, server: MeasuredRedis, { runSide }: RunOptions): Promise<Seen> {
  const { url, admin, empty } = server;
  await empty();
  await admin.slowlog("RESET");
  const [{ result: loadMs }, { result: probed }] = await Promise.all([
    runSide(load, { url, members }),
    runSide(probe, { url }),
  ]);
  return { loadMs, probed, longestMs: await longestMs(admin) };
}

/** Of all commands since the log was emptied, but for those of this benchmark's own clients. */
async function longestMs(admin: Redis): Promise<number> {
  const entries = (await admin.slowlog("GET", MOST_SLOW)) as [number, number, microseconds: number, string[]][];
  const own = entries.filter(([, , , [name = ""]]) => !/^(?:flushall|slowlog|config|info)$/i.test(name));
  return Math.max(SLOW_MICROSECONDS, ...own.map(([, , microseconds]) => microseconds)) / 1_000;
}

export const latencyRedisBenchmark: Benchmark = {
  name: "latency-redis",
  measures:
    "What a GET of another client takes on Redis while a million members are replaced and swept, against while the peer loads as many.",
  sides: { loadByPeer, replaceAndSweep, probe },
  async run(options) {
    const members = options.quick ? MEMBERS / 20 : MEMBERS;
    return withRedis(options, async (server) => {
      async function rounds(where: string): Promise<{ peer: Seen[]; ours: Seen[] }> {
        const [peer, ours]: [Seen[], Seen[]] = [[], []];
        for (let round = 1; round <= ROUNDS; round++) {
          options.onProgress(`${where}: round ${round} of ${ROUNDS}`);
          peer.push(await watch(loadByPeer, members, server, options));
          ours.push(await watch(replaceAndSweep, members, server, options));
        }
        return { peer, ours };
      }

      async function roundsOfBothKinds() {
        const shared = await rounds("all cores shared");
        const core = await leaveCoreFree(options.redisUrl === undefined);
        const alone = await rounds("one core for the server").finally(core.restore);
        return { shared, alone, core };
      }

      const restoreLog = await logSlowCommands(server.admin);
      const { shared, alone, core } = await roundsOfBothKinds().finally(restoreLog);
      const row = (side: string) => (seen: Seen, index: number) => {
        const { p50Ms, p999Ms, maxMs, asked } = seen.probed;
        return [side, index + 1, Math.round(seen.loadMs), asked, ...[p50Ms, p999Ms, maxMs, seen.longestMs].map(round)];
      };
      const best = (seen: readonly Seen[], figure: (seen: Seen) => number) => Math.min(...seen.map(figure));
      const p999 = ({ probed }: Seen) => probed.p999Ms;
      const longest = ({ longestMs }: Seen) => longestMs;
      return {
        columns: ["load", "round", "ms", "GETs", "p50 ms", "p99.9 ms", "longest ms", "longest command ms"],
        rows: [
          ...shared.peer.map(row("peer")),
          ...shared.ours.map(row("replace and sweep")),
          ...alone.peer.map(row("peer, a core for the server")),
          ...alone.ours.map(row("replace and sweep, a core for the server")),
        ],
        bounds: [
          atMost("p99.9 of a GET / under the peer's load", 3, best(shared.ours, p999) / best(shared.peer, p999)),
          atMost("the longest command", 5, best(alone.ours, longest), "ms"),
        ],
        notes: [
          `${server.description}. Loads and GETs come from processes of their own; the best of ${ROUNDS} rounds of each.`,
          `Replace and sweep: a segment of ${membersText(members)} members is there and is replaced as a whole, then the set it had is dropped. Peer: one segment of as many members by SADD, in pipelines of 1,000.`,
          "The GETs are of one connection, the next when the one before is answered. Their bound is of the rounds in which all processes share all cores: what the system's scheduler adds is in the figures of both.",
          `Commands by SLOWLOG, which has those from ${SLOW_MICROSECONDS / 1_000} ms on: that is shown where none was longer. Their bound is of the rounds after those. ${core.note}`,
        ],
      };
    });
  },
};

/** Has the server write down slow commands, and answers what puts its settings back. */
async function logSlowCommands(admin: Redis): Promise<() => Promise<void>> {
  const wanted = { "slowlog-log-slower-than": String(SLOW_MICROSECONDS), "slowlog-max-len": String(MOST_SLOW) };
  const before: [string, string][] = [];
  for (const [name, value] of Object.entries(wanted)) {
    const [, present] = (await admin.config("GET", name)) as string[];
    before.push([name, present ?? value]);
    await admin.config("SET", name, value);
  }
  return async () => {
    for (const [name, value] of before) await admin.config("SET", name, value);
  };
}
