// The flags that set a segment's details, as a patch.

import type { DetailsPatch } from "@rollcall/core";

/** What commander parses. */
export interface DetailsFlags {
  readonly name?: string;
  readonly description?: string;
  readonly tag?: readonly string[];
}

/** The tags given so far, for an option that may be repeated. */
export function collectTags(tag: string, before: readonly string[] = []): readonly string[] {
  return [...before, tag];
}

/** What is not given stays as it is. */
export function detailsPatchOf({ name, description, tag }: DetailsFlags): DetailsPatch {
  return {
    ...(name === undefined ? {} : { name }),
    ...(description === undefined ? {} : { description }),
    ...(tag === undefined ? {} : { tags: [...tag] }),
  };
}
