// What a piece of work consumed at a database that is paid by use: an adapter counts, and whoever asks learns what was counted
// for his own work, however much else goes on at the same handle.

import { AsyncLocalStorage } from "node:async_hooks";

/** Units of a database that is paid by use, as that database counts them. */
export interface Consumption {
  readonly readUnits: number;
  readonly writeUnits: number;
}

interface Meter {
  readUnits: number;
  writeUnits: number;
  /** The work that this one is a part of. */
  readonly outer: Meter | undefined;
}

const meters = new AsyncLocalStorage<Meter>();

/** For adapters: adds what a request consumed to the work that it belongs to. */
export function countConsumption({ readUnits, writeUnits }: Consumption): void {
  for (let meter = meters.getStore(); meter !== undefined; meter = meter.outer) {
    meter.readUnits += readUnits;
    meter.writeUnits += writeUnits;
  }
}

/** What the work that this is a part of has consumed by now; `undefined` if its store counts nothing. */
export function consumedByNow(): Consumption | undefined {
  const { readUnits = 0, writeUnits = 0 } = meters.getStore() ?? {};
  return readUnits === 0 && writeUnits === 0 ? undefined : { readUnits, writeUnits };
}

/** Runs `work`, and counts for it; `consumed` answers what it has consumed by now, as {@link consumedByNow} does inside. */
export function measureConsumption<T>(work: (consumed: typeof consumedByNow) => Promise<T>): Promise<T> {
  const meter: Meter = { readUnits: 0, writeUnits: 0, outer: meters.getStore() };
  return meters.run(meter, () => work(consumedByNow));
}
