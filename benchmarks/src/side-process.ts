// The process that runs one side of a benchmark and answers its result.

import { loadBenchmark } from "./catalogue.js";
import type { SideReply, SideRequest } from "./side-runner.js";

process.once("message", async (request: SideRequest) => {
  const benchmark = await loadBenchmark(request.benchmark);
  const side = benchmark?.sides[request.side] as ((input: unknown) => Promise<unknown>) | undefined;
  let reply: SideReply;
  try {
    if (side === undefined) throw new Error("unknown side");
    reply = { result: await side(request.input) };
  } catch (error) {
    reply = { error: error instanceof Error ? (error.stack ?? error.message) : String(error) };
  }
  process.send?.(reply);
});
