// A consumer of an ordered stream that may deliver twice and may restart anywhere: each delta carries its position, which
// is stored together with the members. So nothing is applied twice, and nothing is skipped unseen.

import { createMemoryStore, createRollcall, isRollcallError, type MemberChange, type Rollcall } from "@rollcall/core";

interface Message {
  readonly offset: number;
  readonly changes: readonly MemberChange[];
}

const source = "audience-events/0";
const stream: readonly Message[] = [
  { offset: 1, changes: [{ member: "ada", change: "add" }] },
  { offset: 2, changes: [{ member: "grace", change: "add" }] },
  { offset: 3, changes: [{ member: "ada", change: "remove" }] },
];

const store = createMemoryStore();
await store.open();
const rollcall = createRollcall(store);

await consume(rollcall, 0, stream[0]);
await consume(rollcall, 1, stream[1]);
// The broker delivers the second message again: it is recognised, and not applied again.
await consume(rollcall, 1, stream[1]);
// A message that leaves a gap is refused.
await consume(rollcall, 5, { offset: 6, changes: [{ member: "mallory", change: "add" }] });

// After a restart the segment itself tells where to go on.
const segment = await rollcall.getSegment("engaged");
const position = segment?.positions.find((entry) => entry.source === source)?.position;
console.log("resume after", position);
await consume(rollcall, Number(position), stream[2]);
console.log("members:", (await rollcall.getSegment("engaged"))?.included.count.value);

await rollcall.close();
await store.close();

async function consume(target: Rollcall, after: number, message: Message | undefined): Promise<void> {
  if (message === undefined) return;
  try {
    const { outcome } = await target.merge(
      "engaged",
      { changes: message.changes },
      { sourcePosition: { source, expect: after === 0 ? undefined : String(after), next: String(message.offset) } },
    );
    console.log(`message ${message.offset}:`, outcome);
  } catch (error) {
    if (!isRollcallError(error, "out_of_order")) throw error;
    console.log(`message ${message.offset}:`, error.code);
  }
}
