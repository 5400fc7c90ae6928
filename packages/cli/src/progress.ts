// How far a long command is: a bar with rate and time left on a terminal, else a plain line every few seconds.

import type { Progress } from "@rollcall/core";
import { SingleBar } from "cli-progress";
import { formatNumber, formatTimeLeft } from "./quantity.js";
import type { Terminal } from "./terminal.js";

/** Shows progress until it is stopped. */
export interface ProgressDisplay {
  readonly onProgress: (progress: Progress) => void;
  /** Removes the bar; call it before anything else is written. */
  stop(): void;
}

/** How much of the input is read, where its size is known. */
export type InputProgress = () => { readonly bytesRead: number; readonly totalBytes: number | undefined };

const LABELS: { readonly [Phase in Progress["phase"]]: string } = {
  wait: "waiting for another writer of the segment",
  read: "reading",
  write: "writing",
  scan: "scanning",
  drop: "dropping",
};

const LINE_EVERY_MS = 3_000;
const BAR_EVERY_MS = 100;

/** What is known at one moment. */
interface Standing {
  readonly phase: Progress["phase"];
  readonly done: number;
  /** 0 to 1; `undefined` where the end is not known. */
  readonly fraction: number | undefined;
  readonly perSecond: number;
  readonly leftMs: number | undefined;
}

/** Progress goes to stderr, and nowhere with `--quiet` or `--json`. */
export function showProgress(terminal: Terminal, input?: InputProgress): ProgressDisplay {
  if (terminal.verbosity === "quiet" || terminal.format === "json") return { onProgress: () => {}, stop: () => {} };
  const isTerminal = terminal.stderr.isTTY === true && terminal.env.TERM !== "dumb";
  const show = isTerminal ? createBar(terminal) : createLines(terminal);
  const everyMs = isTerminal ? BAR_EVERY_MS : LINE_EVERY_MS;
  let phase: Progress["phase"] | undefined;
  let phaseStart = 0;
  let doneAtStart = 0;
  let lastShown = 0;

  return {
    onProgress(progress) {
      const now = performance.now();
      if (progress.phase !== phase) {
        phase = progress.phase;
        phaseStart = now;
        doneAtStart = progress.done;
        lastShown = now;
        return;
      }
      if (now - lastShown < everyMs) return;
      lastShown = now;
      const elapsedMs = now - phaseStart;
      const fraction = fractionOf(progress, input);
      show.update({
        phase,
        done: progress.done,
        fraction,
        perSecond: ((progress.done - doneAtStart) / elapsedMs) * 1_000,
        leftMs: fraction === undefined || fraction === 0 ? undefined : (elapsedMs * (1 - fraction)) / fraction,
      });
    },
    stop: () => show.stop(),
  };
}

function fractionOf({ phase, done, total }: Progress, input: InputProgress | undefined): number | undefined {
  if (total !== undefined) return total === 0 ? 1 : Math.min(1, done / total);
  if (phase !== "read" || input === undefined) return undefined;
  const { bytesRead, totalBytes } = input();
  return totalBytes === undefined || totalBytes === 0 ? undefined : Math.min(1, bytesRead / totalBytes);
}

interface Display {
  update(standing: Standing): void;
  stop(): void;
}

function createLines(terminal: Terminal): Display {
  return {
    update: (standing) => void terminal.stderr.write(`${describe(standing)}\n`),
    stop: () => {},
  };
}

function createBar(terminal: Terminal): Display {
  let standing: Standing | undefined;
  const bar = new SingleBar({
    stream: terminal.stderr as NodeJS.WritableStream,
    clearOnComplete: true,
    hideCursor: true,
    fps: 1_000 / BAR_EVERY_MS,
    barsize: 28,
    format: (options, { progress }) => {
      if (standing === undefined) return "";
      if (standing.fraction === undefined) return describe(standing);
      const filled = Math.round(progress * (options.barsize ?? 28));
      const blocks = `${"█".repeat(filled)}${"░".repeat((options.barsize ?? 28) - filled)}`;
      return `${blocks} ${describe(standing)}`;
    },
  });
  let started = false;
  return {
    update(next) {
      standing = next;
      if (!started) bar.start(1, 0);
      started = true;
      bar.update(next.fraction ?? 0);
    },
    stop() {
      if (started) bar.stop();
      started = false;
    },
  };
}

function describe({ phase, done, fraction, perSecond, leftMs }: Standing): string {
  if (phase === "wait") return LABELS.wait;
  const unit = phase === "drop" ? "sets" : "members";
  const parts = [`${LABELS[phase]}: ${formatNumber(done)} ${unit}`];
  if (fraction !== undefined) parts.push(`${Math.floor(fraction * 100)}%`);
  parts.push(`${formatNumber(Math.round(perSecond))}/s`);
  if (leftMs !== undefined) parts.push(`about ${formatTimeLeft(leftMs)} left`);
  return parts.join(", ");
}
