// Every promise of the port on a Cluster of three.
import { conformance } from "@rollcall/conformance";
import { Cluster } from "ioredis";
import { inject } from "vitest";
import { clientHarness } from "./client-harness.test-setup.js";

const { nodes, natMap } = inject("redisCluster");

conformance(
  "@rollcall/redis on a Cluster",
  clientHarness(() => new Cluster([...nodes], { natMap, retryDelayOnFailover: 0 })),
  // A handle takes longer to connect than its calls take.
  { runs: 50 },
);
