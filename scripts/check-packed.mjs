// Checks on what is published: each package is packed as a release would pack it, and the tarball is judged, not the
// folder. One adapter is then installed with core alone, outside the workspace, and used.

import { existsSync } from "node:fs";
import { copyFile, mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { npm, pnpm, root, run, workspacePackages } from "./workspace.mjs";

// Client libraries of every store there may be. The peers of all other packages are added to these.
const clientLibraries = [
  "lmdb",
  "ioredis",
  "redis",
  "pg",
  "postgres",
  "mysql2",
  "mongodb",
  "@aws-sdk/client-dynamodb",
  "@aws-sdk/lib-dynamodb",
];

/** Packs every published package and checks each tarball; resolves to the tarballs by package name. */
export async function checkPackedPackages(check) {
  const destination = join(root, "node_modules", ".cache", "packed");
  await rm(destination, { recursive: true, force: true });
  await mkdir(destination, { recursive: true });
  const tarballs = new Map();
  for (const { name, folder, manifest } of await workspacePackages()) {
    if (manifest.private) continue;
    let packed;
    await check(`packed: ${name} holds what it should`, async () => {
      const result = await pnpm(["--dir", folder, "pack", "--json", "--pack-destination", destination]);
      if (!result.ok) return result;
      packed = JSON.parse(result.stdout.slice(result.stdout.indexOf("{")));
      return checkContents(
        packed.files.map(({ path }) => path),
        folder,
        manifest,
      );
    });
    if (!packed) continue;
    tarballs.set(name, packed.filename);
    await check(`packed: ${name}, publint`, () => pnpm(["exec", "publint", "run", "--strict", packed.filename]));
    // A package that is only a command has no types to be wrong about.
    if (!exportsOf(manifest).some(({ types }) => types)) continue;
    await check(`packed: ${name}, arethetypeswrong`, async () => {
      const result = await pnpm(["exec", "attw", "--profile", "esm-only", "--no-definitely-typed", packed.filename]);
      // A package without any types passes by its exit code.
      return { ...result, ok: result.ok && !/does not contain types/i.test(result.output) };
    });
  }
  return tarballs;
}

/** What a package exports: for each path its file, and its types if it has any. */
function exportsOf(manifest) {
  return Object.values(manifest.exports ?? {}).map((entry) => (typeof entry === "string" ? { default: entry } : entry));
}

// A tarball has its entry points, README and licence, no test, no build state, and nothing whose source is gone.
function checkContents(files, folder, manifest) {
  const complaints = [];
  const entries = [
    ...exportsOf(manifest).flatMap((entry) => [entry.types, entry.default]),
    ...Object.values(manifest.bin ?? {}),
  ];
  for (const wanted of ["LICENSE", "README.md", "package.json", ...entries.filter(Boolean)]) {
    if (!files.includes(wanted.replace(/^\.\//, ""))) complaints.push(`${wanted} is missing`);
  }
  for (const file of files) {
    if (/\.(test|test-d)\.|\.tsbuildinfo$|^src\//.test(file)) complaints.push(`${file} does not belong in it`);
    const built = /^dist\/(.+)\.(?:js|d\.ts)$/.exec(file);
    if (built && !existsSync(join(folder, "src", `${built[1]}.ts`))) {
      complaints.push(`${file} has no source any more: delete dist and build again`);
    }
  }
  return { ok: complaints.length === 0, output: complaints.join("\n") };
}

/**
 * Installs the packed core and one packed adapter by npm in a folder of their own, asserts that no other package of
 * this workspace and no other store's client came along, and runs `scripts/packed/<adapter>.mjs` there.
 */
export async function checkInstalledAlone(tarballs, adapter) {
  // The command brings LMDB, and no other store.
  const wanted = ["@rollcall/core", `@rollcall/${adapter}`, ...(adapter === "lmdb" ? ["@rollcall/cli"] : [])];
  const missing = wanted.filter((name) => !tarballs.has(name));
  if (missing.length > 0) return { ok: false, output: `not packed: ${missing.join(", ")}` };
  const folder = await mkdtemp(join(tmpdir(), "rollcall-packed-"));
  try {
    await writeFile(join(folder, "package.json"), JSON.stringify({ name: "packed", private: true, type: "module" }));
    const env = outsideEnvironment();
    const installed = await npm(["install", "--no-audit", "--no-fund", ...wanted.map((name) => tarballs.get(name))], {
      cwd: folder,
      env,
    });
    if (!installed.ok) return installed;
    const strangers = await findStrangers(join(folder, "node_modules"), wanted, adapter);
    if (strangers.length > 0) return { ok: false, output: `also installed: ${strangers.join(", ")}` };
    await copyFile(join(root, "scripts", "packed", `${adapter}.mjs`), join(folder, "use.mjs"));
    await copyFile(join(root, "scripts", "packed", "refusal.mjs"), join(folder, "refusal.mjs"));
    const used = await run(process.execPath, ["use.mjs"], { cwd: folder, env });
    // A script that ends early, its promises never settled, exits 0 too; only its last line says that it got through.
    if (used.ok && used.stdout.trim().split("\n").at(-1) !== "used") {
      return { ok: false, output: `use.mjs ended before its last line:\n${used.output}` };
    }
    return used;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function findStrangers(modules, wanted, adapter) {
  const packages = await workspacePackages();
  const peersOf = (pkg) => Object.keys(pkg.manifest.peerDependencies ?? {});
  const own = new Set([...wanted, ...peersOf(packages.find(({ name }) => name === `@rollcall/${adapter}`))]);
  const clients = new Set([...clientLibraries, ...packages.flatMap(peersOf)]);
  return (await installedPackages(modules)).filter(
    (name) => !own.has(name) && (clients.has(name) || name.startsWith("@rollcall/")),
  );
}

async function installedPackages(modules) {
  const names = new Set();
  const visit = async (folder, scope) => {
    for (const entry of await readdir(folder)) {
      if (entry.startsWith(".")) continue;
      const path = join(folder, entry);
      if (entry.startsWith("@") && !scope) {
        await visit(path, `${entry}/`);
        continue;
      }
      names.add(`${scope}${entry}`);
      if (existsSync(join(path, "node_modules"))) await visit(join(path, "node_modules"), "");
    }
  };
  await visit(modules, "");
  return [...names];
}

// A package manager's settings for this workspace reach its scripts as variables; the folder outside must not see them.
function outsideEnvironment() {
  const kept = new Set(["npm_config_registry", "npm_config_cache", "npm_config_userconfig"]);
  return Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(npm|pnpm)_/i.test(name) || kept.has(name.toLowerCase())),
  );
}
