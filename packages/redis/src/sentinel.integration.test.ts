// Every promise of the port on the primary that a Sentinel names, through a client of the caller's.
import { conformance } from "@rollcall/conformance";
import { Redis } from "ioredis";
import { inject } from "vitest";
import { clientHarness } from "./client-harness.test-setup.js";
import { FEWER_RUNS } from "./servers.test-setup.js";

const { sentinels, name, natMap } = inject("redisSentinel");

conformance(
  "@rollcall/redis behind a Sentinel",
  clientHarness(
    () =>
      new Redis({
        sentinels: [...sentinels],
        name,
        natMap,
        autoResendUnfulfilledCommands: false,
        maxRetriesPerRequest: 0,
      }),
  ),
  { runs: FEWER_RUNS },
);
