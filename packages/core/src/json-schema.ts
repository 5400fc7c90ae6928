// The forms in which members travel as JSON, as Zod schemas and as JSON Schema (draft 2020-12) for whoever reads them
// elsewhere.

import { z } from "zod";
import { MAX_KEY_BYTES } from "./context-hash.js";
import { syncReportSchema } from "./report.js";
import { detailsPatchSchema } from "./segment.js";
import { syncOptionsSchema } from "./sync-request.js";

export const memberSchema = z.union([z.string().min(1).max(MAX_KEY_BYTES), z.int()]).meta({
  description: "A context key of 1 to 1,024 bytes of UTF-8, or an integer that stands for its decimal digits.",
});

export const memberChangeSchema = z
  .object({ member: memberSchema, change: z.enum(["add", "remove"]) })
  .meta({ description: "One change of a delta." });

export const deltaSchema = z
  .union([
    z.strictObject({ changes: z.array(memberChangeSchema) }),
    z.strictObject({ add: z.array(memberSchema).optional(), remove: z.array(memberSchema).optional() }),
  ])
  .meta({ description: "The changes of a merge: the last word on a member wins; removals come after additions." });

export const snapshotSchema = z
  .strictObject({ included: z.array(memberSchema).optional(), excluded: z.array(memberSchema).optional() })
  .meta({ description: "Exactly the members of each list that is named." });

/** JSON Schemas of what callers send and receive, by name. */
export const jsonSchemas = {
  member: z.toJSONSchema(memberSchema),
  memberChange: z.toJSONSchema(memberChangeSchema),
  delta: z.toJSONSchema(deltaSchema),
  snapshot: z.toJSONSchema(snapshotSchema),
  syncOptions: z.toJSONSchema(syncOptionsSchema, { io: "input" }),
  detailsPatch: z.toJSONSchema(detailsPatchSchema),
  syncReport: z.toJSONSchema(syncReportSchema),
} as const;
