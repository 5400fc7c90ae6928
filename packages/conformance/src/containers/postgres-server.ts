// A PostgreSQL server for tests, reached in the clear and by TLS at one port, with a standby beside it if asked for. Uses nothing
// of the image but `sh`, `su` and the server's own programs, so that it works in the official images and in Debian's.

import { type Certificates, makeCertificates } from "./certificates.js";
import { type Address, type Container, startContainer } from "./container.js";
import { Hopeless, until } from "./deadline.js";
import { postgresImage } from "./image.js";

export interface PostgresServerOptions {
  /** Settings beside the fixture's own, as in `postgresql.conf`: `{ max_connections: "20" }`. None by default. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Lines of `pg_hba.conf` before the one that lets everybody in by password. None by default. */
  readonly hba?: readonly string[];
  /** Whether a hot standby follows the server, and whether a commit waits until it has it. Default: none does. */
  readonly standby?: "asynchronous" | "synchronous";
  /** Keeps all data, the log of writes too, on a disk of this size. It needs about 60 to begin with. Default: on the container's own. */
  readonly diskMegabytes?: number;
}

/** A hot standby. */
export interface PostgresStandby extends Address {
  /** As that of the server. */
  psql(sql: string): Promise<string>;
  /** Resolves when it shows all that the server has written by now. */
  caughtUp(): Promise<void>;
  /** From now on it receives nothing more of what the server writes. */
  detach(): Promise<void>;
  /** As those of the server. */
  kill(): Promise<void>;
  start(): Promise<void>;
  /** Makes a primary of it, which waits for no standby, and resolves when it takes writes. */
  promote(): Promise<void>;
}

export interface PostgresServer extends Address {
  /** The address in the containers' own network, for other containers. */
  readonly inner: Address;
  readonly standby: PostgresStandby | undefined;
  /** The superuser. */
  readonly user: string;
  readonly password: string;
  readonly database: string;
  /** The authority that signed the server's certificate, PEM. */
  readonly ca: string;
  /** An authority that did not, PEM. */
  readonly wrongCa: string;
  /** What psql prints for statements of the superuser: values only, one row a line. An error rejects. */
  psql(sql: string, database?: string): Promise<string>;
  /** Kills every process of the server with SIGKILL and resolves when they are dead. It stays dead until `start`. */
  kill(): Promise<void>;
  /** Starts it again on the data that it left, and resolves when it answers. */
  start(): Promise<void>;
  /** Leaves no byte free on the disk of `diskMegabytes`, until `freeDisk`. */
  fillDisk(): Promise<void>;
  freeDisk(): Promise<void>;
  /** Removes server and container. */
  stop(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

const port = 5432;
const standbyPort = 5433;
const home = "/rollcall";
const dataFolder = `${home}/data`;
const user = "postgres";
const database = "postgres";
const password = "the superuser's";

const scriptText = `as() { su -s /bin/sh postgres -c "PATH=$PATH; $1"; }
action=$1 port=$2
shift 2
data="${dataFolder}/$port"
main() { head -n 1 "$data/postmaster.pid" 2>/dev/null; }
runs() { [ "$(cat "/proc/$1/comm" 2>/dev/null)" = postgres ]; }
case $action in
init)
  mkdir -p ${dataFolder} ${home}/tls && cp ${home}/files/*.pem ${home}/tls/ && cp ${home}/files/password ${home}/password || exit 1
  chown -R postgres ${dataFolder} ${home}/tls ${home}/password && chmod 600 ${home}/tls/key.pem || exit 1
  as "initdb -N -D $data -U ${user} -E UTF8 --locale=C --auth-local=trust --auth-host=scram-sha-256 --pwfile=${home}/password" || exit 1
  cat ${home}/files/postgresql.conf >>"$data/postgresql.conf" && cp ${home}/files/pg_hba.conf "$data/pg_hba.conf"
  ;;
copy) as "pg_basebackup --no-sync -h /tmp -p ${port} -U ${user} -D $data -R -c fast" ;;
start) as "exec postgres -D $data -p $port -k /tmp" >>"${home}/$port.log" 2>&1 </dev/null & ;;
fill) cat /dev/zero >"${dataFolder}/ballast" 2>/dev/null || true ;;
free) rm -f "${dataFolder}/ballast" ;;
promote) as "pg_ctl -D $data promote" ;;
kill)
  # All at once: the first process starts again what dies alone, and the others outlive it for a while.
  all="$(main) $(grep -lx "PPid:[[:space:]]*$(main)" /proc/[0-9]*/status 2>/dev/null | cut -d / -f 3)"
  kill -9 $all 2>/dev/null
  for one in $all; do while runs "$one"; do sleep 0.05; done; done
  ;;
alive) runs "$(main)" ;;
psql) exec psql -X -q -A -t -v ON_ERROR_STOP=1 -h /tmp -p "$port" -U ${user} -d "$1" -c "$2" ;;
esac
`;

/**
 * Starts a server on an empty database. A kill of its processes loses nothing that was acknowledged, but a crash of the machine would:
 * nothing is flushed to disk, unless `settings` say otherwise.
 */
export async function startPostgresServer(options: PostgresServerOptions = {}): Promise<PostgresServer> {
  const { settings = {}, hba = [], standby: kind, diskMegabytes } = options;
  const container = await startContainer(postgresImage(), {
    ports: kind === undefined ? [port] : [port, standbyPort],
    disk: diskMegabytes === undefined ? undefined : { folder: dataFolder, megabytes: diskMegabytes },
  });
  const stop = () => container.stop();
  const act = (action: string, at: number, ...args: readonly string[]) => container.run(command(action, at, ...args));
  const start = (at: number) => startProcess(container, at);
  const kill = async (at: number) => {
    await act("kill", at);
  };
  const psql = async (at: number, sql: string, where = database) =>
    (await act("psql", at, where, sql)).replace(/\r?\n$/, "");
  try {
    // The name by which the tests reach the container is known only now.
    const certificates = await makeCertificates([container.host]);
    await container.write(files(certificates, settings, hba));
    await act("init", port);
    await start(port);
    const standby = kind === undefined ? undefined : await startStandby({ container, act, psql, kill, start });
    if (kind === "synchronous") {
      await setSystem(psql, port, "synchronous_standby_names", "*");
      await until("commits wait for the standby", async () => {
        return (await psql(port, "SELECT sync_state FROM pg_stat_replication")) === "sync";
      });
    }
    return {
      ...container.address(port),
      inner: { host: container.ip, port },
      standby,
      user,
      password,
      database,
      ca: certificates.ca,
      wrongCa: certificates.wrongCa,
      psql: (sql, where) => psql(port, sql, where),
      kill: () => kill(port),
      start: () => start(port),
      async fillDisk() {
        if (diskMegabytes === undefined) throw new Error("a disk that can be filled has a size of its own");
        await act("fill", port);
      },
      async freeDisk() {
        await act("free", port);
      },
      stop,
      [Symbol.asyncDispose]: stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** What is done to the servers of one container, by their ports. */
interface Servers {
  readonly container: Container;
  act(action: string, at: number): Promise<string>;
  psql(at: number, sql: string): Promise<string>;
  kill(at: number): Promise<void>;
  start(at: number): Promise<void>;
}

async function startStandby({ container, act, psql, kill, start }: Servers): Promise<PostgresStandby> {
  await act("copy", standbyPort);
  await start(standbyPort);
  await until("the standby follows", async () => {
    return (await psql(port, "SELECT state FROM pg_stat_replication")) === "streaming";
  });
  return {
    ...container.address(standbyPort),
    psql: (sql) => psql(standbyPort, sql),
    async caughtUp() {
      const written = await psql(port, "SELECT pg_current_wal_lsn()");
      await until("the standby has followed", async () => {
        return (await psql(standbyPort, `SELECT pg_last_wal_replay_lsn() >= '${written}'`)) === "t";
      });
    },
    async detach() {
      await setSystem(psql, standbyPort, "primary_conninfo", "");
      await until("the standby receives nothing", async () => {
        return (await psql(standbyPort, "SELECT count(*) FROM pg_stat_wal_receiver")) === "0";
      });
    },
    kill: () => kill(standbyPort),
    start: () => start(standbyPort),
    async promote() {
      await act("promote", standbyPort);
      await until("the standby takes writes", async () => {
        return (await psql(standbyPort, "SELECT pg_is_in_recovery()")) === "f";
      });
    },
  };
}

async function setSystem(psql: Servers["psql"], at: number, name: string, value: string): Promise<void> {
  await psql(at, `ALTER SYSTEM SET ${name} = '${value}'`);
  await psql(at, "SELECT pg_reload_conf()");
}

function command(action: string, at: number, ...args: readonly string[]): string[] {
  return ["sh", `${home}/files/postgres.sh`, action, String(at), ...args];
}

async function startProcess(container: Container, at: number): Promise<void> {
  await container.run(command("start", at));
  await until(`the server at port ${at} answers`, async () => {
    const asked = await container.attempt(command("psql", at, database, "SELECT 1"));
    if (asked.code === 0) return true;
    if ((await container.attempt(command("alive", at))).code !== 0) throw new Hopeless(await lastWords(container, at));
    return false;
  });
}

function files(
  { ca, cert, key }: Certificates,
  settings: Readonly<Record<string, string>>,
  hba: readonly string[],
): { path: string; content: string }[] {
  const all: Readonly<Record<string, string>> = {
    listen_addresses: "*",
    fsync: "off",
    ssl: "on",
    ssl_cert_file: `${home}/tls/cert.pem`,
    ssl_key_file: `${home}/tls/key.pem`,
    ...settings,
  };
  const lines = Object.entries(all).map(([name, value]) => `${name} = '${value.replaceAll("'", "''")}'`);
  const rules = ["local all all trust", "local replication all trust", ...hba, "host all all all scram-sha-256"];
  return [
    { path: `${home}/files/postgres.sh`, content: scriptText },
    { path: `${home}/files/password`, content: password },
    { path: `${home}/files/ca.pem`, content: ca },
    { path: `${home}/files/cert.pem`, content: cert },
    { path: `${home}/files/key.pem`, content: key },
    { path: `${home}/files/postgresql.conf`, content: `${lines.join("\n")}\n` },
    { path: `${home}/files/pg_hba.conf`, content: `${rules.join("\n")}\n` },
  ];
}

async function lastWords(container: Container, at: number): Promise<string> {
  const { output } = await container.attempt(["cat", `${home}/${at}.log`]);
  return `the server at port ${at} ended while starting: ${output.trim().split("\n").slice(-20).join("\n")}`;
}
