// The server that the integration tests share, started once. Tests that break a server start one of their own.

import { startDynamoDbServer } from "@rollcall/conformance/containers";
import type { TestProject } from "vitest/node";

declare module "vitest" {
  interface ProvidedContext {
    readonly dynamoDbServer: { readonly host: string; readonly port: number };
  }
}

/** Runs of each property where another file has run a hundred on the same server. */
export const FEWER_RUNS = 20;

export default async function startServers(project: TestProject): Promise<() => Promise<void>> {
  const { host, port, stop } = await startDynamoDbServer({ inMemory: true });
  project.provide("dynamoDbServer", { host, port });
  return stop;
}
