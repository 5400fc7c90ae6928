// What a store holds after the torture, against a plain model, member by member.

import { contextHash, hashAt, hashCount, type MemberSet } from "@rollcall/core";
import { keyOf } from "./torture-audience.js";
import { GRACE_MS, LEASE_TTL_MS, type Tally, type Torture } from "./torture-tally.js";

/** Compares the segment with `model`, which says of each person whether it is a member. */
export async function compareWithModel(
  { store, rollcall }: Torture,
  segmentKey: string,
  model: Uint8Array,
  tally: Tally,
  when: string,
): Promise<void> {
  const deviation = (what: string) => tally.deviations.push(`${when}: ${what}`);
  const expected = new Set<string>();
  model.forEach((present, index) => {
    if (present === 1) expected.add(hex(contextHash(keyOf(index))));
  });
  async function compareMembers(set: MemberSet | undefined): Promise<void> {
    if (set === undefined) return;
    let found = 0;
    let foreign = 0;
    for await (const hashes of store.scanMembers(set)) {
      for (let i = 0; i < hashCount(hashes); i++) {
        found++;
        if (!expected.has(hex(hashAt(hashes, i)))) foreign++;
      }
    }
    if (found !== expected.size || foreign > 0)
      deviation(`${found} members, ${foreign} of them wrong; the model has ${expected.size}`);
  }

  let { included } = (await rollcall.getSegment(segmentKey)) ?? {};
  // Where a fence guards single blocks, the count after a takeover is not exact until somebody counts; the members are right all the same.
  if (store.capabilities.fencing === "block" && included?.count.exact === false) {
    await compareMembers(included.set);
    await rollcall.verify({ repair: true });
    ({ included } = (await rollcall.getSegment(segmentKey)) ?? {});
  }
  if (included?.set === undefined) {
    deviation("the segment has no members");
    return;
  }
  if (included.count.value !== expected.size || !included.count.exact) {
    deviation(`the count is ${included.count.value} (exact: ${included.count.exact}), the model has ${expected.size}`);
  }
  await compareMembers(included.set);
  const { findings } = await rollcall.verify();
  for (const finding of findings) if (finding.kind !== "orphan_set") deviation(`verify: ${finding.message}`);
}

// Once no reader is left and every grace period is over, only the sets that the segments point at may remain.
export async function sweepAll({ store, rollcall }: Torture): Promise<string[]> {
  await new Promise((resolve) => setTimeout(resolve, GRACE_MS + LEASE_TTL_MS));
  await rollcall.sweep();
  const segments = await rollcall.listSegments();
  const used = new Set(segments.flatMap(({ included, excluded }) => [included.set?.id, excluded.set?.id]));
  const left = (await store.listMemberSets()).filter(({ id }) => !used.has(id));
  const { findings } = await rollcall.verify();
  return [
    ...left.map(({ id }) => `member set ${id} is left over after the sweep`),
    ...findings.map(({ message }) => `verify after the sweep: ${message}`),
  ];
}

function hex(hash: Uint8Array | undefined): string {
  return Buffer.from(hash ?? []).toString("hex");
}
