// The names of channels: one for each place, and safe to be written into a statement.

import { expect, it } from "vitest";
import { channelOf } from "./epoch-channel.js";

it("is a plain name of at most 63 bytes, whatever the environment is called", () => {
  for (const environment of ["default", "p".repeat(64), 'a"; DROP TABLE x; --', "\u0000'", "é".repeat(64)])
    expect(channelOf("s".repeat(63), environment)).toMatch(/^[a-z][a-z0-9_]{0,62}$/);
});

it("is another one for each schema and environment", () => {
  const places = [
    ["a", "b"],
    ["a", "B"],
    ["A", "b"],
    ["ab", ""],
    ["", "ab"],
    ["a", "b,c"],
    ["a,b", "c"],
    ['a","b', "c"],
    ["a", 'b","c'],
  ] as const;
  expect(new Set(places.map(([schema, environment]) => channelOf(schema, environment))).size).toBe(places.length);
  expect(channelOf("a", "b")).toBe(channelOf("a", "b"));
});
