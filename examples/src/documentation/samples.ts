// What is to be done with each fence of a page: a plan of steps that run in the order of the page, as a reader would go.

import type { Fence, Page } from "./page.js";

/** A program of the page, in one fence or in several that continue it. */
interface Sample {
  readonly place: string;
  readonly file: string;
  text: string;
}

/** One command as a console shows it, and what it prints. */
export interface ConsoleStep {
  readonly kind: "console";
  readonly place: string;
  readonly command: string;
  readonly output: string;
  /**
   * How the command must end. `badly`: what it prints begins with an error, as text or as JSON. `shown`: the page prints the
   * exit code (`…; echo $?`, or `echo $?` as the next command), so its output says it. `well`: any other.
   */
  readonly ends: "well" | "badly" | "shown";
}

/** One step of a page's plan. */
export type Step =
  /** Shell commands; the first that fails ends the page. */
  | { readonly kind: "shell"; readonly place: string; readonly text: string }
  | ConsoleStep
  | { readonly kind: "run"; readonly place: string; readonly sample: Sample }
  /** A file that the reader saves, for a later command. */
  | { readonly kind: "save"; readonly place: string; readonly sample: Sample };

/** What a page asks for. */
export interface Plan {
  readonly steps: readonly Step[];
  /** Programs to compile, whether they are run or not. */
  readonly samples: readonly Sample[];
  /** Fences that are neither run, compiled nor marked. */
  readonly faults: readonly string[];
}

/**
 * What reaches outside of the page's own folder: the network, other people's programs, the machine. A page may show such a
 * command, marked; the test never runs one.
 */
export const OUTSIDE_COMMANDS = [
  ...["npm", "npx", "pnpm", "pnpx", "yarn", "corepack", "git", "gh", "curl", "wget", "ssh", "docker", "podman"],
  ...["sudo", "brew", "apt", "apt-get", "systemctl", "crontab", "psql", "redis-cli", "aws"],
];

const SHOWN_ONLY = new Set(["text", "mermaid", "csv", "tsv"]);
const EXTENSIONS: ReadonlyMap<string, string> = new Map([
  ["ts", "ts"],
  ["typescript", "ts"],
  ["js", "mjs"],
  ["javascript", "mjs"],
]);

/** Makes the plan. */
export function planPage(page: Page): Plan {
  const steps: Step[] = [];
  const samples: Sample[] = [];
  const faults: string[] = [...page.faults];
  for (const fence of page.fences) {
    const { place, language, text, remarks } = fence;
    const first = remarks.get("run first");
    if (first !== undefined) steps.push({ kind: "shell", place, text: first });
    if (remarks.has("not run") || SHOWN_ONLY.has(language)) continue;
    const extension = EXTENSIONS.get(language);
    if (extension !== undefined) {
      const previous = samples.at(-1);
      if (remarks.has("continues")) {
        if (previous === undefined) faults.push(`${place}: continues no sample`);
        else previous.text += `\n${text}`;
        continue;
      }
      const sample = { place, file: fileOf(fence, extension), text };
      samples.push(sample);
      if (remarks.has("compiled only")) continue;
      steps.push({ kind: nameOf(fence) === undefined ? "run" : "save", place, sample });
    } else if (language === "sh") {
      steps.push({ kind: "shell", place, text });
    } else if (language === "console") {
      steps.push(...consoleSteps(fence, faults));
    } else if (language === "json") {
      if (!isJson(text)) faults.push(`${place}: is not JSON`);
    } else {
      const what = language === "" ? "a fence without a language" : `a fence of language ${language}`;
      faults.push(`${place}: ${what} is neither run nor marked; CONTRIBUTING.md says how`);
    }
  }
  for (const step of steps) {
    const commands = step.kind === "shell" ? step.text : step.kind === "console" ? step.command : "";
    for (const name of outsideCommands(commands))
      faults.push(
        `${step.place}: ${name} reaches outside, so the fence must be marked "not run"; CONTRIBUTING.md says how`,
      );
    if (step.kind !== "save") continue;
    const { file } = step.sample;
    const isUsed = steps.some(
      (other) =>
        (other.kind === "shell" && other.text.includes(runnable(file))) ||
        (other.kind === "console" && other.command.includes(runnable(file))),
    );
    if (!isUsed) faults.push(`${step.place}: ${file} is saved, and no later command uses it`);
  }
  return { steps, samples, faults };
}

function outsideCommands(text: string): string[] {
  return OUTSIDE_COMMANDS.filter((name) =>
    new RegExp(`(?:^|[\\s;|&(\`])${name}(?=\\s|$)`, "m").test(withoutRemarks(text)),
  );
}

/** Comments and quoted texts name commands without running them; what hides there meets the stand-ins of the session. */
function withoutRemarks(text: string): string {
  return text.replace(/'[^'\n]*'|"[^"\n]*"/g, "''").replace(/(^|\s)#.*$/gm, "$1");
}

/** The name of what runs: a TypeScript file is compiled first. */
export function runnable(file: string): string {
  return file.replace(/\.ts$/, ".js");
}

function fileOf(fence: Fence, extension: string): string {
  return nameOf(fence) ?? `line-${fence.line}.${extension}`;
}

/** A first line `// ask.mjs` names the file that the reader is to save. */
function nameOf({ text }: Fence): string | undefined {
  return /^\/\/ ([\w.-]+\.(?:ts|mjs|js))$/m.exec(text.split("\n", 1)[0] ?? "")?.[1];
}

function consoleSteps({ place, text }: Fence, faults: string[]): ConsoleStep[] {
  const steps: { command: string; output: string }[] = [];
  let isContinued = false;
  for (const line of text.split("\n")) {
    const current = steps.at(-1);
    if (line.startsWith("$ ")) steps.push({ command: line.slice(2), output: "" });
    else if (current === undefined) faults.push(`${place}: begins with output; a command begins with "$ "`);
    else if (isContinued) current.command += `\n${line}`;
    else current.output += `${line}\n`;
    isContinued = line.endsWith("\\");
  }
  return steps.map((step, index) => ({
    kind: "console",
    place,
    ...step,
    ends: endOf(step, steps[index + 1]?.command),
  }));
}

function endOf(step: { command: string; output: string }, next = ""): ConsoleStep["ends"] {
  if (/;\s*echo\b.*\$\?/.test(step.command) || /^echo\b.*\$\?/.test(next)) return "shown";
  return /^(?:error: |\{"error":)/.test(step.output) ? "badly" : "well";
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
