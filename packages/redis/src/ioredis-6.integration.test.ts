// Every promise of the port with ioredis 6, which speaks RESP3.
import { conformance } from "@rollcall/conformance";
import { Cluster, Redis } from "ioredis-6";
import { inject } from "vitest";
import { clientHarness } from "./client-harness.test-setup.js";
import { FEWER_RUNS } from "./servers.test-setup.js";

const { host, port } = inject("redisServer");
const { nodes, natMap } = inject("redisCluster");

conformance(
  "@rollcall/redis with ioredis 6 on one server",
  clientHarness(() => new Redis({ host, port, autoResendUnfulfilledCommands: false, maxRetriesPerRequest: 0 })),
  { runs: FEWER_RUNS },
);

conformance(
  "@rollcall/redis with ioredis 6 on a Cluster",
  clientHarness(() => new Cluster([...nodes], { natMap, retryDelayOnFailover: 0 })),
  { runs: FEWER_RUNS },
);
