// What the fault suites break: a server behind a proxy, and what is on its way through it.

import { randomUUID } from "node:crypto";
import type { SegmentStore } from "@rollcall/core";
import { afterAll, beforeAll } from "vitest";
import type { Address } from "../containers/container.js";
import { startTcpProxy, type TcpProxy } from "../tcp-proxy.js";
import type { Mode } from "./change.js";
import { expectState, openInSmallSteps, type RecordingStore, startTrial } from "./trial.js";
import { watchSegment } from "./watching-reader.js";

/** How the fault suites reach a server: what an adapter brings. */
export interface FaultHarness {
  /** Where the server is. Asked while a test runs, and not before. */
  server(): Address;
  /**
   * A store, not yet open, on the server that is reached at `address`: its own, or that of a proxy before it. Stores of one `place` see the
   * same data, and those of another one none of it.
   */
  createStore(address: Address, options: FaultStoreOptions): SegmentStore;
}

export interface FaultStoreOptions {
  /** A name that no other test uses. */
  readonly place: string;
  /** How long a call may take. */
  readonly timeoutMs: number;
}

/** Long enough for a busy machine, and short enough to wait for. */
export const TIMEOUT_MS = 2_000;

/** A segment on a server, and a store and a reader that reach it through a proxy. */
export async function startLine({ server, createStore }: FaultHarness, mode: Mode, timeoutMs: number = TIMEOUT_MS) {
  const place = randomUUID();
  const proxy = await startTcpProxy(server());
  const open = (address: Address, limitMs: number): Promise<RecordingStore> =>
    openInSmallSteps(createStore(address, { place, timeoutMs: limitMs }));
  const calm = await open(server(), TIMEOUT_MS);
  const store = await open(proxy, timeoutMs);
  const trial = await startTrial(calm, mode);
  const reader = await watchSegment(store, trial.segmentKey, trial);
  return {
    place,
    proxy,
    /** Reaches the server directly. */
    calm,
    store,
    trial,
    reader,
    /** Asserts that readers and the store hold what the sync was to bring about, and nothing is left over. */
    async expectEnd() {
      await reader.expectOnly(trial.after);
      await expectState(calm, trial.segmentKey, trial.after);
    },
    async [Symbol.asyncDispose]() {
      await reader.stop();
      await store.close();
      await calm.close();
      await proxy.close();
    },
  };
}

/** A server that can die. */
export interface MortalServer extends Address {
  kill(): Promise<void>;
  start(): Promise<void>;
  stop(): Promise<void>;
}

/** One server and a proxy before it for a group of tests, there from its first test to its last. */
export function brokenServer<Server extends MortalServer>(startServer: () => Promise<Server>) {
  let server: Server;
  let proxy: TcpProxy;
  beforeAll(async () => {
    server = await startServer();
    proxy = await startTcpProxy(server);
  });
  afterAll(async () => {
    await proxy.close();
    await server.stop();
  });
  return {
    server: () => server,
    proxy: () => proxy,
    /** Calls on their way are done, and nobody hears of it. */
    async kill() {
      swallowReplies(proxy);
      await server.kill();
    },
    async start() {
      await server.start();
      await forgetSwallowed(proxy);
    },
  };
}

/** From now on requests take effect and nobody hears of it: so a fault meets calls that were done and not answered. */
export function swallowReplies(proxy: TcpProxy): void {
  proxy.onReply(() => "swallow");
}

/** Ends that, and resets the connections whose replies are missing. */
export async function forgetSwallowed(proxy: TcpProxy): Promise<void> {
  proxy.cut();
  await proxy.resume();
}

/** Whether a piece of a request has `what` in it. */
export function holds(request: Buffer, what: string | RegExp): boolean {
  return request.toString("latin1").search(what) >= 0;
}

/** Loses the reply to the next request that holds `what`, once. */
export function loseReply(proxy: TcpProxy, what: string | RegExp): void {
  let isLost = false;
  proxy.dropReplies({
    after(request) {
      const isIt = !isLost && holds(request, what);
      isLost ||= isIt;
      return isIt;
    },
  });
}
