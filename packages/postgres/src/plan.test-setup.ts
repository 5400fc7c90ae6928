// How the server runs what a store sends, statements inside of functions too: by auto_explain, which comes with PostgreSQL.

import pg from "pg";
import type { PostgresClient } from "./index.js";
import { SERVER } from "./place.test-setup.js";

/** A node of a plan that was run, as EXPLAIN (FORMAT JSON) shows it. */
interface PlanNode {
  readonly "Node Type": string;
  readonly "Relation Name"?: string;
  readonly "Actual Loops": number;
  /** In each loop, and beside these those that were looked at and left out. */
  readonly "Actual Rows": number;
  readonly "Rows Removed by Filter"?: number;
  readonly "Subplans Removed"?: number;
  readonly Plans?: readonly PlanNode[];
}

/** What became of the statements of a call. */
export interface Explained {
  /** What was read of tables, those that are written to as well: how, how often, and how many rows were looked at in all. */
  readonly reads: readonly {
    readonly table: string;
    readonly how: string;
    readonly loops: number;
    readonly rows: number;
  }[];
  /** Partitions that were ruled out when a plan began to run, and not when it was made. */
  readonly removedAtStart: number;
}

/** A client of one session in which every statement is explained. */
export interface ExplainingClient extends PostgresClient {
  /** Runs `call` and tells how its statements on tables were run. */
  explained(call: () => Promise<unknown>): Promise<Explained>;
  end(): Promise<void>;
}

/** Connects. `settings` are those of the session, beside auto_explain's. */
export async function explainingClient(settings: Readonly<Record<string, string>> = {}): Promise<ExplainingClient> {
  const client = new pg.Client({ ...SERVER });
  const plans: PlanNode[] = [];
  client.on("notice", ({ message = "" }) => {
    const plan = /plan:\n(\{.*\})$/s.exec(message)?.[1];
    if (plan !== undefined) plans.push((JSON.parse(plan) as { readonly Plan: PlanNode }).Plan);
  });
  await client.connect();
  const all = {
    "auto_explain.log_format": "json",
    "auto_explain.log_level": "notice",
    "auto_explain.log_nested_statements": "on",
    "auto_explain.log_timing": "off",
    "auto_explain.log_analyze": "on",
    ...settings,
    "auto_explain.log_min_duration": "0",
  };
  await client.query("LOAD 'auto_explain'");
  for (const [name, value] of Object.entries(all))
    await client.query("SELECT set_config($1, $2, false)", [name, value]);
  return {
    query: (query) => client.query(query),
    async explained(call) {
      plans.length = 0;
      await call();
      const ran = plans.flatMap(nodesOf).filter((node) => node["Actual Loops"] > 0);
      return {
        reads: ran.flatMap((node) => {
          const { "Relation Name": table, "Node Type": how, "Actual Loops": loops } = node;
          const rows = node["Actual Rows"] + (node["Rows Removed by Filter"] ?? 0);
          return table === undefined || how === "ModifyTable" ? [] : [{ table, how, loops, rows: rows * loops }];
        }),
        removedAtStart: ran.reduce((sum, node) => sum + (node["Subplans Removed"] ?? 0), 0),
      };
    },
    end: () => client.end(),
  };
}

function nodesOf(node: PlanNode): PlanNode[] {
  return [node, ...(node.Plans ?? []).flatMap(nodesOf)];
}
