// A slot of a Redis Cluster on its way from one node to another, in the steps that `redis-cli --cluster reshard` takes,
// so that a test can stop between any two of them.

export interface SlotMove {
  readonly slot: number;
  /** The node that gives the slot away. */
  readonly from: number;
  /** The node that takes it. */
  readonly to: number;
  /** Moves up to `limit` keys (default 100), and resolves to how many it moved: 0 when none is left. */
  migrateKeys(limit?: number): Promise<number>;
  /** Moves these keys, which the slot has. */
  migrate(keys: readonly string[]): Promise<void>;
  /** Hands the slot over, whether or not it is empty: a cluster loses keys that were left behind. */
  end(): Promise<void>;
  /** Calls the move off. Keys that were moved already stay where they are, out of reach. */
  abandon(): Promise<void>;
}

/** The cluster as a move sees it. */
export interface MoveGround {
  readonly ip: string;
  ask(node: number, ...args: readonly string[]): Promise<string>;
  idOf(node: number): string;
  portOf(node: number): number;
}

export interface MovePlan {
  readonly slot: number;
  readonly from: number;
  readonly to: number;
  /** All running masters, which must hear of the new owner. */
  readonly masters: readonly number[];
}

/** Marks the slot on both nodes. From now on the old one answers ASK for keys that it does not have. */
export async function beginSlotMove(ground: MoveGround, { slot, from, to, masters }: MovePlan): Promise<SlotMove> {
  if (from === to) throw new RangeError(`slot ${slot} is at node ${to} already`);
  const { ask, idOf } = ground;
  const mark = (node: number, ...state: readonly string[]) => ask(node, "cluster", "setslot", String(slot), ...state);
  await mark(to, "importing", idOf(from));
  await mark(from, "migrating", idOf(to));
  const send = async (quoted: readonly string[]) => {
    const target = [ground.ip, String(ground.portOf(to)), '""', "0", "5000"];
    await ask(from, "--quoted-input", "migrate", ...target, "keys", ...quoted);
  };
  return {
    slot,
    from,
    to,
    async migrateKeys(limit = 100) {
      const listed = await ask(from, "--no-raw", "cluster", "getkeysinslot", String(slot), String(limit));
      const keys = quotedKeys(listed);
      if (keys.length === 0) return 0;
      await send(keys);
      return keys.length;
    },
    migrate: (keys) => send(keys.map((key) => JSON.stringify(key))),
    async end() {
      // The new owner first: between the two there are then two owners for a moment, and never none.
      for (const node of [to, from, ...masters.filter((node) => node !== to && node !== from)]) {
        await mark(node, "node", idOf(to));
      }
    },
    async abandon() {
      await mark(from, "stable");
      await mark(to, "stable");
    },
  };
}

// A key may hold any byte, so it is read and given back in the quotes of redis-cli.
function quotedKeys(listed: string): string[] {
  return listed
    .split("\n")
    .map((line) => /^\s*\d+\) (".*")\s*$/.exec(line)?.[1])
    .filter((key) => key !== undefined);
}
