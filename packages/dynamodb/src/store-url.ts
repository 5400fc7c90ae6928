// dynamodb: URLs: what one names. Never credentials: those come from where the AWS SDK finds them.

import { RollcallError } from "@rollcall/core";
import type { DynamoDbStoreOptions } from "./store-options.js";

const PARAMETERS: readonly string[] = ["region", "endpoint", "readOnly", "createTable", "lookups", "timeoutMs"];

/** What a URL names. */
export interface DynamoDbUrl {
  readonly region: string | undefined;
  readonly endpoint: string | undefined;
  /** The options of a store. */
  readonly options: DynamoDbStoreOptions;
}

/** Reads a URL. @throws `invalid_request` that says what is wrong with it and shows none of it. */
export function parseStoreUrl(url: string): DynamoDbUrl {
  const match = /^dynamodb:(?:\/\/)?([A-Za-z0-9_.-]*)\/?(?:\?([^#]*))?$/i.exec(url);
  if (match === null)
    throw unreadable(
      "write dynamodb://table?region=eu-central-1; credentials do not belong in it, the AWS SDK finds them by itself",
    );
  const [, table = "", query = ""] = match;
  const parameters = new URLSearchParams(query);
  if ([...parameters.keys()].some((name) => !PARAMETERS.includes(name)))
    throw unreadable(`a parameter is not known; known are ${PARAMETERS.join(", ")}`);
  const region = parameters.get("region") ?? undefined;
  if (region !== undefined && !/^[a-z0-9-]{1,40}$/.test(region)) throw unreadable("region is one as eu-central-1");
  return {
    region,
    endpoint: endpointIn(parameters),
    options: {
      table: table === "" ? undefined : table,
      readOnly: flagOf(parameters, "readOnly"),
      createTable: flagOf(parameters, "createTable"),
      lookups: lookupsIn(parameters),
      timeoutMs: wholeNumber(parameters, "timeoutMs"),
    },
  };
}

function endpointIn(parameters: URLSearchParams): string | undefined {
  const endpoint = parameters.get("endpoint");
  if (endpoint === null) return undefined;
  const parsed = URL.canParse(endpoint) ? new URL(endpoint) : undefined;
  if (parsed === undefined || !/^https?:$/.test(parsed.protocol) || parsed.username !== "" || parsed.password !== "")
    throw unreadable("endpoint is a URL as http://localhost:8000, without a user");
  return endpoint;
}

function lookupsIn(parameters: URLSearchParams): DynamoDbStoreOptions["lookups"] {
  const lookups = parameters.get("lookups");
  if (lookups === null) return undefined;
  if (lookups !== "strong" && lookups !== "eventual") throw unreadable("lookups is strong or eventual");
  return lookups;
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
  return new RollcallError("invalid_request", `the dynamodb: URL is not valid: ${hint}`);
}
