// Loading segments on PostgreSQL in either layout.

import type { RollcallOptions } from "@rollcall/core";
import { createPostgresStore } from "@rollcall/postgres";
import { openObserver, SCHEMAS } from "./measured-postgres.js";
import { openMembershipRows } from "./membership-rows.js";
import { type OpenEnvironment, withEnvironment } from "./open-environment.js";
import { type Load, type Loaded, loadEach, segmentKey } from "./segment-loading.js";

/** Runs `work` on the environment at `url`. */
export function withRollcall<T>(
  url: string,
  options: RollcallOptions,
  work: (environment: OpenEnvironment) => Promise<T>,
): Promise<T> {
  return withEnvironment(createPostgresStore(url), options, work);
}

/** Loads segments into an empty server, one row for each membership. */
export async function loadRows(load: Load): Promise<Loaded> {
  const peer = await openMembershipRows(load.url);
  const observer = await openObserver(load.url);
  const bytes = () => observer.bytesOf(SCHEMAS.rows);
  const loaded = await loadEach(load, bytes, (number, stream) => peer.add(number, stream.keys));
  await observer.settle(SCHEMAS.rows);
  await observer.close();
  await peer.close();
  return loaded;
}

/** Loads segments into an empty server by `replace`. */
export async function loadSegments(load: Load): Promise<Loaded> {
  return withRollcall(load.url, {}, async ({ rollcall }) => {
    await rollcall.initialize();
    const observer = await openObserver(load.url);
    const bytes = () => observer.bytesOf(SCHEMAS.rollcall);
    const loaded = await loadEach(load, bytes, async (number, stream) => {
      const report = await rollcall.replace(segmentKey(number), { included: stream.keys });
      if (report.members.included.value !== stream.count) throw new Error(`${report.members.included.value} members`);
    });
    await observer.settle(SCHEMAS.rollcall);
    await observer.close();
    return loaded;
  });
}
