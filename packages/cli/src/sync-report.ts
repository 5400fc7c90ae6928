// A sync's report as the command gives it: with the entries that never reached core, and with files and lines.

import { type Consumption, MAX_LISTED_REJECTIONS, RollcallError, type SyncReport } from "@rollcall/core";
import type { EntryRejectionReason } from "./input/entries.js";
import type { MemberInput } from "./input/member-input.js";
import { formatDuration, formatNumber, formatTime } from "./quantity.js";
import { type Colors, fields, table } from "./terminal.js";

/** One entry that was left out. Never the member itself. */
interface LocatedRejection {
  readonly reason: EntryRejectionReason;
  readonly file?: string;
  readonly line?: number;
  /** Where no line is known: the position among the entries that reached core, from 0. */
  readonly position?: number;
}

/** {@link SyncReport} with the input's own rejections counted in. */
export interface CommandReport extends Omit<SyncReport, "rejected" | "estimate"> {
  readonly rejected: { readonly count: number; readonly listed: readonly LocatedRejection[] };
  /** Empty lines, which count as no entries. */
  readonly emptyLines: number;
  /** What a dry run's sync would consume, and cost at prices that were given. */
  readonly estimate?: (Consumption & { readonly dollars?: number }) | undefined;
}

export function locateRejections(report: SyncReport, input: MemberInput): CommandReport {
  const listed: LocatedRejection[] = [...input.unusable.listed];
  for (const { position, reason } of report.rejected.listed) {
    listed.push({ reason, ...(input.find(position) ?? { position }) });
  }
  return {
    ...report,
    received: report.received + input.unusable.count,
    rejected: {
      count: report.rejected.count + input.unusable.count,
      listed: listed.sort((a, b) => byPlace(a, b, input.files)).slice(0, MAX_LISTED_REJECTIONS),
    },
    emptyLines: input.emptyLines,
  };
}

/** Dollars for a million units of each kind. */
interface Prices {
  readonly writePrice?: number;
  readonly readPrice?: number;
}

/** `report` with what its estimate costs at `prices`. @throws `invalid_request` if there are prices and nothing to pay for. */
export function withDollars(report: CommandReport, { writePrice, readPrice }: Prices): CommandReport {
  if (writePrice === undefined || readPrice === undefined || report.outcome === "already_applied") return report;
  const { estimate } = report;
  if (estimate === undefined)
    throw new RollcallError(
      "invalid_request",
      "this database is not paid by use; leave --write-price and --read-price out",
    );
  const dollars = (estimate.writeUnits * writePrice + estimate.readUnits * readPrice) / 1e6;
  return { ...report, estimate: { ...estimate, dollars } };
}

/** In the order of the input; what has no place comes last, as it is far into it. */
function byPlace(a: LocatedRejection, b: LocatedRejection, files: readonly string[]): number {
  if (a.file === undefined || b.file === undefined) return Number(a.file === undefined) - Number(b.file === undefined);
  return files.indexOf(a.file) - files.indexOf(b.file) || (a.line ?? 0) - (b.line ?? 0);
}

/** For people. */
export function describeReport(report: CommandReport, colors: Colors): string {
  const headline = {
    applied: `${colors.green("synced")} ${report.segmentKey}`,
    already_applied: `${colors.yellow("already applied")}: ${report.segmentKey} is unchanged`,
    planned: `${colors.cyan("dry run")}: ${report.segmentKey} would change like this`,
  }[report.outcome];
  const pairs: [string, string][] = [
    ["added", colors.green(count(report.added))],
    ["removed", colors.red(count(report.removed))],
    ["unchanged", count(report.unchanged)],
  ];
  if (report.duplicates > 0) pairs.push(["duplicates", formatNumber(report.duplicates)]);
  if (report.rejected.count > 0) pairs.push(["left out", colors.yellow(formatNumber(report.rejected.count))]);
  pairs.push(["members", membersText(report)]);
  pairs.push(["took", formatDuration(report.durationMs)]);
  if (report.consumed !== undefined) pairs.push(["consumed", unitsText(report.consumed)]);
  if (report.estimate !== undefined) {
    const { dollars } = report.estimate;
    pairs.push([
      "would consume",
      `about ${unitsText(report.estimate)}${dollars === undefined ? "" : `: $ ${dollars.toFixed(4)}`}`,
    ]);
  }
  return `${headline}\n${fields(pairs, colors)}`;
}

function unitsText({ writeUnits, readUnits }: Consumption): string {
  return `${formatNumber(writeUnits)} write units, ${formatNumber(readUnits)} read units`;
}

/** The newest first, for people. */
export function describeHistory(reports: readonly SyncReport[], colors: Colors): string {
  return table(
    [
      { name: "when" },
      { name: "mode" },
      { name: "list" },
      { name: "added", align: "right" },
      { name: "removed", align: "right" },
      { name: "unchanged", align: "right" },
      { name: "left out", align: "right" },
      { name: "members", align: "right" },
      { name: "took", align: "right" },
      { name: "sync id" },
    ],
    reports.map((report) => [
      formatTime(report.startedAt),
      report.mode,
      report.lists.join(", "),
      count(report.added),
      count(report.removed),
      count(report.unchanged),
      formatNumber(report.rejected.count),
      membersText(report),
      formatDuration(report.durationMs),
      report.syncId ?? "",
    ]),
    colors,
  );
}

function membersText({ members }: Pick<SyncReport, "members">): string {
  const excluded =
    members.excluded.value === 0 && members.excluded.exact ? "" : `, ${count(members.excluded)} excluded`;
  return `${count(members.included)}${excluded}`;
}

/** A count that is not known to be exact says so. */
export function count({ value, exact }: { readonly value: number; readonly exact: boolean }): string {
  return exact ? formatNumber(value) : `about ${formatNumber(value)}`;
}
