// postgres: URLs: what one names.

import { RollcallError } from "@rollcall/core";
import type { PostgresStoreOptions } from "./store-options.js";

const PARAMETERS: readonly string[] = [
  "schema",
  "readOnly",
  "timeoutMs",
  "listen",
  "maxConnections",
  "sslmode",
  "sslrootcert",
];

/** How a connection is encrypted, in the words of libpq: not, to whoever answers, or to the server that its certificate names. */
type SslMode = "disable" | "require" | "verify-full";

/** What a URL names. */
export interface PostgresUrl {
  readonly user: string | undefined;
  readonly password: string | undefined;
  readonly host: string;
  readonly port: number;
  readonly database: string | undefined;
  readonly sslMode: SslMode;
  /** A PEM file. */
  readonly rootCertificate: string | undefined;
  readonly maxConnections: number;
  /** The options of a store. */
  readonly options: PostgresStoreOptions;
}

/** Reads a URL. @throws `invalid_request` that says what is wrong with it and shows none of it. */
export function parseStoreUrl(url: string): PostgresUrl {
  const match =
    /^postgres(?:ql)?:\/\/(?:([^@/?#]*)@)?(\[[0-9a-f:.]+\]|[^:@/?#[\],]+)(?::(\d{1,5}))?(?:\/([^/?#]*))?(?:\?([^#]*))?$/i.exec(
      url,
    );
  if (match === null)
    throw unreadable("write postgres://user:password@host:port/database, one host, and percent-encode @ : / ? and #");
  const [, login = "", host = "", port = "5432", database = "", query = ""] = match;
  const parameters = new URLSearchParams(query);
  // Without its name: it may be the rest of a password that holds a ?.
  if ([...parameters.keys()].some((name) => !PARAMETERS.includes(name)))
    throw unreadable(`a parameter is not known; known are ${PARAMETERS.join(", ")}`);
  if (Number(port) < 1 || Number(port) > 65_535) throw unreadable("a port is a number from 1 to 65535");
  const [user, password] = splitAt(login, ":");
  return {
    user: decoded(user),
    password: decoded(password),
    host: host.replace(/^\[|\]$/g, ""),
    port: Number(port),
    database: decoded(database),
    sslMode: sslModeOf(parameters),
    rootCertificate: parameters.get("sslrootcert") ?? undefined,
    maxConnections: wholeNumber(parameters, "maxConnections") ?? 10,
    options: {
      schema: parameters.get("schema") ?? undefined,
      readOnly: flagOf(parameters, "readOnly") ?? false,
      timeoutMs: wholeNumber(parameters, "timeoutMs"),
      listen: flagOf(parameters, "listen"),
    },
  };
}

function splitAt(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
}

function decoded(text: string): string | undefined {
  if (text === "") return undefined;
  try {
    return decodeURIComponent(text);
  } catch {
    // Without the cause: it may hold the password.
    throw unreadable("percent-encode user, password and database; % is %25");
  }
}

function sslModeOf(parameters: URLSearchParams): SslMode {
  const byDefault = parameters.has("sslrootcert") ? "verify-full" : "disable";
  const mode = parameters.get("sslmode") ?? byDefault;
  if (mode !== "disable" && mode !== "require" && mode !== "verify-full")
    throw unreadable("sslmode is disable, require or verify-full");
  if (mode !== "verify-full" && parameters.has("sslrootcert"))
    throw unreadable("sslrootcert is for sslmode=verify-full: the others look at no certificate");
  return mode;
}

function flagOf(parameters: URLSearchParams, name: string): boolean | undefined {
  const value = parameters.get(name);
  if (value === null) return undefined;
  if (value !== "true" && value !== "false") throw unreadable(`${name} is true or false`);
  return value === "true";
}

function wholeNumber(parameters: URLSearchParams, name: string): number | undefined {
  const text = parameters.get(name);
  if (text === null) return undefined;
  if (!/^[1-9]\d{0,8}$/.test(text)) throw unreadable(`${name} is a whole number from 1 on`);
  return Number(text);
}

function unreadable(hint: string): RollcallError {
  return new RollcallError("invalid_request", `the postgres: URL is not valid: ${hint}`);
}
