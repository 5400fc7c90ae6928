// The images of the servers that tests run on: given by the user, present, pulled, or built from Debian's packages.
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { cp, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { planImage } from "./container-plan.mjs";
import { installPackages, isRootOnDebian } from "./engine.mjs";
import { root, run } from "./workspace.mjs";

/**
 * The servers there are: the official image of each, and the one that is built from `scripts/images/<server>` where that
 * cannot be had. The variable `ROLLCALL_<SERVER>_IMAGE` says which one the tests use.
 */
const servers = {
  dynamodb: {
    official: "amazon/dynamodb-local:latest",
    built: "rollcall/dynamodb:bookworm",
    // Debian has no package of it; this one of npm ships it as AWS does.
    npmPackage: "amplify-dynamodb-simulator@2.9.30",
  },
  pgbouncer: { official: "edoburu/pgbouncer:latest", built: "rollcall/pgbouncer:bookworm" },
  postgres: { official: "postgres:17-alpine", built: "rollcall/postgres:bookworm" },
  redis: { official: "redis:7-alpine", built: "rollcall/redis:bookworm" },
};

// Named here, so that the reaper looked for is the one that Testcontainers then starts.
const reaper = "testcontainers/ryuk:0.14.0";
const base = "rollcall/debian:bookworm";
const recipeLabel = "rollcall.recipe";
const silentPullMs = 60_000;

// Set by the first pull that finds no registry, so that the others do not wait for the same answer.
let unreachable = false;

/** Gets the image of a server and puts it, and what identifies its content, into the environment of the tests. */
export async function prepareImage(server, say) {
  const known = servers[server];
  if (!known) return { ok: false, output: `no image is known for a server called ${server}; see scripts/images.mjs` };
  const variable = `ROLLCALL_${server.toUpperCase()}_IMAGE`;
  const given = process.env[variable] || undefined;
  const recipe = await recipeHash(server);
  const ways = planImage({
    given,
    official: known.official,
    local: await localAmong([given, known.official]),
    built: known.built,
    builtIsFresh: (await inspect(known.built, `{{index .Config.Labels "${recipeLabel}"}}`)) === recipe,
    unreachable,
    canBeBuilt: isRootOnDebian() || (await inspect(base, "{{.Id}}")) !== undefined,
  });
  const complaints = [];
  for (const { by, image } of ways) {
    const got = await obtain[by]({ image, server, recipe, say });
    if (got.ok) {
      process.env[variable] = image;
      // A tag may be moved; turbo must not take the results of one image for those of another.
      process.env[`${variable}_ID`] = await inspect(image, "{{.Id}}");
      return { ok: true, image };
    }
    complaints.push(`${by} of ${image}: ${got.output.trim()}`);
  }
  const wanted = given ?? known.official;
  return {
    ok: false,
    output: [
      `The image ${wanted} is not here and cannot be had.`,
      ...complaints,
      `Connect to a registry, or set ${variable} to an image that is there, or run the tests without servers: npm run test:unit`,
    ].join("\n"),
  };
}

/** Has Testcontainers do without its reaper where that image cannot be had. Fixtures stop their containers anyway. */
export async function prepareReaper(say) {
  if (process.env.TESTCONTAINERS_RYUK_DISABLED) return;
  process.env.RYUK_CONTAINER_IMAGE ??= reaper;
  const image = process.env.RYUK_CONTAINER_IMAGE;
  if ((await inspect(image, "{{.Id}}")) || (!unreachable && (await pull(image, say)).ok)) return;
  process.env.TESTCONTAINERS_RYUK_DISABLED = "true";
}

const obtain = {
  use: async () => ({ ok: true }),
  pull: ({ image, say }) => pull(image, say),
  build: ({ image, server, recipe, say }) => build(image, server, recipe, say),
};

async function localAmong(images) {
  const present = await Promise.all(images.map(async (image) => image && (await inspect(image, "{{.Id}}")) && image));
  return new Set(present.filter(Boolean));
}

async function inspect(image, format) {
  const shown = await run("docker", ["image", "inspect", "--format", format, image]);
  return shown.ok ? shown.stdout.trim() : undefined;
}

// What a registry says means that there is one: an unknown name says nothing about other images.
const answered = /manifest unknown|not found|access denied|unauthorized|toomanyrequests|no matching manifest/i;

async function pull(image, say) {
  say(`pulling ${image}`);
  const child = spawn("docker", ["pull", image], { cwd: root, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  const giveUp = () => {
    output += `nothing came for ${silentPullMs / 1000} s`;
    child.kill();
  };
  let timer = setTimeout(giveUp, silentPullMs);
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text) => {
      output += text;
      clearTimeout(timer);
      timer = setTimeout(giveUp, silentPullMs);
    });
  }
  const [code] = await once(child, "close").finally(() => clearTimeout(timer));
  if (code !== 0 && !answered.test(output)) unreachable = true;
  return { ok: code === 0, output: output.trim().split("\n").at(-1) ?? "" };
}

async function build(image, server, recipe, say) {
  const based = await buildBase(say);
  if (!based.ok) return based;
  say(`building ${image}`);
  // Without a value, docker takes a variable from the environment; a proxy is not part of the image.
  const proxies = ["http_proxy", "https_proxy", "no_proxy"].filter((name) => process.env[name]);
  const context = await mkdtemp(join(tmpdir(), "rollcall-image-"));
  try {
    await cp(recipeFolder(server), context, { recursive: true });
    const { npmPackage } = servers[server];
    if (npmPackage) {
      const fetched = await unpack(npmPackage, context);
      if (!fetched.ok) return fetched;
    }
    return await run("docker", [
      "build",
      ...proxies.flatMap((name) => ["--build-arg", name]),
      ...["--label", `${recipeLabel}=${recipe}`, "--tag", image, context],
    ]);
  } finally {
    await rm(context, { recursive: true, force: true });
  }
}

// By npm on this machine, which knows the user's registry, into the folder `package`.
async function unpack(npmPackage, folder) {
  const packed = await run("npm", ["pack", "--silent", "--pack-destination", folder, npmPackage]);
  const file = packed.stdout.trim().split("\n").at(-1);
  return packed.ok ? run("tar", ["-C", folder, "-xzf", join(folder, file)]) : packed;
}

async function buildBase(say) {
  if (await inspect(base, "{{.Id}}")) return { ok: true };
  const installed = await installPackages(
    // Ubuntu's debootstrap does not bring the keys of Debian.
    { debootstrap: ["debootstrap", "debian-archive-keyring"] },
    say,
  );
  if (!installed.ok) return installed;
  say(`building ${base} from Debian's packages`);
  const folder = await mkdtemp(join(tmpdir(), "rollcall-debian-"));
  try {
    const made = await run("debootstrap", ["--variant=minbase", "bookworm", folder]);
    if (!made.ok) return { ok: false, output: made.output.trim().split("\n").slice(-15).join("\n") };
    return await importFolder(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function importFolder(folder) {
  const tar = spawn("tar", ["-C", folder, "-c", "."], { stdio: ["ignore", "pipe", "inherit"] });
  const docker = spawn("docker", ["import", "-", base], { stdio: ["pipe", "ignore", "pipe"] });
  let output = "";
  docker.stderr.setEncoding("utf8").on("data", (text) => {
    output += text;
  });
  const [[packed], [imported]] = await Promise.all([
    once(tar, "close"),
    once(docker, "close"),
    // Whichever program ends early, its exit code says more than the broken pipe between them.
    pipeline(tar.stdout, docker.stdin).catch(() => {}),
  ]);
  if (packed !== 0) return { ok: false, output: `tar exited with ${packed}` };
  return { ok: imported === 0, output };
}

function recipeFolder(server) {
  return join(root, "scripts", "images", server);
}

// A changed recipe gives another hash, and an image that bears the old one is built again.
async function recipeHash(server) {
  const hash = createHash("sha256").update(servers[server].npmPackage ?? "");
  const folder = recipeFolder(server);
  for (const entry of (await readdir(folder, { recursive: true, withFileTypes: true })).sort(byPath)) {
    if (!entry.isFile()) continue;
    hash.update(`${entry.name}\0`).update(await readFile(join(entry.parentPath ?? entry.path, entry.name)));
  }
  return hash.digest("hex").slice(0, 16);
}

function byPath(a, b) {
  const path = (entry) => join(entry.parentPath ?? entry.path, entry.name);
  return path(a) < path(b) ? -1 : 1;
}
