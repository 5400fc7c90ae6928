// The members that the fault tests sync: a snapshot or a delta whose outcome is known before it is sent.

import { contextHash, type MemberChange, type Rollcall, type SyncOptions, type SyncReport } from "@rollcall/core";

/** How a sync changes a segment. */
export type Mode = "replace" | "merge";
export const MODES: readonly Mode[] = ["replace", "merge"];

/** The members of a segment. */
export type Members = ReadonlySet<string>;

/** A sync, and what it makes of the members that are there. */
export interface Change {
  readonly mode: Mode;
  readonly before: Members;
  readonly after: Members;
  send(rollcall: Rollcall, segmentKey: string, options: SyncOptions): Promise<SyncReport>;
}

/** Every context that any of the syncs names. */
export const UNIVERSE: readonly string[] = Array.from({ length: 9_000 }, (_, index) => `person-${index}`);

/** Two thirds of the universe, others for each `version`. */
export function snapshotOf(version: number): Members {
  return new Set(UNIVERSE.filter((key) => roll(key, version) % 3 !== 0));
}

/** The sync number `version` of `before`. */
export function changeOf(mode: Mode, before: Members, version: number): Change {
  if (mode === "replace") {
    const after = snapshotOf(version);
    const send: Change["send"] = (rollcall, key, options) => rollcall.replace(key, { included: after }, options);
    return { mode, before, after, send };
  }
  // A quarter of the universe.
  const changes = UNIVERSE.flatMap((member): MemberChange[] => {
    const side = roll(member, version) % 8;
    return side < 2 ? [{ member, change: side === 0 ? "add" : "remove" }] : [];
  });
  const after = new Set(before);
  for (const { member, change } of changes) {
    if (change === "add") after.add(String(member));
    else after.delete(String(member));
  }
  return { mode, before, after, send: (rollcall, key, options) => rollcall.merge(key, { changes }, options) };
}

// The last bytes of the hash: shards go by the first.
function roll(key: string, version: number): number {
  return contextHash(key)?.at(-1 - version) ?? 0;
}
