// The redis processes inside one container: started, killed and asked, each by its port. Uses nothing of the image but
// `sh` and the server's own two programs, so that it works in the images of Redis, of Valkey and of Debian alike.

import { type Container, type ContainerOptions, startContainer } from "./container.js";
import { Hopeless, until } from "./deadline.js";
import { redisImage } from "./image.js";

const home = "/rollcall";
const script = `${home}/redis.sh`;

const scriptText = `server=$(command -v redis-server || command -v valkey-server)
cli=$(command -v redis-cli || command -v valkey-cli)
action=$1 port=$2
shift 2
case $action in
start)
  cd "${home}/$port" || exit 1
  "$server" "$@" >>log 2>&1 </dev/null &
  echo $! >pid
  ;;
kill) kill -9 "$(cat "${home}/$port/pid")" ;;
alive) pid=$(cat "${home}/$port/pid" 2>/dev/null) && [ -e "/proc/$pid" ] ;;
cli) exec "$cli" -p "$port" "$@" ;;
esac
`;

/** How the processes of a container run: nothing of it depends on what the tests are about. */
const baseSettings = ["bind 0.0.0.0", "protected-mode no", 'save ""'];

interface ProcessSettings {
  /** Lines of the process's configuration file. */
  readonly settings?: readonly string[];
  /** Arguments after it, in the form of the command line (`--maxmemory`, `20mb`). */
  readonly args?: readonly string[];
}

export interface RedisProcesses {
  readonly container: Container;
  /** Writes the configuration of the process at `port`, which is not started yet. Its data has a folder of its own. */
  configure(port: number, settings: ProcessSettings): Promise<void>;
  /** Starts a configured process and resolves when it answers PING with PONG, and so has loaded its data. */
  start(port: number): Promise<void>;
  /** Kills it with SIGKILL and resolves when it is dead. Its data stays, and it stays dead until `start`. */
  kill(port: number): Promise<void>;
  /** Whether it runs. */
  alive(port: number): Promise<boolean>;
  /** What redis-cli prints for a command, without the last line break. An error reply rejects. */
  cli(port: number, ...args: readonly string[]): Promise<string>;
}

/** Starts a container with the image of Redis, and no process in it yet. */
export async function startRedisContainer({ ports }: ContainerOptions): Promise<RedisProcesses> {
  const container = await startContainer(redisImage(), { ports });
  try {
    await container.write([{ path: script, content: scriptText }]);
  } catch (error) {
    await container.stop();
    throw error;
  }
  const starts = new Map<number, readonly string[]>();
  const act = (action: string, port: number, ...args: readonly string[]) => [
    "sh",
    script,
    action,
    String(port),
    ...args,
  ];

  const alive = async (port: number) => (await container.attempt(act("alive", port))).code === 0;

  const cli = async (port: number, ...args: readonly string[]) => {
    const output = (await container.run(act("cli", port, ...args))).replace(/\r?\n$/, "");
    if (errorReply.test(output)) throw new Error(`the server at port ${port} refused ${args[0] ?? ""}: ${output}`);
    return output;
  };

  return {
    container,
    alive,
    cli,
    async configure(port, { settings = [], args = [] }) {
      const lines = [...baseSettings, `dir ${home}/${port}`, ...settings];
      await container.write([{ path: `${home}/${port}/redis.conf`, content: `${lines.join("\n")}\n` }]);
      starts.set(port, [`${home}/${port}/redis.conf`, ...args]);
    },
    async start(port) {
      const args = starts.get(port);
      if (!args) throw new Error(`there is no process at port ${port} to start`);
      if (await alive(port)) return;
      await container.run(act("start", port, ...args));
      await until(`the server at port ${port} answers`, async () => {
        if ((await container.attempt(act("cli", port, "ping"))).output.trim() === "PONG") return true;
        if (!(await alive(port))) throw new Hopeless(await lastWords(container, port));
        return false;
      });
    },
    async kill(port) {
      if (!(await alive(port))) return;
      await container.run(act("kill", port));
      await until(`the process of port ${port} is dead`, async () => !(await alive(port)));
    },
  };
}

// redis-cli prints an error reply as it prints a value, and older ones exit with 0 then; only its first word tells.
const errorReply =
  /^(?:\(error\) )?(?:ERR|WRONGTYPE|WRONGPASS|NOAUTH|NOPERM|NOSCRIPT|NOPROTO|LOADING|MASTERDOWN|MISCONF|READONLY|OOM|BUSY|BUSYKEY|NOREPLICAS|EXECABORT|MOVED|ASK|TRYAGAIN|CROSSSLOT|CLUSTERDOWN|IOERR|INPROG|NOGOODSLAVE|NOQUORUM|UNKILLABLE) /;

async function lastWords(container: Container, port: number): Promise<string> {
  const { output } = await container.attempt(["cat", `${home}/${port}/log`]);
  return `the server at port ${port} ended while starting: ${output.trim().split("\n").slice(-20).join("\n")}`;
}
