// postgres: URLs: what one names.

import { parseUrlParameters, type UrlParameters, unreadableUrl } from "@rollcall/core";
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
  const parameters = parseUrlParameters("postgres", query, PARAMETERS);
  if (Number(port) < 1 || Number(port) > 65_535) throw unreadable("a port is a number from 1 to 65535");
  const [user, password] = splitAt(login, ":");
  return {
    user: decoded(user),
    password: decoded(password),
    host: host.replace(/^\[|\]$/g, ""),
    port: Number(port),
    database: decoded(database),
    sslMode: sslModeOf(parameters),
    rootCertificate: parameters.text("sslrootcert"),
    maxConnections: parameters.wholeNumber("maxConnections") ?? 10,
    options: {
      schema: parameters.text("schema"),
      readOnly: parameters.flag("readOnly") ?? false,
      timeoutMs: parameters.wholeNumber("timeoutMs"),
      listen: parameters.flag("listen"),
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

function sslModeOf(parameters: UrlParameters): SslMode {
  const byDefault = parameters.has("sslrootcert") ? "verify-full" : "disable";
  const mode = parameters.text("sslmode") ?? byDefault;
  if (mode !== "disable" && mode !== "require" && mode !== "verify-full")
    throw unreadable("sslmode is disable, require or verify-full");
  if (mode !== "verify-full" && parameters.has("sslrootcert"))
    throw unreadable("sslrootcert is for sslmode=verify-full: the others look at no certificate");
  return mode;
}

const unreadable = (hint: string) => unreadableUrl("postgres", hint);
