// One running container as the fixtures use it. Its first process does nothing but live, so that the servers inside can
// be killed and started again while the container, and with it every port the tests know, stays.

import { GenericContainer, getContainerRuntimeClient, type StartedTestContainer, Wait } from "testcontainers";

/** A text file inside the container. */
interface ContainerFile {
  readonly path: string;
  readonly content: string;
}

export interface ContainerOptions {
  /** Ports inside the container that the tests reach from outside. */
  readonly ports: readonly number[];
  /** A folder that is a disk of its own, in memory. None by default. */
  readonly disk?: Disk | undefined;
}

/** A disk of a container. */
interface Disk {
  readonly folder: string;
  readonly megabytes: number;
}

/** Where a server inside is reached from the tests. */
export interface Address {
  readonly host: string;
  readonly port: number;
}

export interface Container {
  /** The host as the tests reach it. */
  readonly host: string;
  /** The container's address in its own network, by which servers announce themselves to each other. */
  readonly ip: string;
  /** Where the tests reach a port of the container. */
  address(port: number): Address;
  /** Puts files into it, and makes their folders. */
  write(files: readonly ContainerFile[]): Promise<void>;
  /** Runs a command inside; rejects where it exits with another code than 0. Resolves to its standard output. */
  run(command: readonly string[]): Promise<string>;
  /** Runs a command inside and resolves to its exit code and whatever it printed. */
  attempt(command: readonly string[]): Promise<Attempt>;
  /** Stops and removes the container and its volumes. May be called again. */
  stop(): Promise<void>;
}

interface Attempt {
  readonly code: number;
  readonly output: string;
}

// The first process also reaps what dies inside: a killed server would otherwise stay as a zombie and look alive.
const keeper = `trap 'exit 0' TERM INT
echo rollcall: up
while :; do sleep 3600 & wait $!; done
`;

/** Starts a container of `image` in which nothing runs yet but a shell. */
export async function startContainer(image: string, { ports, disk }: ContainerOptions): Promise<Container> {
  await requireEngine();
  const run = process.env.ROLLCALL_TEST_RUN;
  let started: StartedTestContainer;
  try {
    started = await new GenericContainer(image)
      .withEntrypoint(["sh", "-c", keeper])
      .withCommand([])
      .withTmpFs(disk === undefined ? {} : { [disk.folder]: `rw,size=${disk.megabytes}m` })
      .withExposedPorts(...ports)
      // By this label `npm test` finds what a crashed test left behind, where no reaper runs.
      .withLabels(run ? { "rollcall.test-run": run } : {})
      .withWaitStrategy(Wait.forLogMessage("rollcall: up"))
      .start();
  } catch (cause) {
    throw new Error(`no container of the image ${image} could be started: ${String(cause)}`, { cause });
  }
  return handleOn(started);
}

function handleOn(started: StartedTestContainer): Container {
  const host = started.getHost();
  const [network = "bridge"] = started.getNetworkNames();
  let stopped: Promise<unknown> | undefined;
  const attempt = async (command: readonly string[]): Promise<Attempt> => {
    const { exitCode, output } = await started.exec([...command]);
    return { code: exitCode, output };
  };
  return {
    host,
    ip: started.getIpAddress(network),
    address: (port) => ({ host, port: started.getMappedPort(port) }),
    attempt,
    write: (files) => started.copyContentToContainer(files.map(({ path, content }) => ({ target: path, content }))),
    async run(command) {
      const { code, output } = await attempt(command);
      if (code !== 0) throw new Error(`${command.join(" ")} exited with ${code} in the container: ${output}`);
      return output;
    },
    async stop() {
      stopped ??= started.stop();
      await stopped;
    },
  };
}

async function requireEngine(): Promise<void> {
  try {
    await getContainerRuntimeClient();
  } catch (cause) {
    throw new Error(
      "No container engine answers. Run `npm test`, which prepares one where it can, or install and start Docker.",
      { cause },
    );
  }
}
