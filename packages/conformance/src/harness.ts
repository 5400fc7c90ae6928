// What an adapter's author gives to the suite. The comments are law: the suite relies on every sentence.

import type { SegmentStore } from "@rollcall/core";

/** One database, empty at first, that no other check touches. Its data lives until `dispose`, also while no handle is open. */
export interface ConformanceDatabase {
  /**
   * A fresh handle, not yet opened, on `environment` of this database. Two handles on one environment behave as if they
   * were in two processes: they share the data and nothing else, and each can be closed alone. The suite opens and
   * closes them. `environment` is any name that core accepts.
   */
  createStore(environment: string): SegmentStore | Promise<SegmentStore>;
  /** Called once, after every handle was closed: removes the data. */
  dispose?(): Promise<void>;
}

/** What an adapter's author gives to the suite. */
export interface Harness {
  /**
   * Makes an empty database for one check. On a server that all checks share this may be a schema, a table or a key
   * prefix, as long as no environment of any name is seen from another database.
   */
  createDatabase(): Promise<ConformanceDatabase>;
}

/** Options of {@link conformance} and {@link runConformance}. */
export interface ConformanceOptions {
  /** Only the checks that this accepts, for work on one of them. Default: all. */
  readonly only?: ((check: { readonly name: string }) => boolean) | undefined;
  /** Runs of each property. Default: `ROLLCALL_RUNS`, else 100. */
  readonly runs?: number | undefined;
  /** Where the random cases start. Default: `ROLLCALL_SEED`, else a new one each time; a failure prints it. */
  readonly seed?: number | undefined;
  /** Whether a failing run of a property is made smaller before it is shown, which takes time. Default `true`. */
  readonly shrink?: boolean | undefined;
  /** Members of the scale check. Default 200,000. */
  readonly scaleMembers?: number | undefined;
  /** How long one check may take before it counts as hung. Default 600,000. */
  readonly timeoutMs?: number | undefined;
}
