// rollcall segments edit: details set by hand, which no sync overwrites.

import { RollcallError } from "@rollcall/core";
import { type Command, Option } from "commander";
import { collectTags, type DetailsFlags, detailsPatchOf } from "../details-patch.js";
import { examples } from "../help.js";
import { describeSegment, summarize } from "../segment-summary.js";
import { type Run, type Session, startSession, withExistingStore } from "../session.js";

interface EditFlags extends DetailsFlags {
  readonly clearTags?: true;
}

export function addSegmentsEdit(segments: Command, run: Run): void {
  const command = segments
    .command("edit")
    .description("Set details by hand. From then on no sync overwrites them.")
    .argument("<segment>", "the key of the segment")
    .option("--name <text>", "the name")
    .option("--description <text>", "the description")
    .option("--tag <tag>", "a tag; may be repeated; the tags given replace those there are", collectTags)
    .addOption(new Option("--clear-tags", "no tags").conflicts("tag"))
    .action((segmentKey: string, flags: EditFlags, self: Command) => edit(startSession(run, self), segmentKey, flags));
  examples(command, [
    ['rollcall segments edit vips --name "Very important"', "rename it"],
    ["rollcall segments edit vips --tag paying --tag europe", "set its tags"],
  ]);
}

async function edit(session: Session, segmentKey: string, flags: EditFlags): Promise<void> {
  const patch = detailsPatchOf(flags.clearTags ? { ...flags, tag: [] } : flags);
  if (Object.keys(patch).length === 0) {
    throw new RollcallError("invalid_request", "nothing to set; give --name, --description, --tag or --clear-tags");
  }
  const segment = await withExistingStore(session, (rollcall) => rollcall.editDetails(segmentKey, patch));
  session.terminal.answer(summarize(segment), () => describeSegment(segment, session.terminal.colors));
}
