import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { planEngine, planImage, serversOf } from "./container-plan.mjs";

describe("the engine", () => {
  const nothing = { answers: false, chosen: undefined, canBeInstalled: false };

  it("is the one that answers, whoever chose it", () => {
    assert.equal(planEngine({ ...nothing, answers: true }).use, "running");
    assert.equal(planEngine({ answers: true, chosen: "tcp://there", canBeInstalled: true }).use, "running");
  });

  it("is started where it can be", () => {
    assert.equal(planEngine({ ...nothing, canBeInstalled: true }).use, "started");
    assert.equal(planEngine(nothing).use, "none");
  });

  it("is never another one than the user chose", () => {
    const plan = planEngine({ answers: false, chosen: "tcp://there", canBeInstalled: true });
    assert.equal(plan.use, "none");
    assert.match(plan.because, /tcp:\/\/there/);
  });
});

describe("an image", () => {
  const facts = {
    given: undefined,
    official: "official",
    local: new Set(),
    built: "built",
    builtIsFresh: false,
    unreachable: false,
    canBeBuilt: true,
  };
  const ways = (changes) => planImage({ ...facts, ...changes }).map(({ by, image }) => `${by} ${image}`);

  it("is pulled, or else built", () => {
    assert.deepEqual(ways({}), ["pull official", "build built"]);
    assert.deepEqual(ways({ canBeBuilt: false }), ["pull official"]);
  });

  it("is built at once where no registry was reached before", () => {
    assert.deepEqual(ways({ unreachable: true }), ["build built"]);
    assert.deepEqual(ways({ unreachable: true, canBeBuilt: false }), []);
  });

  it("is not asked for where it is", () => {
    assert.deepEqual(ways({ local: new Set(["official"]) }), ["use official"]);
    assert.deepEqual(ways({ local: new Set(["official"]), builtIsFresh: true }), ["use official"]);
    assert.deepEqual(ways({ builtIsFresh: true }), ["use built"]);
  });

  it("is the one that the user gave, or none", () => {
    assert.deepEqual(ways({ given: "mine", local: new Set(["official", "mine"]) }), ["use mine"]);
    assert.deepEqual(ways({ given: "mine", builtIsFresh: true }), ["pull mine"]);
    assert.deepEqual(ways({ given: "mine", unreachable: true }), []);
  });
});

describe("the servers", () => {
  it("are those that the packages name, each once", () => {
    const packages = [{ servers: ["redis"] }, undefined, { servers: ["postgres", "redis"] }, {}];
    assert.deepEqual(serversOf(packages.map((rollcall) => ({ manifest: { rollcall } }))), ["postgres", "redis"]);
    assert.deepEqual(serversOf([]), []);
  });
});
