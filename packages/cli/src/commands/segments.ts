// rollcall segments: the group of commands about segments themselves.

import type { Command } from "commander";
import { examples } from "../help.js";
import type { Run } from "../session.js";
import { addSegmentsDelete } from "./segments-delete.js";
import { addSegmentsEdit } from "./segments-edit.js";
import { addSegmentsHistory } from "./segments-history.js";
import { addSegmentsList } from "./segments-list.js";
import { addSegmentsShow } from "./segments-show.js";

export function addSegments(program: Command, run: Run): void {
  const segments = program
    .command("segments")
    .description("List, show, edit and delete segments, and read their history.");
  addSegmentsList(segments, run);
  addSegmentsShow(segments, run);
  addSegmentsEdit(segments, run);
  addSegmentsDelete(segments, run);
  addSegmentsHistory(segments, run);
  examples(segments, [
    ["rollcall segments list", "which segments are there?"],
    ["rollcall segments show vips", "everything about one"],
    ["rollcall segments history vips", "what its syncs changed"],
    ['rollcall segments edit vips --name "Very important"', "rename it"],
  ]);
}
