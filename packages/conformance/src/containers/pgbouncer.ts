// A PgBouncer in transaction mode before a PostgreSQL server of the fixtures, in a container of its own.

import { type Address, startContainer } from "./container.js";
import { Hopeless, until } from "./deadline.js";
import { pgBouncerImage } from "./image.js";
import type { PostgresServer } from "./postgres-server.js";

export interface PgBouncer extends Address {
  /** Removes it. The server stays. */
  stop(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

const port = 6432;
const home = "/rollcall";

const scriptText = `case $1 in
start)
  chmod 644 ${home}/*.ini ${home}/*.txt 2>/dev/null
  if [ "$(id -u)" = 0 ]; then
    su -s /bin/sh postgres -c "PATH=$PATH; exec pgbouncer ${home}/pgbouncer.ini" >>/tmp/pgbouncer.log 2>&1 </dev/null &
  else
    pgbouncer ${home}/pgbouncer.ini >>/tmp/pgbouncer.log 2>&1 </dev/null &
  fi
  ;;
alive) grep -lx pgbouncer /proc/[0-9]*/comm >/dev/null 2>&1 ;;
esac
`;

/**
 * Starts one that gives each transaction any of `poolSize` connections, 4 unless given. Its clients log in as the superuser of `server`, or
 * as one of `users`, by password.
 */
export async function startPgBouncer(
  server: PostgresServer,
  options: {
    readonly poolSize?: number;
    readonly users?: readonly { readonly user: string; readonly password: string }[];
  } = {},
): Promise<PgBouncer> {
  const { poolSize = 4, users = [] } = options;
  const container = await startContainer(pgBouncerImage(), { ports: [port] });
  const stop = () => container.stop();
  try {
    const { inner } = server;
    const settings = [
      "[databases]",
      `* = host=${inner.host} port=${inner.port}`,
      "[pgbouncer]",
      "listen_addr = 0.0.0.0",
      `listen_port = ${port}`,
      "unix_socket_dir =",
      "auth_type = scram-sha-256",
      `auth_file = ${home}/users.txt`,
      "pool_mode = transaction",
      `default_pool_size = ${poolSize}`,
      "max_client_conn = 500",
      // Seconds until it tries a server again that it could not reach.
      "server_login_retry = 1",
    ];
    const logins = [server, ...users].map((login) => `${quoted(login.user)} ${quoted(login.password)}`);
    await container.write([
      { path: `${home}/pgbouncer.sh`, content: scriptText },
      { path: `${home}/pgbouncer.ini`, content: `${settings.join("\n")}\n` },
      { path: `${home}/users.txt`, content: `${logins.join("\n")}\n` },
    ]);
    await container.run(["sh", `${home}/pgbouncer.sh`, "start"]);
    await until("PgBouncer listens", async () => {
      const { output } = await container.attempt(["cat", "/tmp/pgbouncer.log"]);
      if (/listening on 0\.0\.0\.0/.test(output)) return true;
      const isAlive = (await container.attempt(["sh", `${home}/pgbouncer.sh`, "alive"])).code === 0;
      if (!isAlive && output !== "") throw new Hopeless(`PgBouncer ended while starting: ${output}`);
      return false;
    });
    return { ...container.address(port), stop, [Symbol.asyncDispose]: stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

function quoted(text: string): string {
  return `"${text.replaceAll('"', '""')}"`;
}
