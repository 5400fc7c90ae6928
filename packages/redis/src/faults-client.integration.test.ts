// A client that its owner ends in the middle of a sync: nobody connects again, so the sync must end too.

import { randomUUID } from "node:crypto";
import { until } from "@rollcall/conformance/containers";
import {
  expectApplied,
  expectRefused,
  expectState,
  MODES,
  openInSmallSteps,
  quickRollcall,
  startTrial,
  sync,
  watchSegment,
} from "@rollcall/conformance/faults";
import { describe, expect, it } from "vitest";
import { CLUSTER, type Deployment, type OwnedClient, SINGLE } from "./deployments.test-setup.js";
import { createRedisStore } from "./index.js";

/** What an owner may do to a client, or to the store. */
const ENDINGS = [
  { ending: "client.disconnect", deployment: SINGLE },
  { ending: "client.quit", deployment: SINGLE },
  { ending: "store.close", deployment: SINGLE },
  { ending: "client.disconnect", deployment: CLUSTER },
  { ending: "client.quit", deployment: CLUSTER },
] as const;

describe.each(MODES)("during a %s", (mode) => {
  it.each(ENDINGS)("$ending ends the handle on $deployment.name", async ({ ending, deployment }) => {
    const prefix = randomUUID();
    const client = await connected(deployment);
    await using store = await openInSmallSteps(createRedisStore(client, { prefix }));
    const trial = await startTrial(store, mode);
    await using reader = await watchSegment(store, trial.segmentKey, trial);
    const rollcall = quickRollcall(store, { retry: { retries: 4, minDelayMs: 20 } });
    const outcome = await sync(rollcall, trial, () => {
      if (ending === "store.close") return store.close();
      // The reply to QUIT is lost where the server closes the connection while more is written to it.
      return ending === "client.quit" ? client.quit().catch(() => {}) : client.disconnect();
    });
    expectRefused(outcome, "closed");
    expect(outcome.error?.retryable).toBe(false);
    reader.expectNothingWrong();
    client.disconnect();

    const otherClient = await connected(deployment);
    await using other = await openInSmallSteps(createRedisStore(otherClient, { prefix }));
    await using otherReader = await watchSegment(other, trial.segmentKey, trial);
    expectApplied(await sync(quickRollcall(other), trial));
    await otherReader.expectOnly(trial.after);
    await expectState(other, trial.segmentKey, trial.after);
    otherClient.disconnect();
  });
});

async function connected({ connect }: Deployment): Promise<OwnedClient> {
  const client = connect();
  await until("it is connected", () => client.status === "ready");
  return client;
}
