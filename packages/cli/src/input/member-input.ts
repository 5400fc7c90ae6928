// All the files of one sync as one sequence of members, with the lines of those that are left out.

import type { Readable } from "node:stream";
import { MAX_LISTED_REJECTIONS, type Member, type MemberChange } from "@rollcall/core";
import { type ByteSource, openByteSource } from "./byte-source.js";
import type { Entries, EntryRejectionReason } from "./entries.js";
import { chooseFormat, type FormatOptions, readEntries } from "./format.js";
import { createLineMap, type Place } from "./line-map.js";

/** An entry that was left out before core saw it. */
export interface UnusablePlace extends Place {
  readonly reason: EntryRejectionReason;
}

/** The members of one or more files, to be read once. Bounded memory: about a block of text at a time. */
export interface MemberInput {
  /** The names of the files, in order. */
  readonly files: readonly string[];
  members(): AsyncIterable<readonly Member[]>;
  /** As {@link members}, with what the operation column or pointer says. */
  changes(): AsyncIterable<readonly MemberChange[]>;
  /** The file and line of the entry at `position` of what was read. */
  find(position: number): Place | undefined;
  /** Counts so far, and the first places. */
  readonly unusable: { count: number; readonly listed: UnusablePlace[] };
  readonly emptyLines: number;
  /** Bytes read and in all, as stored; the latter is `undefined` if one source is a pipe. */
  progress(): { readonly bytesRead: number; readonly totalBytes: number | undefined };
}

/** Options of {@link openMemberInput}. */
export interface MemberInputOptions extends FormatOptions {
  readonly stdin: Readable;
  readonly signal?: AbortSignal | undefined;
}

/** Checks that each of `files` can be read and has a format; `-` is standard input. */
export async function openMemberInput(files: readonly string[], options: MemberInputOptions): Promise<MemberInput> {
  const sources: ByteSource[] = [];
  for (const file of files) sources.push(await openByteSource(file, options));
  for (const source of sources) chooseFormat(source.name, options);
  const lineMap = createLineMap();
  const unusable: { count: number; listed: UnusablePlace[] } = { count: 0, listed: [] };
  let emptyLines = 0;

  async function* entries(): AsyncGenerator<Entries> {
    for (const source of sources) {
      for await (const batch of readEntries(source, options)) {
        emptyLines += batch.emptyLines;
        unusable.count += batch.unusable.length;
        for (const { line, reason } of batch.unusable) {
          if (unusable.listed.length >= MAX_LISTED_REJECTIONS) break;
          unusable.listed.push({ file: source.name, line, reason });
        }
        lineMap.append(source.name, batch.members.length, batch.lines);
        if (batch.members.length > 0) yield batch;
      }
    }
  }

  return {
    files: sources.map((source) => source.name),
    async *members() {
      for await (const batch of entries()) yield batch.members;
    },
    async *changes() {
      for await (const { members, changes } of entries()) {
        yield members.map((member, index) => ({ member, change: changes?.[index] ?? "add" }));
      }
    },
    find: (position) => lineMap.find(position),
    unusable,
    get emptyLines() {
      return emptyLines;
    },
    progress() {
      let bytesRead = 0;
      let totalBytes: number | undefined = 0;
      for (const source of sources) {
        bytesRead += source.bytesRead();
        if (source.totalBytes === undefined) totalBytes = undefined;
        else if (totalBytes !== undefined) totalBytes += source.totalBytes;
      }
      return { bytesRead, totalBytes };
    },
  };
}
