// Two processes that work in turn, for how fast a machine is changes from minute to minute, and neither is to live with the other's garbage.

import type { Redis } from "ioredis";
import { connectTo } from "./measured-redis.js";
import type { TurnTaking } from "./segment-loading.js";

/** Whose turn it is: an element in a list of the server at `url`. */
export interface Turns {
  readonly url: string;
  readonly own: string;
  readonly other: string;
}

/** Both views of one matter: the first begins once {@link giveTurn} was called with its own list. */
export function turnsAt(url: string, [first, second]: readonly [string, string]): readonly [Turns, Turns] {
  return [
    { url, own: first, other: second },
    { url, own: second, other: first },
  ];
}

/** Lets the one whose list is `own` begin. */
export async function giveTurn(client: Redis, own: string): Promise<void> {
  await client.rpush(own, "your turn");
}

const OVER = "over";

/** Ends both that wait or will: one of them has failed. */
export async function endTurns(client: Redis, { own, other }: Turns): Promise<void> {
  for (const list of [own, other]) await client.lpush(list, OVER);
}

/** Longer than any turn: the other process has ended then. */
const LONGEST_WAIT_SECONDS = 300;

/** Connects to where the turns are kept. */
export async function openTurns({ url, own, other }: Turns): Promise<TurnTaking & { close(): void }> {
  const client = await connectTo(url);
  return {
    async begin() {
      const [, turn] = (await client.blpop(own, LONGEST_WAIT_SECONDS)) ?? [];
      if (turn === undefined || turn === OVER) throw new Error("the other side has failed");
    },
    end: () => giveTurn(client, other),
    close: () => client.disconnect(),
  };
}
