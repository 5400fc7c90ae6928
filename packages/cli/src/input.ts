// The subpath `@rollcall/cli/input`: reading member files as the command does.

export type { EntryRejectionReason } from "./input/entries.js";
export { type FormatOptions, INPUT_FORMATS, type InputFormat } from "./input/format.js";
export type { Place } from "./input/line-map.js";
export {
  type MemberInput,
  type MemberInputOptions,
  openMemberInput,
  type UnusablePlace,
} from "./input/member-input.js";
