// A heap without garbage, for a measurement to begin with.

import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

setFlagsFromString("--expose-gc");

/** Collects all garbage of this process. No scavenge copies again what is left. */
export const collectGarbage: () => void = runInNewContext("gc");
