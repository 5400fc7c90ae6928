// The words of cost models: for adapters whose database is paid by use.

/** What an environment has, and what happens to it in a month. */
export interface CostWorkload {
  /** Contexts of the environment. */
  readonly contexts: number;
  /** Segments, all of the same size. */
  readonly segments: number;
  /** The share of the contexts that each segment has, from 0 to 1. */
  readonly density: number;
  /** Members that merges change in each segment in a month. Default 0. */
  readonly changes?: number;
  /** Changes in one merge. Default 1. */
  readonly changesPerMerge?: number;
  /** Snapshots of each segment in a month. Default 0. */
  readonly replaces?: number;
  /** Lookups of one context in all segments in a month, past the reader's cache. Default 0. */
  readonly lookups?: number;
  /** How members are looked up. Default `strong`. */
  readonly reads?: "strong" | "eventual";
}

/** Dollars for a million units, and for a gigabyte in a month. */
export interface UnitPrices {
  readonly writeUnits: number;
  readonly readUnits: number;
  readonly storage: number;
}

/** What a month costs. */
export interface MonthlyCosts {
  readonly writeUnits: number;
  readonly readUnits: number;
  readonly storageBytes: number;
  /** Absent without prices. */
  readonly dollars?: number;
}

/** What a month costs here, and in the layout that is compared with. */
export interface CostEstimate {
  readonly own: MonthlyCosts;
  readonly peer: MonthlyCosts;
}
