// dynamodb: URLs: what one names. Never credentials: those come from where the AWS SDK finds them.

import { parseUrlParameters, type UrlParameters, unreadableUrl } from "@rollcall/core";
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
  const parameters = parseUrlParameters("dynamodb", query, PARAMETERS);
  const region = parameters.text("region");
  if (region !== undefined && !/^[a-z0-9-]{1,40}$/.test(region)) throw unreadable("region is one as eu-central-1");
  return {
    region,
    endpoint: endpointIn(parameters),
    options: {
      table: table === "" ? undefined : table,
      readOnly: parameters.flag("readOnly"),
      createTable: parameters.flag("createTable"),
      lookups: lookupsIn(parameters),
      timeoutMs: parameters.wholeNumber("timeoutMs"),
    },
  };
}

function endpointIn(parameters: UrlParameters): string | undefined {
  const endpoint = parameters.text("endpoint");
  if (endpoint === undefined) return undefined;
  const parsed = URL.canParse(endpoint) ? new URL(endpoint) : undefined;
  if (parsed === undefined || !/^https?:$/.test(parsed.protocol) || parsed.username !== "" || parsed.password !== "")
    throw unreadable("endpoint is a URL as http://localhost:8000, without a user");
  return endpoint;
}

function lookupsIn(parameters: UrlParameters): DynamoDbStoreOptions["lookups"] {
  const lookups = parameters.text("lookups");
  if (lookups === undefined) return undefined;
  if (lookups !== "strong" && lookups !== "eventual") throw unreadable("lookups is strong or eventual");
  return lookups;
}

const unreadable = (hint: string) => unreadableUrl("dynamodb", hint);
