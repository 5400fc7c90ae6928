// The servers that the integration tests share, each started once. Tests that break a server start one of their own.

import { startPgBouncer, startPostgresServer } from "@rollcall/conformance/containers";
import type { TestProject } from "vitest/node";

type Server = Awaited<ReturnType<typeof startPostgresServer>>;
type Bouncer = Awaited<ReturnType<typeof startPgBouncer>>;

declare module "vitest" {
  interface ProvidedContext {
    readonly postgresServer: Pick<
      Server,
      "host" | "port" | "inner" | "user" | "password" | "database" | "ca" | "wrongCa"
    >;
    readonly pgBouncer: Pick<Bouncer, "host" | "port">;
  }
}

/** A user whom the server takes over TLS only, and who may create nothing. */
export const SYNCER = { user: "syncer", password: "s3cret/with@signs" };

/** Runs of each property where another file has run a hundred on the same server. */
export const FEWER_RUNS = 20;

export default async function startServers(project: TestProject): Promise<() => Promise<void>> {
  const server = await startPostgresServer({
    settings: { max_connections: "400" },
    hba: [`hostnossl all ${SYNCER.user} all reject`],
  });
  const bouncer = await startPgBouncer(server);
  await server.psql(`CREATE ROLE ${SYNCER.user} LOGIN PASSWORD '${SYNCER.password}'`);
  const { host, port, inner, user, password, database, ca, wrongCa } = server;
  project.provide("postgresServer", { host, port, inner, user, password, database, ca, wrongCa });
  project.provide("pgBouncer", { host: bouncer.host, port: bouncer.port });
  return async () => {
    await Promise.all([server.stop(), bouncer.stop()]);
  };
}
