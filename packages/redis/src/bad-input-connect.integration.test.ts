// A way to a server that is wrong, of another kind, or leads nowhere: it ends in a typed error, soon, that names the remedy and holds
// no secret.

import { createServer as createHttpServer } from "node:http";
import { type AddressInfo, createServer } from "node:net";
import { type Address, startTcpProxy, until } from "@rollcall/conformance/containers";
import { Cluster, Redis } from "ioredis";
import { afterAll, beforeAll, describe, inject, it } from "vitest";
import { caFile, login, quickStoreMaker, refused, secrets, url } from "./bad-input.test-setup.js";
import { NO_RESENDING } from "./deployments.test-setup.js";
import { expectRefusal, type Refusal } from "./refusal.test-setup.js";

const { host, port, tlsPort, ca, wrongCa } = inject("redisServer");
const { sentinels, name: primaryName } = inject("redisSentinel");
const [watcher] = sentinels as [Address];
const [node] = inject("redisCluster").nodes as [Address];

const storeAt = quickStoreMaker();

/** A server that is none of Redis. */
let webPort: number;
const web = createHttpServer((_, response) => response.end());
beforeAll(async () => {
  web.listen(0, "127.0.0.1");
  await until("it listens", () => web.listening);
  webPort = (web.address() as AddressInfo).port;
});
afterAll(() => web.close());

describe("TLS", () => {
  const certificate: Refusal = { code: "access_denied", remedy: /certificate.*ca=/, secrets };
  refused(storeAt, [
    ["with another authority", () => `rediss://${login}@${host}:${tlsPort}?ca=${caFile(wrongCa)}`, certificate],
    ["with no authority that is known", () => `rediss://${login}@${host}:${tlsPort}`, certificate],
    [
      "with a file that is no certificate",
      () => `rediss://${login}@${host}:${tlsPort}?ca=${caFile("none")}`,
      certificate,
    ],
    [
      "to a server of another name",
      () => new Redis({ host, port: tlsPort, ...NO_RESENDING, tls: { ca, servername: "elsewhere.example" } }),
      { code: "access_denied", remedy: /certificate.*name/ },
    ],
    [
      "to a server that answers in the clear",
      () => `rediss://${login}@127.0.0.1:${webPort}`,
      { code: "access_denied", remedy: /TLS/, secrets },
    ],
  ]);

  // Redis takes a greeting of TLS for an unfinished line, and waits for more, unless a line feed is among its random bytes.
  const silent: Refusal = { code: ["access_denied", "store_unavailable"], remedy: /TLS/, secrets };
  refused(storeAt, [
    ["to a port of Redis in the clear", () => `rediss://${login}@${host}:${port}`, silent],
    ["to a node of a Cluster in the clear", () => `rediss+cluster://${login}@${node.host}:${node.port}`, silent],
    ["missing for a port that wants it", () => `redis://${login}@${host}:${tlsPort}`, silent],
  ]);
});

describe("a server of another kind", () => {
  const useCluster: Refusal = { code: "invalid_request", remedy: /redis\+cluster:.*Cluster client/ };
  const useSingle: Refusal = { code: "invalid_request", remedy: /redis:.*Redis client/ };
  const noSuchDatabase: Refusal = { code: "invalid_request", remedy: /database/ };
  refused(storeAt, [
    ["a node of a Cluster, by a URL", () => `redis://${node.host}:${node.port}`, useCluster],
    ["a node of a Cluster, by a client", () => new Redis({ ...node, ...NO_RESENDING }), useCluster],
    ["one server, by a URL of a Cluster", () => `redis+cluster://${host}:${port}`, useSingle],
    [
      "one server, by a client of a Cluster",
      () => new Cluster([{ host, port }], { retryDelayOnFailover: 0 }),
      useSingle,
    ],
    ["one server, by a URL of a Sentinel", () => `redis+sentinel://${host}:${port}/main`, useSingle],
    [
      "a Sentinel, by a URL of one server",
      () => `redis://${watcher.host}:${watcher.port}`,
      { code: "invalid_request", remedy: /redis\+sentinel:/ },
    ],
    [
      "a Sentinel that does not know the name",
      () => `redis+sentinel://${watcher.host}:${watcher.port}/nobody`,
      { code: "store_unavailable", remedy: /name/ },
    ],
    [
      "something else",
      () => `redis://${login}@127.0.0.1:${webPort}`,
      { code: "store_unavailable", remedy: /reachable/, secrets },
    ],
    // It must not end up in database 0, which is where ioredis stays when a database cannot be had.
    ["a database that the server has not", () => `${url}/9999`, noSuchDatabase],
    ["the same, in a client", () => new Redis({ host, port, db: 9_999, ...NO_RESENDING }), noSuchDatabase],
  ]);
});

describe("a server out of reach", () => {
  const refusal: Refusal = { code: "store_unavailable", remedy: /host|reachable/, secrets };
  const schemes: readonly [scheme: string, target: Address, path: string][] = [
    ["redis", { host, port }, ""],
    ["redis+cluster", node, ""],
    ["redis+sentinel", watcher, `/${primaryName}`],
  ];

  it.each(schemes)("where nothing listens, by %s:", async (scheme, _, path) => {
    const store = storeAt(`${scheme}://${login}@127.0.0.1:${await closedPort()}${path}`);
    await expectRefusal(() => store.open(), refusal);
  });

  it.each(schemes)("whose name nobody knows, by %s:", async (scheme, _, path) => {
    const store = storeAt(`${scheme}://${login}@no-such-host.invalid${path}`);
    await expectRefusal(() => store.open(), refusal);
  });

  it.each(schemes)("that accepts and never answers, by %s:", async (scheme, target, path) => {
    await using proxy = await startTcpProxy(target);
    proxy.freeze();
    const store = storeAt(`${scheme}://${login}@127.0.0.1:${proxy.port}${path}`, { timeoutMs: 300 });
    await expectRefusal(() => store.open(), refusal);
    await store.close();
    // A client that is still there would stay: the server behind the proxy keeps connections that are idle.
    await proxy.resume();
    await until("its connections are gone", () => proxy.connections === 0);
  });

  it("that stops answering, and answers again", async () => {
    await using proxy = await startTcpProxy({ host, port });
    const at = { host: "127.0.0.1", port: proxy.port };
    for (const target of [`redis://${at.host}:${at.port}`, new Redis({ ...at, ...NO_RESENDING })]) {
      const store = storeAt(target, { timeoutMs: 300 });
      await store.open();
      proxy.freeze();
      await expectRefusal(() => store.getEpoch(), refusal);
      await proxy.resume();
      await until("it answers again", () => store.getEpoch());
    }
  });
});

async function closedPort(): Promise<number> {
  const listener = createServer().listen(0, "127.0.0.1");
  await until("it listens", () => listener.listening);
  const { port: free } = listener.address() as AddressInfo;
  listener.close();
  return free;
}
