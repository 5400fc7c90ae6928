// A single Redis server for tests, reached in the clear and by TLS.

import { makeCertificates } from "./certificates.js";
import { startRedisContainer } from "./redis-processes.js";

export interface RedisServerOptions {
  /** Appended to the command line of redis-server, for example `["--appendonly", "yes"]`. None by default. */
  readonly args?: readonly string[];
}

export interface RedisServer {
  readonly host: string;
  /** The port in the clear. */
  readonly port: number;
  /** The port of TLS. No client certificate is asked for. */
  readonly tlsPort: number;
  /** The authority that signed the server's certificate, PEM. */
  readonly ca: string;
  /** An authority that did not, PEM. */
  readonly wrongCa: string;
  /** What redis-cli prints for a command. An error reply rejects. */
  cli(...args: readonly string[]): Promise<string>;
  /** Kills the server with SIGKILL and resolves when it is dead. It stays dead until `start`. */
  kill(): Promise<void>;
  /** Starts it again on the data that it left, and resolves when it has loaded it and answers. */
  start(): Promise<void>;
  /** Removes server and container. */
  stop(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

const plain = 6379;
const tls = 6380;
const certificateFolder = "/rollcall/tls";

/** Starts a Redis server that keeps nothing on disk, unless `args` say otherwise. */
export async function startRedisServer({ args = [] }: RedisServerOptions = {}): Promise<RedisServer> {
  const processes = await startRedisContainer({ ports: [plain, tls] });
  const { container } = processes;
  const stop = () => container.stop();
  try {
    // The name by which the tests reach the container is known only now.
    const { ca, wrongCa, cert, key } = await makeCertificates([container.host]);
    await container.write([
      { path: `${certificateFolder}/ca.pem`, content: ca },
      { path: `${certificateFolder}/cert.pem`, content: cert },
      { path: `${certificateFolder}/key.pem`, content: key },
    ]);
    await processes.configure(plain, {
      settings: [
        `port ${plain}`,
        `tls-port ${tls}`,
        `tls-ca-cert-file ${certificateFolder}/ca.pem`,
        `tls-cert-file ${certificateFolder}/cert.pem`,
        `tls-key-file ${certificateFolder}/key.pem`,
        "tls-auth-clients no",
      ],
      args,
    });
    await processes.start(plain);
    return {
      host: container.host,
      port: container.address(plain).port,
      tlsPort: container.address(tls).port,
      ca,
      wrongCa,
      cli: (...command) => processes.cli(plain, ...command),
      kill: () => processes.kill(plain),
      start: () => processes.start(plain),
      stop,
      [Symbol.asyncDispose]: stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}
