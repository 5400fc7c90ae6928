// rollcall init: makes a store and its environment, and fixes the environment's pepper.

import type { Command } from "commander";
import { chooseStore, type GlobalFlags, LOCAL_STORE, type StoreChoice, showUrl } from "../global-options.js";
import { examples } from "../help.js";
import { parsePositiveInteger } from "../quantity.js";
import { type Run, type Session, startSession, withRollcall } from "../session.js";
import { fields } from "../terminal.js";

export function addInit(program: Command, run: Run): void {
  const command = program
    .command("init")
    .description(
      "Make a store and an environment in it; without --store and ROLLCALL_STORE, a folder ./rollcall-data here.",
    )
    .option(
      "--expected-contexts <number>",
      "how many contexts the environment is going to hold in all",
      parsePositiveInteger,
    )
    .action((flags: { expectedContexts?: number }, self: Command) =>
      init(startSession(run, self), flags.expectedContexts),
    );
  examples(command, [
    ["rollcall init", "a folder ./rollcall-data, which the other commands find"],
    ["rollcall init --store lmdb:/var/lib/rollcall --environment production", "a folder of your choice"],
    ["rollcall init --pepper-file pepper.txt", "hash with a pepper, from the first sync on"],
  ]);
}

async function init(session: Session, expectedContexts: number | undefined): Promise<void> {
  const choice = storeToMake(session.flags, session.run.env);
  await withRollcall(
    session,
    async (rollcall) => {
      const environment = await rollcall.initialize();
      const answer = {
        store: showUrl(choice.url),
        environment: session.environment,
        id: environment.id,
        peppered: environment.pepperCheck !== undefined,
        ...(environment.expectedContexts === undefined ? {} : { expectedContexts: environment.expectedContexts }),
      };
      session.terminal.answer(answer, () =>
        fields(
          [
            ["store", answer.store],
            ["environment", answer.environment],
            [
              "pepper",
              answer.peppered
                ? "yes; every reader and writer needs it"
                : "none; hashes of guessable keys can be guessed",
            ],
          ],
          session.terminal.colors,
        ),
      );
    },
    { choice, expectedContexts },
  );
}

function storeToMake(flags: GlobalFlags, env: NodeJS.ProcessEnv): StoreChoice {
  if (flags.store === undefined && !env.ROLLCALL_STORE) return { url: LOCAL_STORE, chosenBy: "flag" };
  return chooseStore(flags, env);
}
