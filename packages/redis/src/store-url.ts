// redis: URLs: what one names.

import { unreadableUrl } from "@rollcall/core";
import type { RedisStoreOptions } from "./store-options.js";

const PARAMETERS: readonly string[] = [
  "prefix",
  "readOnly",
  "slots",
  "minReplicas",
  "replicaTimeoutMs",
  "timeoutMs",
  "allowEviction",
  "ca",
  "sentinelUsername",
  "sentinelPassword",
];

/** What a URL names. */
export interface RedisUrl {
  readonly tls: boolean;
  readonly mode: "single" | "sentinel" | "cluster";
  readonly username: string | undefined;
  readonly password: string | undefined;
  readonly hosts: readonly { readonly host: string; readonly port: number }[];
  /** What the Sentinels call the primary. */
  readonly name: string | undefined;
  readonly database: number;
  readonly parameters: URLSearchParams;
}

/** Reads a URL. @throws `invalid_request` that says what is wrong with it and shows none of it. */
export function parseStoreUrl(url: string): RedisUrl {
  // Not by `URL`: it knows one host only.
  const match = /^redis(s?)(?:\+([a-z]+))?:\/\/(?:([^@/?#]*)@)?([^/?#]*)(?:\/([^?#]*))?(?:\?([^#]*))?$/i.exec(url);
  if (match === null) throw unreadable("write redis://host:port, and percent-encode @ / ? and # in user and password");
  const [, tls, mode = "single", login, hosts = "", path = "", query = ""] = match;
  if (mode !== "single" && mode !== "sentinel" && mode !== "cluster")
    throw unreadable("after the + comes sentinel or cluster");
  const parameters = new URLSearchParams(query);
  // Without its name: it may be the rest of a password that holds a ?.
  if ([...parameters.keys()].some((name) => !PARAMETERS.includes(name)))
    throw unreadable(`a parameter is not known; known are ${PARAMETERS.join(", ")}`);
  const parts = path === "" ? [] : path.replace(/\/$/, "").split("/");
  const name = mode === "sentinel" ? parts.shift() : undefined;
  if (mode === "sentinel" && !name)
    throw unreadable("name the primary after the Sentinels: redis+sentinel://host/name");
  const database = Number(parts.shift() ?? 0);
  if (!Number.isSafeInteger(database) || database < 0 || parts.length > 0)
    throw unreadable("the path is the number of a database");
  if (mode === "cluster" && database !== 0) throw unreadable("a Cluster has only database 0");
  const servers = hosts.split(",").map((host) => parseHost(host, mode === "sentinel" ? 26_379 : 6_379));
  if (mode === "single" && servers.length > 1)
    throw unreadable("one server only; several are of redis+sentinel: or redis+cluster:");
  return { tls: tls !== "", mode, ...parseLogin(login), hosts: servers, name, database, parameters };
}

/** The options of a store that a URL gives. @throws as {@link parseStoreUrl}. */
export function optionsOf(url: string): RedisStoreOptions {
  const { parameters } = parseStoreUrl(url);
  const number = (name: string) => {
    const text = parameters.get(name);
    return text === null ? undefined : Number(text === "" ? Number.NaN : text);
  };
  return {
    readOnly: flagOf(parameters, "readOnly"),
    prefix: parameters.get("prefix") ?? undefined,
    slots: number("slots"),
    minReplicas: number("minReplicas"),
    replicaTimeoutMs: number("replicaTimeoutMs"),
    timeoutMs: number("timeoutMs"),
    allowEviction: parameters.has("allowEviction") ? flagOf(parameters, "allowEviction") : undefined,
  };
}

function parseHost(text: string, defaultPort: number): { readonly host: string; readonly port: number } {
  const match = /^(\[[0-9a-f:.]+\]|[^:@[\]]+)(?::(\d{1,5}))?$/i.exec(text);
  const port = Number(match?.[2] ?? defaultPort);
  if (match?.[1] === undefined || port < 1 || port > 65_535)
    throw unreadable("name a host, and a port if it is not the usual one: redis://host:port");
  return { host: match[1].replace(/^\[|\]$/g, ""), port };
}

function parseLogin(login: string | undefined): { username: string | undefined; password: string | undefined } {
  if (!login) return { username: undefined, password: undefined };
  const colon = login.indexOf(":");
  try {
    const username = decodeURIComponent(colon < 0 ? login : login.slice(0, colon));
    const password = colon < 0 ? undefined : decodeURIComponent(login.slice(colon + 1));
    return { username: username === "" ? undefined : username, password };
  } catch {
    // Without the cause: it may hold the password.
    throw unreadable("percent-encode user and password; % is %25");
  }
}

/** A parameter that is true or false. */
export function flagOf(parameters: URLSearchParams, name: string): boolean {
  const value = parameters.get(name) ?? "false";
  if (value !== "true" && value !== "false") throw unreadable(`${name} is true or false`);
  return value === "true";
}

const unreadable = (hint: string) => unreadableUrl("redis", hint);
