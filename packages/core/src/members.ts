// What callers pass in: members, changes of members, whole snapshots; as single values or in batches.

import type { ListName } from "./segment.js";

/**
 * One member: a context key as a string, or an integer that stands for its decimal digits (a `number` up to 2^53, or a
 * `bigint`). With `memberFormat: "sha256"` a digest of the key in 64 hex digits or base64.
 */
export type Member = string | number | bigint;

/** One change, in the order of the delta: the last word on a member wins. */
export interface MemberChange {
  readonly member: Member;
  readonly change: "add" | "remove";
}

/**
 * A sequence of values. An async source may yield arrays, which is many times faster than single values: yield some
 * thousands at a time.
 */
export type Batched<T> = Iterable<T> | AsyncIterable<T | readonly T[]>;

/**
 * The changes of a merge: either in one sequence, or as two, in which case the removals come after the additions (so
 * a member named in both is removed).
 */
export type Delta =
  | { readonly changes: Batched<MemberChange> }
  | { readonly add?: Batched<Member> | undefined; readonly remove?: Batched<Member> | undefined };

/**
 * A whole snapshot: exactly these members, in one list or in both. A list that is not named stays as it is; when both
 * are named they change in the same instant.
 */
export type Snapshot = { readonly [List in ListName]?: Batched<Member> | undefined };

/** How members are written: plain context keys, or SHA-256 digests of them. */
export type MemberFormat = "key" | "sha256";
