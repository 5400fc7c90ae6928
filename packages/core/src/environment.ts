// The environment record: fixed once that the environment hashes with one pepper, and the resume hints of sources.

import { pepperCheck } from "./context-hash.js";
import type { Engine } from "./engine.js";
import { RollcallError } from "./errors.js";
import { updateEnvironment } from "./registry.js";
import type { Environment } from "./segment.js";

/**
 * Fixes the pepper of a new environment, or checks that this process has the same one.
 * @throws `pepper_mismatch`.
 */
export async function initializeEnvironment(engine: Engine): Promise<Environment> {
  const { store, options } = engine;
  const check = pepperCheck(options.pepper);
  return updateEnvironment(engine, (environment) => {
    if (environment.initialized) {
      requireSamePepper(environment, check, store.environment);
      return environment;
    }
    return {
      ...environment,
      initialized: true,
      ...(check === undefined ? {} : { pepperCheck: check }),
      ...(options.expectedContexts === undefined ? {} : { expectedContexts: options.expectedContexts }),
    };
  });
}

/** Checks the pepper and writes nothing. @throws `pepper_mismatch`. */
export async function checkEnvironment({ store, options, retrying }: Engine): Promise<void> {
  const environment = await retrying(() => store.getEnvironment());
  if (environment.initialized) requireSamePepper(environment, pepperCheck(options.pepper), store.environment);
}

/** @throws `pepper_mismatch` unless `check` is what the environment was made with. */
export function requireSamePepper(environment: Environment, check: string | undefined, name: string): void {
  if (environment.pepperCheck === check) return;
  const made =
    environment.pepperCheck === undefined
      ? "without a pepper"
      : check === undefined
        ? "with a pepper"
        : "with another pepper";
  const remedy = environment.pepperCheck === undefined ? "pass none" : "pass the pepper it was made with";
  throw new RollcallError("pepper_mismatch", `environment ${name} was made ${made}; ${remedy}`);
}

/** Keeps a resume hint. */
export async function setEnvironmentPosition(engine: Engine, source: string, position: string): Promise<void> {
  await updateEnvironment(engine, (environment) => ({
    ...environment,
    positions: withPosition(environment.positions, source, position),
  }));
}

/** A copy of `positions` in which `source` stands at `position`. */
export function withPosition(
  positions: readonly { source: string; position: string }[],
  source: string,
  position: string,
): { source: string; position: string }[] {
  return [...positions.filter((entry) => entry.source !== source), { source, position }];
}
