// For adapters: how errors of a database's client are named, and what Node says of the network and of TLS, which is the same for all.

import type { RollcallErrorCode } from "./errors.js";

/** What a native error means. */
export interface ErrorMeaning {
  readonly code: RollcallErrorCode;
  /** What is wrong, and after a semicolon what to do. */
  readonly what: string;
}

/** An {@link ErrorMeaning}. */
export function errorMeaning(code: RollcallErrorCode, what: string): ErrorMeaning {
  return { code, what };
}

/** The code that Node, or a database's client, gave an error; empty if none. */
export function nativeCode(error: unknown): string {
  return typeof error === "object" && error !== null && "code" in error ? String(error.code) : "";
}

/** What Node says of certificates (nodejs.org/api/tls.html, "X509 certificate error codes"). */
const CERTIFICATE_CODES = [
  "CERT_HAS_EXPIRED",
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "ERR_TLS_CERT_ALTNAME_INVALID",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "UNABLE_TO_GET_ISSUER_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
];

/** By Node's error code: what needs another remedy than to repeat. `trust` is how a user of the adapter names an authority. */
export function networkMeanings(trust: string): ReadonlyMap<string, ErrorMeaning> {
  const what = `the server's TLS certificate is not trusted or not for this host; ${trust} and connect by the name in it`;
  const certificate = errorMeaning("access_denied", what);
  return new Map([
    ...CERTIFICATE_CODES.map((code) => [code, certificate] as const),
    ["ENOTFOUND", errorMeaning("store_unavailable", "the host name is not known; check it")],
    [
      "ECONNREFUSED",
      errorMeaning("store_unavailable", "nothing listens there; check host and port, and that the server runs"),
    ],
  ]);
}
