// A small HTTP proxy in front of DynamoDB Local, which answers as the service may: throttled, failed, with something left over.

import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import type { Address } from "@rollcall/conformance/containers";
import { endpointOf } from "./place.test-setup.js";

/** What the service answers. */
export interface Answer {
  readonly status: number;
  readonly body: object;
  /** Whether the request takes effect before it is answered so. Default `false`. */
  readonly afterEffect?: boolean;
}

/** Decides what becomes of a request: an answer, or `undefined` for that of the server. */
type Service = (operation: string, body: Record<string, unknown>) => Answer | undefined;

/** An error of the service in its own form. */
export function serviceError(name: string, status = 400, more: object = {}): Answer {
  return {
    status,
    body: { __type: `com.amazonaws.dynamodb.v20120810#${name}`, message: `the service says ${name}`, ...more },
  };
}

export interface ServiceProxy extends Address, AsyncDisposable {
  /** From now on `service` decides. */
  act(service: Service): void;
  /** From now on the server does. */
  calm(): void;
}

export async function startServiceProxy(target: Address): Promise<ServiceProxy> {
  let service: Service = () => undefined;
  const server = createServer(async (request, response) => {
    const body = await text(request);
    const operation = String(request.headers["x-amz-target"]).replace(/^.*\./, "");
    const answer = service(operation, JSON.parse(body));
    const reply = async () => {
      const headers = Object.fromEntries(
        ["content-type", "x-amz-target", "x-amz-date", "authorization"].map((name) => [
          name,
          String(request.headers[name]),
        ]),
      );
      const forwarded = await fetch(endpointOf(target), { method: "POST", headers, body });
      return { status: forwarded.status, body: await forwarded.text() };
    };
    try {
      const own = answer === undefined || answer.afterEffect === true ? await reply() : undefined;
      const { status, text: shown } =
        answer === undefined
          ? { status: own?.status ?? 500, text: own?.body ?? "" }
          : { status: answer.status, text: JSON.stringify(answer.body) };
      response.writeHead(status, { "content-type": "application/x-amz-json-1.0" }).end(shown);
    } catch {
      response.destroy();
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    host: "127.0.0.1",
    port: (server.address() as AddressInfo).port,
    act(next) {
      service = next;
    },
    calm() {
      service = () => undefined;
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
