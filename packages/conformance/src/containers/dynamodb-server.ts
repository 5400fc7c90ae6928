// DynamoDB Local in a container. Uses nothing of the image but `sh` and `java`, and that its working folder is the server's, as in AWS's own.

import { type Address, startContainer } from "./container.js";
import { Hopeless, until } from "./deadline.js";
import { dynamoDbImage } from "./image.js";

export interface DynamoDbServerOptions {
  /** Whether the data is in memory, which is faster, and gone after a kill. Default `false`. */
  readonly inMemory?: boolean;
}

export interface DynamoDbServer extends Address {
  /** `http://host:port`. It takes any credentials and any region, and all of them see the same tables. */
  readonly endpoint: string;
  /** The same in the containers' own network. */
  readonly inner: Address;
  /** Kills the server with SIGKILL and resolves when it is dead. It stays dead until `start`. */
  kill(): Promise<void>;
  /** Starts it again on the data that it left, and resolves when it answers. */
  start(): Promise<void>;
  /** Removes server and container. */
  stop(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

const port = 8000;
const script = "/tmp/rollcall-dynamodb.sh";

const dataFolder = "/tmp/rollcall-dynamodb";

const scriptText = `data=${dataFolder}
action=$1
shift
case $action in
start)
  mkdir -p "$data" || exit 1
  java -Djava.library.path=./DynamoDBLocal_lib -jar DynamoDBLocal.jar -port ${port} -sharedDb "$@" >>"$data/log" 2>&1 </dev/null &
  echo $! >"$data/pid"
  ;;
kill) kill -9 "$(cat "$data/pid")" ;;
alive) pid=$(cat "$data/pid" 2>/dev/null) && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = java ] ;;
log) tail -n 20 "$data/log" ;;
esac
`;

/** Starts one without any table. A kill of its process loses nothing that was acknowledged, unless it is in memory. */
export async function startDynamoDbServer({ inMemory = false }: DynamoDbServerOptions = {}): Promise<DynamoDbServer> {
  // On a disk in memory: it outlives the process, and nobody waits for a real one to flush.
  const disk = inMemory ? undefined : { folder: dataFolder, megabytes: 512 };
  const container = await startContainer(dynamoDbImage(), { ports: [port], disk });
  const stop = () => container.stop();
  const act = (action: string, ...args: readonly string[]) => container.run(["sh", script, action, ...args]);
  const isAlive = async () => (await container.attempt(["sh", script, "alive"])).code === 0;
  const address = container.address(port);
  const endpoint = `http://${address.host}:${address.port}`;

  async function start(): Promise<void> {
    await act("start", ...(inMemory ? ["-inMemory"] : ["-dbPath", dataFolder]));
    await until("DynamoDB Local answers", async () => {
      try {
        await fetch(endpoint);
        return true;
      } catch (error) {
        if (!(await isAlive())) throw new Hopeless(`DynamoDB Local ended while starting: ${await act("log")}`);
        throw error;
      }
    });
  }

  try {
    await container.write([{ path: script, content: scriptText }]);
    await start();
    return {
      ...address,
      endpoint,
      inner: { host: container.ip, port },
      async kill() {
        await act("kill");
        await until("it is dead", async () => !(await isAlive()));
      },
      start,
      stop,
      [Symbol.asyncDispose]: stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}
