import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { until } from "./containers/deadline.js";
import { startTcpProxy, type TcpProxy } from "./tcp-proxy.js";

// A server that answers every piece with the same bytes behind a mark, and remembers what it got.
let server: Server;
let received: string;
let proxy: TcpProxy;
let clients: Socket[];

beforeEach(async () => {
  received = "";
  clients = [];
  server = createServer((socket) => {
    socket.on("error", () => {});
    socket.on("data", (bytes) => {
      received += bytes;
      socket.write(`re:${bytes}`);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  proxy = await startTcpProxy({ host: "127.0.0.1", port: address.port });
});

afterEach(async () => {
  for (const client of clients) client.destroy();
  await proxy.close();
  server.close();
});

interface Client {
  readonly socket: Socket;
  text: string;
  error: string | undefined;
  ended: boolean;
}

async function open(): Promise<Client> {
  const socket = connect({ port: proxy.port, host: proxy.host, allowHalfOpen: true });
  clients.push(socket);
  const client: Client = { socket, text: "", error: undefined, ended: false };
  socket.on("data", (bytes) => {
    client.text += bytes;
  });
  socket.on("end", () => {
    client.ended = true;
  });
  socket.on("error", (error: NodeJS.ErrnoException) => {
    client.error = error.code;
  });
  await until("connected or refused", () => socket.readyState === "open" || client.error !== undefined);
  return client;
}

async function ask(client: Client, request: string): Promise<void> {
  client.socket.write(request);
  await until("the answer came", () => client.text.endsWith(`re:${request}`));
}

const reset = (client: Client) => until("the connection was reset", () => client.error === "ECONNRESET");

describe("a TCP proxy", () => {
  it("forwards in both directions", async () => {
    const client = await open();
    await ask(client, "hello");
    expect(client.text).toBe("re:hello");
    expect(proxy.connections).toBe(1);
  });

  it("passes on much more than it holds", async () => {
    const client = await open();
    const size = 8 * 1024 * 1024;
    client.socket.write("x".repeat(size));
    await until("all of it came back", () => client.text.replaceAll("re:", "").length === size);
  });

  it("resets connections and takes new ones", async () => {
    const client = await open();
    await ask(client, "1");
    proxy.cut();
    await reset(client);
    expect(proxy.connections).toBe(0);
    await ask(await open(), "2");
  });

  it("leads new connections to another server, and leaves the others where they are", async () => {
    const client = await open();
    await ask(client, "1");
    const other = createServer((socket) => {
      socket.on("error", () => {});
      socket.write("other");
    });
    other.listen(0, "127.0.0.1");
    await once(other, "listening");
    proxy.redirect({ host: "127.0.0.1", port: (other.address() as AddressInfo).port });
    const redirected = await open();
    await until("the other answers", () => redirected.text === "other");
    await ask(client, "2");
    other.close();
  });

  it("refuses new connections until it resumes, at the same port", async () => {
    const client = await open();
    await ask(client, "1");
    const { port } = proxy;
    proxy.cut({ newOnes: "refused" });
    await reset(client);
    expect((await open()).error).toBe("ECONNREFUSED");
    await proxy.resume();
    expect(proxy.port).toBe(port);
    await ask(await open(), "2");
  });

  it("delays each direction", async () => {
    const client = await open();
    await ask(client, "1");
    proxy.delay(60);
    const started = performance.now();
    await ask(client, "2");
    expect(performance.now() - started).toBeGreaterThanOrEqual(119);
  });

  it("keeps the order of delayed bytes, also when the delay ends", async () => {
    const client = await open();
    proxy.delay(60_000);
    client.socket.write("a");
    await expect(until("nothing comes", () => received !== "", { timeoutMs: 100 })).rejects.toThrow();
    client.socket.write("b");
    await proxy.resume();
    await until("both came", () => received === "ab");
  });

  it("holds what comes while it is frozen", async () => {
    const client = await open();
    await ask(client, "1");
    proxy.freeze();
    client.socket.write("2");
    await expect(until("nothing comes", () => received !== "1", { timeoutMs: 100 })).rejects.toThrow();
    expect(client.socket.readyState).toBe("open");
    await proxy.resume();
    await until("the answer came", () => client.text === "re:1re:2");
  });

  it("freezes at a request, if told so, and holds that one and what comes after it", async () => {
    const client = await open();
    proxy.freeze({ at: (request) => request.includes("2") });
    await ask(client, "1");
    client.socket.write("2");
    await expect(until("nothing comes", () => received !== "1", { timeoutMs: 100 })).rejects.toThrow();
    client.socket.write("3");
    await expect(until("nothing comes", () => received !== "1", { timeoutMs: 100 })).rejects.toThrow();
    await proxy.resume();
    await until("both came", () => received === "123");
  });

  it("swallows what comes while it is frozen, if told so", async () => {
    const client = await open();
    await ask(client, "1");
    proxy.freeze({ bytes: "swallowed" });
    client.socket.write("2");
    await expect(until("nothing comes", () => received !== "1", { timeoutMs: 100 })).rejects.toThrow();
    await proxy.resume();
    await ask(client, "3");
    expect(received).toBe("13");
  });

  it("ends the replies and goes on with the requests", async () => {
    const client = await open();
    await ask(client, "1");
    proxy.halfClose();
    await until("the end came", () => client.ended);
    client.socket.write("2");
    await until("the request came", () => received === "12");
    expect(client.error).toBeUndefined();
  });

  it("lets a request take effect and loses its reply", async () => {
    const client = await open();
    await ask(client, "1");
    proxy.dropReplies();
    client.socket.write("2");
    await reset(client);
    expect(received).toBe("12");
    expect(client.text).toBe("re:1");
    await proxy.resume();
    await ask(await open(), "3");
  });

  it("loses only the replies after a certain request", async () => {
    const client = await open();
    proxy.dropReplies({ after: (request) => request.includes("lose") });
    await ask(client, "keep");
    client.socket.write("lose");
    await reset(client);
    expect(received).toBe("keeplose");
  });

  it("rewrites replies, also across two pieces", async () => {
    proxy.rewrite("re:a", "RE:A");
    const client = await open();
    client.socket.write("are:ar");
    await until("the reply came", () => client.text === "RE:ARE:Ar");
    client.socket.write("e:a");
    await until("the reply came", () => client.text === "RE:ARE:Arre:e:a");
    expect(() => proxy.rewrite("ab", "abc")).toThrow(RangeError);
  });

  it("rewrites what a reply of many pieces cuts in two", async () => {
    proxy.rewrite("abcdefg", "ABCDEFG");
    const client = await open();
    const size = 7 * 100_000;
    client.socket.write("abcdefg".repeat(size / 7));
    await until("all of it came back", () => client.text.replaceAll("re:", "").length === size);
    expect(client.text).not.toContain("abcdefg");
  });

  it("asks a hook about replies", async () => {
    const client = await open();
    proxy.onReply((reply) => (reply.includes("cut") ? "cut" : reply.includes("swallow") ? "swallow" : reply));
    await ask(client, "1");
    client.socket.write("swallow");
    await until("the request came", () => received === "1swallow");
    await ask(client, "2");
    expect(client.text).toBe("re:1re:2");
    client.socket.write("cut");
    await reset(client);
  });

  it("resets what is open when it closes", async () => {
    const client = await open();
    await ask(client, "1");
    await proxy.close();
    await reset(client);
    expect((await open()).error).toBe("ECONNREFUSED");
  });
});
