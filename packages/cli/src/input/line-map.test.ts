import { describe, expect, it } from "vitest";
import { createLineMap } from "./line-map.js";

describe("line map", () => {
  it("finds the line of every position", () => {
    const map = createLineMap();
    map.append("a", 3, 1);
    map.append("a", 2, [4, 9]);
    map.append("b", 1, 1);
    const places = [0, 2, 3, 4, 5].map((position) => map.find(position));
    expect(places).toEqual([
      { file: "a", line: 1 },
      { file: "a", line: 3 },
      { file: "a", line: 4 },
      { file: "a", line: 9 },
      { file: "b", line: 1 },
    ]);
    expect(map.find(6)).toBeUndefined();
  });

  it("knows nothing beyond its bound, rather than a wrong line", () => {
    const map = createLineMap(2);
    map.append("a", 3, [1, 3, 5]);
    map.append("b", 1, 1);
    expect([0, 1, 2, 3].map((position) => map.find(position)?.line)).toEqual([1, 3, undefined, undefined]);
  });
});
