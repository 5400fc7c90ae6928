// What to do about containers, decided from facts alone: whose engine to use, and where an image is to come from.

/**
 * The engine to use, from: whether one `answers`; whether the user `chose` one (as `DOCKER_HOST`, or a context of the
 * client), and which; whether Docker `canBeInstalled` here by this script.
 */
export function planEngine({ answers, chosen, canBeInstalled }) {
  if (answers) return { use: "running" };
  // Whoever names an engine means that one; another one would test something else.
  if (chosen) return { use: "none", because: `no container engine answers at ${chosen}` };
  if (canBeInstalled) return { use: "started" };
  return { use: "none", because: "no container engine answers" };
}

/**
 * Ways to get an image, in the order in which to try them, from: the image `given` by the user, if any; the `official`
 * one; which images are `local`; the one `built` here earlier, and whether that is of today's recipe (`builtIsFresh`);
 * whether a registry was found `unreachable` before; whether images `canBeBuilt` here.
 */
export function planImage({ given, official, local, built, builtIsFresh, unreachable, canBeBuilt }) {
  // Whoever names an image means that one, so nothing stands in for it.
  const wanted = given ?? official;
  if (local.has(wanted)) return [{ by: "use", image: wanted }];
  if (!given && builtIsFresh) return [{ by: "use", image: built }];
  const ways = [];
  if (!unreachable) ways.push({ by: "pull", image: wanted });
  if (!given && canBeBuilt) ways.push({ by: "build", image: built });
  return ways;
}

/** The servers that the tests of these packages want, as their manifests say: `"rollcall": { "servers": ["redis"] }`. */
export function serversOf(packages) {
  return [...new Set(packages.flatMap(({ manifest }) => manifest.rollcall?.servers ?? []))].sort();
}
