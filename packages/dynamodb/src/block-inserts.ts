// Blocks that a set has not had yet, twenty-five to a request: PartiQL's INSERT is the one write that comes in batches without the price of a
// transaction and yet fails where the item is there. A batch of puts would overwrite what a newer writer has put there since.

import { BatchExecuteStatementCommand } from "@aws-sdk/lib-dynamodb";
import { chunksOf, forEach } from "./batch.js";
import { type Connection, MOST_REQUESTS } from "./connection.js";
import { BLOCK_BYTES, type ItemKey, WRITE_UNIT_BYTES } from "./item-key.js";
import { isRefusedForLoad, statementError } from "./native-error.js";

const STATEMENTS_PER_REQUEST = 25;

/** A block to insert. */
export interface NewBlock extends ItemKey {
  /** The fence as a block has it. */
  readonly mark: Uint8Array;
  /** As a block has them; at least one, and {@link MOST_INSERTED} at most. */
  readonly members: readonly Uint8Array[];
}

/** Members of the largest block that is inserted: so that a request stays small. */
export const MOST_INSERTED = 512;

/** Inserts `blocks` into `table`. Answers those that were there already, whatever they hold; nothing of them was written. */
export async function insertBlocks<Inserted extends NewBlock>(
  { write }: Connection,
  table: string,
  blocks: Iterable<Inserted>,
): Promise<Inserted[]> {
  const present: Inserted[] = [];
  const Statement = `INSERT INTO "${table}" VALUE {'p': ?, 's': ?, 'f': ?, 'm': ?}`;
  await forEach(chunksOf(blocks, STATEMENTS_PER_REQUEST), MOST_REQUESTS, async (chunk) => {
    let asked = chunk;
    await write(async (client, call) => {
      const Statements = asked.map(({ p, s, mark, members }) => ({
        Statement,
        Parameters: [p, s, mark, new Set(members)],
      }));
      const batch = new BatchExecuteStatementCommand({ Statements, ReturnConsumedCapacity: "TOTAL" });
      const output = await client.send(batch, call);
      const { Responses = [] } = output;
      if (Responses.length !== asked.length)
        throw statementError({ Code: "InternalServerError", Message: "answers are missing" });
      const refused: Inserted[] = [];
      for (const [index, { Error: error }] of Responses.entries()) {
        const block = asked[index];
        if (error === undefined || block === undefined) continue;
        if (error.Code === "DuplicateItem") {
          present.push(block);
          continue;
        }
        const cause = statementError(error);
        if (!isRefusedForLoad(cause)) throw cause;
        refused.push(block);
      }
      // DynamoDB Local tells nothing of statements; AWS's rule for a put is by the size of the item.
      const { ConsumedCapacity = [{ CapacityUnits: unitsOf(asked) - unitsOf(refused) }] } = output;
      asked = refused;
      return { ...output, ConsumedCapacity, UnprocessedItems: refused.length === 0 ? {} : { [table]: refused } };
    });
  });
  return present;
}

function unitsOf(blocks: readonly NewBlock[]): number {
  let units = 0;
  for (const { members } of blocks) {
    const [member] = members;
    units += Math.ceil((BLOCK_BYTES + members.length * (member?.length ?? 0)) / WRITE_UNIT_BYTES);
  }
  return units;
}
