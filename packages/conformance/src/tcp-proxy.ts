// A TCP proxy for tests that stands between a client and a server and breaks what passes: it delays, holds, loses and
// changes bytes, and cuts connections.

import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";

/** Where the proxy forwards to. */
export interface ProxyTarget {
  readonly host: string;
  readonly port: number;
}

/** What a hook makes of a reply: the bytes to pass on, nothing at all, or the end of the connection. */
export type ReplyHook = (reply: Buffer) => Buffer | "swallow" | "cut";

export interface TcpProxy {
  /** Where clients reach it. */
  readonly host: string;
  readonly port: number;
  /** Open connections. */
  readonly connections: number;
  /** From now on new connections lead to another server, as when a name is given to it. */
  redirect(to: ProxyTarget): void;
  /** Resets all connections. New ones are accepted, or refused until `resume`. Default `accepted`. */
  cut(options?: { readonly newOnes?: "accepted" | "refused" }): void;
  /** From now on bytes arrive `ms` milliseconds later, in each direction. 0 ends it. */
  delay(ms: number): void;
  /**
   * Stops forwarding in both directions, and keeps all connections open. What comes is held, or swallowed for good. With `at`, it
   * waits for a request for which that is true, and begins with that; a request may come in several pieces.
   */
  freeze(options?: { readonly bytes?: "held" | "swallowed"; readonly at?: (request: Buffer) => boolean }): void;
  /** Tells every client that no more will come, and goes on with what it sends. */
  halfClose(): void;
  /**
   * Lets requests through, swallows the first reply after, and resets its connection. With `after`, a connection's
   * replies pass until it has sent a request for which that is true; a request may come in several pieces.
   */
  dropReplies(options?: { readonly after?: (request: Buffer) => boolean }): void;
  /** Puts `to` in the place of `from`, which must be as long, in all replies. */
  rewrite(from: Buffer | string, to: Buffer | string): void;
  /** Asks `hook` about each piece of a reply. Undone, as `rewrite` is, by `resume`. */
  onReply(hook: ReplyHook): void;
  /** Ends whatever was ordered, passes on what was held, and accepts connections again. */
  resume(): Promise<void>;
  /** Resets all connections and ends the proxy. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** What all connections go by at the moment. */
interface Weather {
  delayMs: number;
  frozen: "held" | "swallowed" | undefined;
  freezeAt: ((request: Buffer) => boolean) | undefined;
  /** What becomes of bytes once it is frozen. */
  freezing: "held" | "swallowed";
  dropAfter: ((request: Buffer) => boolean) | undefined;
  hook: ReplyHook | undefined;
  replacement: { readonly from: Buffer; readonly to: Buffer } | undefined;
}

const calm: Readonly<Weather> = {
  delayMs: 0,
  frozen: undefined,
  freezeAt: undefined,
  freezing: "held",
  dropAfter: undefined,
  hook: undefined,
  replacement: undefined,
};

/** Starts a proxy on a free port of the loopback. */
export async function startTcpProxy(target: ProxyTarget): Promise<TcpProxy> {
  const weather: Weather = { ...calm };
  const open = new Set<Connection>();
  let goal = target;
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
    const connection = new Connection(client, goal, weather);
    open.add(connection);
    connection.onEnd = () => open.delete(connection);
  });
  const port = await listen(server, 0);
  const reset = () => {
    for (const connection of [...open]) connection.reset();
  };
  const close = async () => {
    stopListening(server);
    reset();
  };

  return {
    host: "127.0.0.1",
    port,
    get connections() {
      return open.size;
    },
    redirect(to) {
      goal = to;
    },
    cut({ newOnes = "accepted" } = {}) {
      // Refused first: a client that is quick would otherwise be back before the door is shut.
      if (newOnes === "refused") stopListening(server);
      reset();
    },
    delay(ms) {
      weather.delayMs = ms;
    },
    freeze({ bytes = "held", at } = {}) {
      if (at === undefined) weather.frozen = bytes;
      else Object.assign(weather, { freezeAt: at, freezing: bytes });
    },
    halfClose() {
      for (const connection of open) connection.endReplies();
    },
    dropReplies({ after = () => true } = {}) {
      weather.dropAfter = after;
    },
    rewrite(from, to) {
      const replacement = { from: Buffer.from(from), to: Buffer.from(to) };
      if (replacement.from.length !== replacement.to.length || replacement.from.length === 0) {
        throw new RangeError("a reply is rewritten by bytes of the same number, at least one");
      }
      weather.replacement = replacement;
    },
    onReply(hook) {
      weather.hook = hook;
    },
    async resume() {
      Object.assign(weather, calm);
      for (const connection of open) connection.resume();
      if (!server.listening) await listen(server, port);
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

class Connection {
  onEnd: () => void = () => {};
  readonly #client: Socket;
  readonly #upstream: Socket;
  readonly #weather: Weather;
  readonly #requests: Lane;
  readonly #replies: Lane;
  readonly #rewriter: Rewriter;
  #armed = false;
  #ended = false;

  constructor(client: Socket, target: ProxyTarget, weather: Weather) {
    this.#client = client;
    this.#weather = weather;
    const { host, port } = target;
    this.#upstream = connect({ host, port, allowHalfOpen: true, noDelay: true });
    this.#requests = new Lane(client, this.#upstream, weather);
    this.#replies = new Lane(this.#upstream, client, weather);
    this.#rewriter = new Rewriter((bytes) => this.#replies.push(bytes));
    client.on("data", (bytes) => this.#passRequest(bytes));
    this.#upstream.on("data", (bytes) => this.#passReply(bytes));
    client.on("end", () => this.#requests.push("end"));
    this.#upstream.on("end", () => this.#replies.push("end"));
    for (const socket of [client, this.#upstream]) {
      // Whichever side breaks, the other one sees it break as well.
      socket.on("error", () => this.reset());
      socket.on("close", (failed) => {
        if (failed || (client.destroyed && this.#upstream.destroyed)) this.reset();
      });
    }
  }

  #passRequest(bytes: Buffer): void {
    // Judged when it comes, so that the reply to it cannot slip through.
    if (this.#weather.dropAfter?.(bytes)) this.#armed = true;
    if (this.#weather.freezeAt?.(bytes)) this.#weather.frozen = this.#weather.freezing;
    this.#requests.push(bytes);
  }

  #passReply(bytes: Buffer): void {
    if (this.#armed && this.#weather.dropAfter) {
      this.reset();
      return;
    }
    const made = this.#weather.hook?.(bytes) ?? bytes;
    if (made === "swallow") return;
    if (made === "cut") this.reset();
    else this.#rewriter.push(made, this.#weather.replacement);
  }

  endReplies(): void {
    this.#replies.push("end");
  }

  resume(): void {
    this.#armed = false;
    this.#requests.flush();
    this.#replies.flush();
  }

  reset(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#requests.discard();
    this.#replies.discard();
    this.#rewriter.discard();
    this.#client.resetAndDestroy();
    this.#upstream.resetAndDestroy();
    this.onEnd();
  }
}

// Bytes on their way in one direction, in order.
class Lane {
  readonly #source: Socket;
  readonly #sink: Socket;
  readonly #weather: Weather;
  #queue: { readonly bytes: Buffer | "end"; due: number }[] = [];
  #queuedBytes = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(source: Socket, sink: Socket, weather: Weather) {
    this.#source = source;
    this.#sink = sink;
    this.#weather = weather;
    sink.on("drain", () => this.#pump());
  }

  push(bytes: Buffer | "end"): void {
    if (this.#weather.frozen === "swallowed") return;
    this.#queue.push({ bytes, due: performance.now() + this.#weather.delayMs });
    this.#queuedBytes += bytes.length;
    // From here on the sender's own buffers fill, as they do before a server that does not read.
    if (this.#queuedBytes > maxQueuedBytes) this.#source.pause();
    this.#pump();
  }

  /** Passes on at once what waits. */
  flush(): void {
    for (const entry of this.#queue) entry.due = 0;
    this.#pump();
  }

  discard(): void {
    clearTimeout(this.#timer);
    this.#queue = [];
  }

  #pump(): void {
    clearTimeout(this.#timer);
    while (this.#weather.frozen === undefined && !this.#sink.writableNeedDrain) {
      const [next] = this.#queue;
      if (!next) break;
      const wait = next.due - performance.now();
      if (wait > 0) {
        this.#timer = setTimeout(() => this.#pump(), wait);
        break;
      }
      this.#queue.shift();
      this.#queuedBytes -= next.bytes.length;
      if (next.bytes === "end") this.#sink.end();
      else if (this.#sink.writable) this.#sink.write(next.bytes);
    }
    if (this.#queuedBytes <= maxQueuedBytes) this.#source.resume();
  }
}

const maxQueuedBytes = 1024 * 1024;

// Replaces bytes in a stream, also where they come in two pieces.
class Rewriter {
  readonly #forward: (bytes: Buffer) => void;
  #kept: Buffer = Buffer.alloc(0);
  #timer: NodeJS.Timeout | undefined;

  constructor(forward: (bytes: Buffer) => void) {
    this.#forward = forward;
  }

  push(bytes: Buffer, replacement: Weather["replacement"]): void {
    this.discard();
    const all = Buffer.concat([this.#kept, bytes]);
    this.#kept = Buffer.alloc(0);
    if (!replacement) {
      this.#forward(all);
      return;
    }
    const { from, to } = replacement;
    for (let at = all.indexOf(from); at >= 0; at = all.indexOf(from, at + from.length)) to.copy(all, at);
    let begun = Math.min(from.length - 1, all.length);
    while (begun > 0 && !all.subarray(all.length - begun).equals(from.subarray(0, begun))) begun -= 1;
    if (begun < all.length) this.#forward(all.subarray(0, all.length - begun));
    if (begun === 0) return;
    // What looks like a beginning may be the end of a reply; then nothing follows soon.
    this.#kept = all.subarray(all.length - begun);
    this.#timer = setTimeout(() => this.push(Buffer.alloc(0), undefined), 100);
  }

  discard(): void {
    clearTimeout(this.#timer);
  }
}

async function listen(server: Server, port: number): Promise<number> {
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the proxy has no port");
  return address.port;
}

function stopListening(server: Server): void {
  // Its event "close" would wait for connections that are still open; new ones are refused at once.
  if (server.listening) server.close();
}
