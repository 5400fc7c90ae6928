// Numbers, durations and sizes, as people write and read them.

import bytes from "bytes";
import { InvalidArgumentError } from "commander";
import ms from "ms";

const DURATION = /^\d+(\.\d+)?\s*(ms|s|m|h|d)$/;
const SIZE = /^\d+(\.\d+)?\s*(b|kb|mb|gb|tb)$/i;

/** `30s`, `5m`, `1.5h` in milliseconds. A bare number is refused: its unit would be a guess. */
export function parseDuration(text: string): number {
  const value = DURATION.test(text) ? ms(text as ms.StringValue) : undefined;
  if (value === undefined)
    throw new InvalidArgumentError("write a duration with its unit, for instance 500ms, 30s, 5m or 1h");
  return value;
}

/** `64MB`, `1.5GB` in bytes; a kilobyte has 1,024. */
export function parseSize(text: string): number {
  const value = SIZE.test(text) ? bytes.parse(text) : null;
  if (value === null) throw new InvalidArgumentError("write a size with its unit, for instance 64MB or 1.5GB");
  return value;
}

/** A whole number above zero; `_` may group its digits. */
export function parsePositiveInteger(text: string): number {
  const value = /^[1-9][0-9_]*$/.test(text) ? Number(text.replaceAll("_", "")) : Number.NaN;
  if (!Number.isSafeInteger(value)) throw new InvalidArgumentError("write a whole number above zero");
  return value;
}

/** A number from 0 to 1. */
export function parseShare(text: string): number {
  const value = /^(0|1|0?\.\d+|1\.0+)$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isNaN(value)) throw new InvalidArgumentError("write a number from 0 to 1, for instance 0.9");
  return value;
}

/** An amount of money: 0 or more, with a decimal point. */
export function parsePrice(text: string): number {
  if (!/^\d+(\.\d+)?$/.test(text)) throw new InvalidArgumentError("write an amount, for instance 0.625");
  return Number(text);
}

const NUMBER = new Intl.NumberFormat("en-US");

/** `1,234,567`. */
export function formatNumber(value: number): string {
  return NUMBER.format(value);
}

/** `240 ms`, `3.2 s`, `4 min 05 s`. */
export function formatDuration(durationMs: number): string {
  if (durationMs < 1_000) return `${Math.round(durationMs)} ms`;
  if (durationMs < 60_000) return `${(durationMs / 1_000).toFixed(1)} s`;
  const seconds = Math.round(durationMs / 1_000);
  return `${Math.floor(seconds / 60)} min ${String(seconds % 60).padStart(2, "0")} s`;
}

/** `12 s`, `4 min 05 s`: never more exact than a guess is. */
export function formatTimeLeft(leftMs: number): string {
  return leftMs < 60_000 ? `${Math.ceil(leftMs / 1_000)} s` : formatDuration(leftMs);
}

/** `2024-05-01 12:30:05Z`. */
export function formatTime(epochMs: number): string {
  return new Date(epochMs)
    .toISOString()
    .replace("T", " ")
    .replace(/\.\d+Z$/, "Z");
}
