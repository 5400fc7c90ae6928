// Certificates for one server, made when it starts: nothing secret lies in the repository, and nothing in it expires.

import { isIP } from "node:net";
import { generate } from "selfsigned";

export interface Certificates {
  /** The authority that signed the server's certificate, PEM. */
  readonly ca: string;
  /** An authority that has nothing to do with it, PEM. */
  readonly wrongCa: string;
  /** The server's certificate, PEM. */
  readonly cert: string;
  /** The server's private key, PEM. */
  readonly key: string;
}

/** Makes an authority, and a certificate for `localhost`, the loopback addresses and `hosts`. */
export async function makeCertificates(hosts: readonly string[]): Promise<Certificates> {
  const [authority, stranger] = await Promise.all([makeAuthority("Rollcall tests"), makeAuthority("Somebody else")]);
  const server = await generate([{ name: "commonName", value: "localhost" }], {
    algorithm: "sha256",
    keyType: "ec",
    ca: { key: authority.private, cert: authority.cert },
    extensions: [
      { name: "basicConstraints", cA: false },
      { name: "keyUsage", digitalSignature: true, critical: true },
      { name: "extKeyUsage", serverAuth: true },
      {
        name: "subjectAltName",
        altNames: [...new Set(["localhost", "127.0.0.1", "::1", ...hosts])].map(alternativeName),
      },
    ],
  });
  return { ca: authority.cert, wrongCa: stranger.cert, cert: server.cert, key: server.private };
}

function makeAuthority(name: string) {
  return generate([{ name: "commonName", value: name }], {
    algorithm: "sha256",
    keyType: "ec",
    extensions: [
      { name: "basicConstraints", cA: true, critical: true },
      { name: "keyUsage", keyCertSign: true, cRLSign: true, critical: true },
    ],
  });
}

function alternativeName(host: string) {
  return isIP(host) ? ({ type: 7, ip: host } as const) : ({ type: 2, value: host } as const);
}
