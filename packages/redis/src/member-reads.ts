// How the values of many contexts are asked for. On one server by scripts, each for hundreds of them: a command for each would cost the
// client more than all else that it does. In a Cluster by commands: a slot may be on its way, and only they find a key on either node.

import { CONTEXT_HASH_BYTES, type ContextHashes, hashAt, hashCount, shardOf } from "@rollcall/core";
import { bufferOf } from "./block-group.js";
import type { Call, Command, ScriptCall } from "./commands.js";
import { readValues } from "./script.js";
import { impliedBytes } from "./shard-pass.js";

/** Contexts after which a script takes no further shard: well below a millisecond. */
const SCRIPT_READS = 256;
/** Lengths of a name and of a list. */
const HEAD_BYTES = 3;

/** Contexts to ask for. */
export interface MemberReads {
  readonly hashes: ContextHashes;
  readonly shardBits: number;
  /** The key of a shard. */
  nameOf(shard: number): string;
  readonly isCluster: boolean;
}

/** Calls whose replies, laid end to end, are a value or nothing for each hash, in their order. */
export function readCalls(reads: MemberReads): Call[] {
  return reads.isCluster ? commandsFor(reads) : scriptsFor(reads);
}

/** The rest of a hash, which its shard does not imply. */
export function fieldOf(hash: ContextHashes, shardBits: number): Buffer {
  return bufferOf(hash.subarray(impliedBytes(shardBits)));
}

function commandsFor({ hashes, shardBits, nameOf }: MemberReads): Command[] {
  return Array.from(stretchesOf(hashes, shardBits), ({ shard, from, to }): Command => {
    const fields = Array.from({ length: to - from }, (_, place) => fieldOf(hashAt(hashes, from + place), shardBits));
    return [fields.length === 1 ? "hget" : "hmget", nameOf(shard), ...fields];
  });
}

function scriptsFor({ hashes, shardBits, nameOf }: MemberReads): ScriptCall[] {
  const implied = impliedBytes(shardBits);
  const width = CONTEXT_HASH_BYTES - implied;
  const calls: ScriptCall[] = [];
  let open: { readonly shard: string; readonly from: number; readonly to: number }[] = [];
  let bytes = 0;

  function close(): void {
    if (open.length === 0) return;
    const packed = Buffer.allocUnsafe(bytes);
    let at = 0;
    for (const { shard, from, to } of open) {
      at = packed.writeUInt8(shard.length, at);
      at = packed.writeUInt16BE(to - from, at);
      at += packed.write(shard, at, "latin1");
      for (let index = from; index < to; index++) {
        const end = (index + 1) * CONTEXT_HASH_BYTES;
        for (let byte = end - width; byte < end; byte++) packed[at++] = hashes[byte] as number;
      }
    }
    calls.push({ script: readValues, keys: [], args: [packed, width] });
    open = [];
    bytes = 0;
  }

  let reads = 0;
  for (const { shard, from, to } of stretchesOf(hashes, shardBits)) {
    const name = nameOf(shard);
    open.push({ shard: name, from, to });
    bytes += HEAD_BYTES + name.length + (to - from) * width;
    reads += to - from;
    if (reads < SCRIPT_READS) continue;
    close();
    reads = 0;
  }
  close();
  return calls;
}

/** Neighbours that are in one shard, as those of sorted hashes stand together. */
interface Stretch {
  readonly shard: number;
  readonly from: number;
  readonly to: number;
}

function* stretchesOf(hashes: ContextHashes, shardBits: number): Generator<Stretch> {
  const count = hashCount(hashes);
  for (let from = 0, to = 0; from < count; from = to) {
    const shard = shardOf(hashes, from, shardBits);
    for (to = from + 1; to < count && shardOf(hashes, to, shardBits) === shard; to++);
    yield { shard, from, to };
  }
}
