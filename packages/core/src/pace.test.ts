import { expect, it } from "vitest";
import { systemClock } from "./clock.js";
import { createPace } from "./pace.js";

const refusal = new Error("too fast");

function newPace(most: number) {
  const pauses: number[] = [];
  const clock = { ...systemClock, sleep: async (ms: number) => void pauses.push(ms) };
  const isRefusedForLoad = (error: unknown) => error === refusal;
  return { pauses, pace: createPace({ most, isRefusedForLoad, clock, random: () => 1 }) };
}

it("never has more under way than the most", async () => {
  const { pace } = newPace(8);
  let [now, peak] = [0, 0];
  const request = async () => {
    peak = Math.max(peak, ++now);
    await new Promise(setImmediate);
    now--;
  };
  await Promise.all(Array.from({ length: 500 }, () => pace.run(request)));
  expect(peak).toBe(8);
});

it("halves on a refusal, grows on success, and sends again what was refused", async () => {
  const { pace, pauses } = newPace(32);
  let refusals = 3;
  const answer = await pace.run(async () => {
    if (refusals-- > 0) throw refusal;
    return "done";
  });
  expect(answer).toBe("done");
  expect(pauses).toEqual([50, 100, 200]);
  expect(pace.limit).toBe(2);
  for (let times = 0; times < 2_000; times++) await pace.run(async () => {});
  expect(pace.limit).toBe(32);
});

it("gives up after so many attempts, and repeats nothing else", async () => {
  const { pace, pauses } = newPace(4);
  await expect(pace.run(() => Promise.reject(refusal))).rejects.toBe(refusal);
  expect(pauses).toHaveLength(7);
  const other = new Error("who knows whether it was done");
  await expect(pace.run(() => Promise.reject(other))).rejects.toBe(other);
  expect(pauses).toHaveLength(7);
});
