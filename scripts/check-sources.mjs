// Checks on the text of the repository itself.
import { existsSync, readFileSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { basename, join, relative } from "node:path";
import { root, run, workspacePackages } from "./workspace.mjs";

/** Every published package carries the root's licence, byte for byte, and says so in its manifest. */
export async function checkLicenses() {
  const license = readFileSync(join(root, "LICENSE"));
  const complaints = [];
  for (const { name, folder, manifest } of await workspacePackages()) {
    if (manifest.license !== "Apache-2.0") complaints.push(`${name}: the manifest's license is ${manifest.license}`);
    if (manifest.private) continue;
    const own = join(folder, "LICENSE");
    if (!existsSync(own)) complaints.push(`${name}: has no LICENSE`);
    else if (!readFileSync(own).equals(license)) complaints.push(`${name}: its LICENSE differs from the root's`);
  }
  return { ok: complaints.length === 0, output: complaints.join("\n") };
}

// Fixed patterns: what a file may hold does not depend on where it is checked.
const traces = [
  { what: "a registry host", pattern: /\bregistry\.[a-z0-9-]+\.[a-z]{2,}/i },
  { what: "a registry's address", pattern: /\bregistry["']?\s*[=:]\s*["']?https?:\/\/\S+/i },
  {
    what: "somebody's home folder",
    pattern: /(?:(?<![\w./~-])|(?<=file:\/\/))\/(?:root|(?:home|Users)\/\w[\w.-]*)(?=[/\s"'`),:;]|$)/m,
  },
  { what: "somebody's home folder", pattern: /\b[a-z]:\\+Users\\+\w[\w.-]*/i },
  { what: "an address in a lock file", pattern: /\bhttps?:\/\/\S+/i, only: isLockFile },
];

function isLockFile(file) {
  return ["pnpm-lock.yaml", "package-lock.json", "npm-shrinkwrap.json", "yarn.lock"].includes(basename(file));
}

/** No file names a package registry or somebody's home folder, and no lock file names where a package came from. */
export async function checkTraces() {
  const complaints = [];
  for (const file of await sourceFiles()) {
    const text = readFileSync(file, "utf8");
    if (text.includes("\0")) continue;
    for (const { what, pattern, only } of traces) {
      if (only && !only(file)) continue;
      const match = pattern.exec(text);
      if (!match) continue;
      const line = text.slice(0, match.index).split("\n").length;
      complaints.push(`${relative(root, file)}:${line} holds ${what}: ${match[0]}`);
    }
  }
  return { ok: complaints.length === 0, output: complaints.join("\n") };
}

const generated = new Set([
  ".git",
  "node_modules",
  "dist",
  ".tsbuild",
  ".results",
  ".turbo",
  "coverage",
  ".quickstart",
]);

// What git tracks or would track. A copy without its .git folder has no such list, so there everything counts that is
// not generated.
async function sourceFiles() {
  if (existsSync(join(root, ".git"))) {
    const listed = await run("git", ["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).catch(
      () => undefined,
    );
    if (listed?.ok) {
      return listed.stdout
        .split("\0")
        .filter(Boolean)
        .map((file) => join(root, file))
        .filter((file) => existsSync(file));
    }
  }
  const files = [];
  const walk = async (folder) => {
    for (const entry of await readdir(folder, { withFileTypes: true })) {
      const path = join(folder, entry.name);
      if (entry.isDirectory() && !generated.has(entry.name)) await walk(path);
      else if (entry.isFile()) files.push(path);
    }
  };
  await walk(root);
  return files;
}
