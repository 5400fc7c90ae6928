// The names that users choose: environments, segments, context kinds, sources. Parsed once at the edge, branded inside.

import { z } from "zod";
import { RollcallError } from "./errors.js";

export const environmentNameSchema = z
  .string()
  .regex(/^[A-Za-z0-9._-]{1,64}$/, "must be 1 to 64 letters, digits, '.', '_' or '-'")
  .brand<"EnvironmentName">()
  .meta({ description: "An isolated namespace in one database, for instance `production`." });
/** The name of an environment: 1 to 64 letters, digits, `.`, `_`, `-`; case matters. */
export type EnvironmentName = z.infer<typeof environmentNameSchema>;

export const segmentKeySchema = z
  .string()
  .regex(/^[A-Za-z0-9._-]{1,256}$/, "must be 1 to 256 letters, digits, '.', '_' or '-'")
  .brand<"SegmentKey">()
  .meta({ description: "The key of a segment; it never changes." });
/** The key of a segment: 1 to 256 letters, digits, `.`, `_`, `-`; case matters. */
export type SegmentKey = z.infer<typeof segmentKeySchema>;

export const contextKindSchema = z
  .string()
  .regex(/^[A-Za-z0-9._-]{1,64}$/, "must be 1 to 64 letters, digits, '.', '_' or '-'")
  .brand<"ContextKind">()
  .meta({ description: "What kind of thing the members are: `user`, `account`, `device`." });
/** The kind of a segment's members, for instance `user`: 1 to 64 letters, digits, `.`, `_`, `-`. */
export type ContextKind = z.infer<typeof contextKindSchema>;

/** Parses with `schema`; throws `invalid_request` that names `what`. The message may hold the value: names are not secret. */
export function parseName<S extends z.ZodType>(schema: S, value: unknown, what: string): z.output<S> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const shown = typeof value === "string" ? JSON.stringify(value.slice(0, 80)) : typeof value;
  throw new RollcallError("invalid_request", `${what} ${shown} ${parsed.error.issues[0]?.message ?? "is not valid"}`);
}
