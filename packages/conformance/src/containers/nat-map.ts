// How servers in one container are reached from outside of it.

import type { Address, Container } from "./container.js";

/** Addresses as servers announce them (`ip:port`), and where the tests reach them: the `natMap` of ioredis. */
export type NatMap = Readonly<Record<string, Address>>;

/** The map for some ports of one container. */
export function natMapOf(container: Container, ports: readonly number[]): NatMap {
  return Object.fromEntries(ports.map((port) => [`${container.ip}:${port}`, container.address(port)]));
}
