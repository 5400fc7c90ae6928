// Context keys as the world has them: hostile, almost alike, hashed by the sender, peppered; and none of them kept.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { contextHash } from "@rollcall/core";
import { AUDIENCE, expectCounts, expectMembers, isStored, people, registryOf } from "../audience.js";
import { type Check, rejectsWith } from "../check.js";
import { hexOf, scanned } from "../samples.js";

const COMPOSED = "caf\u00e9";
const DECOMPOSED = "cafe\u0301";
const HOSTILE = [
  "__proto__",
  "constructor",
  "toString",
  "hasOwnProperty",
  "\u0000",
  "a\u0000",
  "a\u0000b",
  "a",
  "A",
  " a",
  "a ",
  "\n",
  "'; DROP TABLE members; --",
  "{user}",
  "a:b",
  "a/b",
  "a|b",
  "undefined",
  "null",
  "NaN",
  "true",
  COMPOSED,
  DECOMPOSED,
  "\ufeffa",
  "\u{1f600}",
  "\u{1f600}\u200d",
  "0",
  "00",
  "1",
  "1.0",
  "x".repeat(1_024),
  "é".repeat(512),
];

const sha256 = (key: string, encoding: "hex" | "base64" | "base64url") =>
  createHash("sha256").update(key).digest(encoding);

export const keyChecks: readonly Check[] = [
  {
    name: "hostile keys are members like any other, and each is its own",
    promise: "member",
    async run(t) {
      const rollcall = await t.rollcall();
      const reader = await t.reader();
      const report = await rollcall.replace(AUDIENCE, { included: HOSTILE });
      assert.deepEqual([report.duplicates, report.rejected.count], [0, 0]);
      await expectMembers(reader, AUDIENCE, HOSTILE, HOSTILE);
      await expectCounts(rollcall, { included: HOSTILE.length });
      // One by one they go again, and none takes another with it.
      const half = HOSTILE.filter((_, i) => i % 2 === 0);
      await rollcall.merge(AUDIENCE, { remove: half });
      await expectMembers(
        reader,
        AUDIENCE,
        HOSTILE,
        HOSTILE.filter((_, i) => i % 2 === 1),
      );
    },
  },
  {
    name: "what cannot be a member is reported by position, and keeps nobody out",
    promise: "member",
    async run(t) {
      const rollcall = await t.rollcall();
      const members: unknown[] = [
        "person-0",
        "",
        "\ud800",
        "lone \udc00 inside",
        "x".repeat(1_025),
        "é".repeat(513),
        null,
        undefined,
        1.5,
        Number.NaN,
        2 ** 53,
        {},
        ["person-9"],
        true,
        "person-1",
      ];
      const reasons = [
        "empty",
        "not_well_formed",
        "not_well_formed",
        "too_long",
        "too_long",
        ...Array(8).fill("not_string_or_integer"),
      ];
      const listed = reasons.map((reason, i) => ({ position: i + 1, reason }));
      for (const attempt of ["merge", "replace"] as const) {
        const report =
          attempt === "merge"
            ? await rollcall.merge(AUDIENCE, { add: members as string[] })
            : await rollcall.replace(AUDIENCE, { included: members as string[] });
        assert.equal(report.received, members.length);
        assert.deepEqual(report.rejected, { count: listed.length, listed });
      }
      await expectMembers(await t.reader(), AUDIENCE, people(0, 10), people(0, 2));
      const many = await rollcall.merge(AUDIENCE, { add: Array(250).fill("") });
      assert.equal(many.rejected.count, 250);
      assert.equal(many.rejected.listed.length, 100);
    },
  },
  {
    name: "an integer is the member of its digits",
    promise: "member",
    async run(t) {
      const rollcall = await t.rollcall();
      const report = await rollcall.replace(AUDIENCE, { included: [1, "1", 1n, -0, "0", 2n ** 53n, -7] });
      assert.equal(report.duplicates, 3);
      const universe = ["1", "0", "-0", "9007199254740992", "-7", "7", "1.0", "01"];
      await expectMembers(await t.reader(), AUDIENCE, universe, ["1", "0", "9007199254740992", "-7"]);
      await rollcall.merge(AUDIENCE, { remove: [1n, "-7"] });
      await expectMembers(await t.reader(), AUDIENCE, universe, ["0", "9007199254740992"]);
    },
  },
  {
    name: "digests in hex and base64 are the members of their keys",
    promise: "member",
    async run(t) {
      const rollcall = await t.rollcall();
      const reader = await t.reader();
      const digests = [
        sha256("person-0", "hex"),
        sha256("person-1", "hex").toUpperCase(),
        sha256("person-2", "base64"),
        sha256("person-3", "base64url"),
        sha256(COMPOSED, "hex"),
      ];
      await rollcall.replace(AUDIENCE, { included: digests }, { memberFormat: "sha256" });
      const expected = [...people(0, 4), COMPOSED];
      await expectMembers(reader, AUDIENCE, [...people(0, 9), COMPOSED, DECOMPOSED], expected);
      await rollcall.merge(AUDIENCE, { add: [...people(0, 5)] });
      await expectCounts(rollcall, { included: 6 });
      const report = await rollcall.merge(
        AUDIENCE,
        { remove: ["person-0", "00", sha256("person-4", "hex").slice(1), 5, sha256("person-4", "hex")] },
        { memberFormat: "sha256" },
      );
      assert.deepEqual(
        report.rejected.listed,
        [0, 1, 2, 3].map((position) => ({ position, reason: "not_a_digest" })),
      );
      await expectMembers(reader, AUDIENCE, [...people(0, 9), COMPOSED], expected);
    },
  },
  {
    name: "a pepper makes other hashes, and is fixed by the first sync",
    promise: "secrecy",
    async run(t) {
      const store = await t.open();
      const pepper = "correct horse battery staple";
      const rollcall = await t.rollcall(store, { pepper });
      await rollcall.replace(AUDIENCE, { included: people(0, 20) });
      await rollcall.merge(AUDIENCE, { add: [sha256("person-20", "base64")] }, { memberFormat: "sha256" });
      const reader = await t.reader(store, { pepper });
      await expectMembers(reader, AUDIENCE, people(0, 30), people(0, 21));
      for (const key of people(0, 21)) assert.equal(await isStored(store, key), false);
      const set = (await rollcall.getSegment(AUDIENCE))?.included.set;
      assert.ok(set !== undefined);
      const peppered = contextHash("person-3", pepper);
      assert.ok(peppered !== undefined && (await scanned(store, set)).includes(hexOf(peppered).join()));
      for (const wrong of [undefined, "another"]) {
        const stranger = await t.rollcall(await t.open(), { pepper: wrong });
        await rejectsWith(stranger.merge(AUDIENCE, { add: people(30, 40) }), "pepper_mismatch");
        await rejectsWith(stranger.replace(AUDIENCE, { included: people(30, 70) }), "pepper_mismatch");
        await rejectsWith((await t.reader(store, { pepper: wrong })).refresh(), "pepper_mismatch");
      }
      await expectMembers(reader, AUDIENCE, people(0, 60), people(0, 21));
      const plain = await t.open("plain");
      await (await t.rollcall(plain)).merge(AUDIENCE, { add: people(0, 5) });
      await rejectsWith(
        (await t.rollcall(plain, { pepper })).merge(AUDIENCE, { add: people(0, 5) }),
        "pepper_mismatch",
      );
    },
  },
  {
    name: "no key shows in a record, a report, a warning or an error",
    promise: "secrecy",
    async run(t) {
      const store = await t.open();
      const marker = "marker-7c1f";
      const keys = people(0, 60).map((key) => `${marker}-${key}`);
      const said: unknown[] = [];
      const warnings: Error[] = [];
      const onWarning = (warning: Error) => warnings.push(warning);
      const rollcall = await t.rollcall(store, { onWarning });
      const reader = await t.reader(store, { onError: "throw" });
      const say = async (call: Promise<unknown>) => {
        said.push(await call.catch((error) => error));
      };
      await say(
        rollcall.replace(AUDIENCE, { included: [...keys, `${marker}\ud800`, `${marker}${"x".repeat(1_025)}`] }),
      );
      await say(rollcall.merge(AUDIENCE, { add: keys, remove: keys.slice(0, 3) }, { syncId: "sync-1" }));
      await say(rollcall.merge(AUDIENCE, { add: keys }, { memberFormat: "sha256" }));
      await say(rollcall.merge(AUDIENCE, { add: keys }, { contextKind: "device" }));
      await say(rollcall.replace(AUDIENCE, { included: keys.slice(0, 1) }));
      await say(rollcall.merge(AUDIENCE, { add: marker as never }));
      await say(rollcall.merge(AUDIENCE, { add: [{ key: marker } as never] }));
      await say(reader.isMember(AUDIENCE, { kind: "user", key: `${marker}-person-9` }));
      store.plan({ kind: "refuse", at: 1, method: "findMemberSets" });
      await say(reader.isMember(AUDIENCE, { kind: "user", key: `${marker}-other` }));
      await say(reader.isMember(AUDIENCE, { kind: "user", key: `${marker}\ud800` }));
      await say(rollcall.forget({ kind: "user", key: `${marker}-person-5` }));
      await say(rollcall.forget({ kind: "user", key: `${marker}\ud800` }));
      await say(rollcall.verify());
      // It cannot give back its lease either.
      const dying = await t.open();
      dying.plan({ kind: "crash", at: 1, method: "writeBlocks" });
      await say((await t.rollcall(dying, { onWarning })).merge(AUDIENCE, { add: keys.slice(0, 9) }));
      assert.ok(warnings.length > 0, "a warning was heard");
      said.push(warnings, await registryOf(store), await rollcall.getHistory(AUDIENCE), reader.stats());
      const spoken = textOf(said);
      assert.ok(spoken.includes("context_kind_mismatch") && spoken.includes("shrink_guard"), "the errors were heard");
      assert.ok(!spoken.includes(marker), "the marker is nowhere");
      assert.ok(!spoken.includes(Buffer.from(marker).toString("base64").slice(0, 12)), "nor as base64");
      assert.ok(!spoken.includes(Buffer.from(marker).toString("hex")), "nor as hex");
    },
  },
];

/** Everything that a log would show of these values: errors with message, stack and cause. */
function textOf(value: unknown): string {
  return JSON.stringify(value, (_, item: unknown) => {
    if (item instanceof Error) return { ...item, message: item.message, stack: item.stack, cause: item.cause };
    if (item instanceof Map) return [...item];
    return typeof item === "bigint" ? String(item) : item;
  });
}
