// A client of the real Cluster that keeps a record of what is sent by it.

import type { Argument } from "./commands.js";
import { CLUSTER, type OwnedClient } from "./deployments.test-setup.js";

interface RecordedClient {
  readonly client: OwnedClient;
  /** Every command, in order. */
  readonly commands: readonly (readonly Argument[])[];
  /** How often something was sent while no answer was outstanding. */
  waves(): number;
}

/** Makes one. */
export function recordedClient(): RecordedClient {
  const client = CLUSTER.connect();
  const commands: (readonly Argument[])[] = [];
  let waves = 0;
  let pending = 0;
  const send = client.callBuffer.bind(client);
  client.callBuffer = async (name, ...args) => {
    commands.push([name, ...args]);
    if (pending++ === 0) waves++;
    try {
      return await send(name, ...args);
    } finally {
      pending--;
    }
  };
  return { client, commands, waves: () => waves };
}
