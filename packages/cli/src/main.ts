// The process around the command line: streams, signals, exit code.

import { runCli } from "./cli.js";
import { INTERRUPTING_SIGNALS, Interruption, interruptionExitCode } from "./interruption.js";

const controller = new AbortController();
for (const signal of INTERRUPTING_SIGNALS) {
  process.on(signal, () => {
    // The second one does not wait for an orderly end.
    if (controller.signal.aborted) process.exit(interruptionExitCode(new Interruption(signal)));
    controller.abort(new Interruption(signal));
  });
}

// A reader that went away (`rollcall … | head`) is no fault; the command learns of it when it writes.
process.stdout.on("error", ignoreBrokenPipe);
process.stderr.on("error", ignoreBrokenPipe);

process.exitCode = await runCli(process.argv.slice(2), {
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  env: process.env,
  signal: controller.signal,
});

function ignoreBrokenPipe(error: NodeJS.ErrnoException): void {
  if (error.code !== "EPIPE") throw error;
}
