// A page of the documentation as the test sees it: its fences, and the remarks in comments that say how to treat them.

import { readFile } from "node:fs/promises";
import GithubSlugger from "github-slugger";
import { fromMarkdown } from "mdast-util-from-markdown";
import { toString as textOf } from "mdast-util-to-string";
import { visit } from "unist-util-visit";

/** A remark about a fence, an HTML comment above it. `CONTRIBUTING.md` explains them to authors. */
const REMARKS = ["not run", "compiled only", "continues", "run first"] as const;
type Remark = (typeof REMARKS)[number];

/** One fenced block. */
export interface Fence {
  /** Page and line, for messages. */
  readonly place: string;
  readonly line: number;
  readonly language: string;
  readonly text: string;
  /** What its remarks say: a reason, or shell commands. */
  readonly remarks: ReadonlyMap<Remark, string>;
}

/** What a page holds. */
export interface Page {
  readonly name: string;
  readonly fences: readonly Fence[];
  /** Links that are no web addresses: a path from the page, empty for the page itself, and perhaps a place there. */
  readonly links: readonly { readonly place: string; readonly path: string; readonly anchor: string | undefined }[];
  /** The places that a link can name. */
  readonly anchors: ReadonlySet<string>;
  /** Remarks that stand above no fence, or say nothing. */
  readonly faults: readonly string[];
}

/** Reads the page in `file`; `name` is what messages call it. */
export async function readPage(file: string, name: string): Promise<Page> {
  const fences: Fence[] = [];
  const links: { place: string; path: string; anchor: string | undefined }[] = [];
  const anchors = new Set<string>();
  const slugger = new GithubSlugger();
  const faults: string[] = [];
  visit(fromMarkdown(await readFile(file, "utf8")), (node, index, parent) => {
    const line = node.position?.start.line ?? 0;
    const place = `${name}:${line}`;
    if (node.type === "code") {
      const remarks = new Map<Remark, string>();
      for (let above = (index ?? 0) - 1; above >= 0; above--) {
        const remark = remarkOf(parent?.children[above]);
        if (remark === undefined) break;
        remarks.set(...remark);
      }
      for (const kind of ["not run", "compiled only", "run first"] as const)
        if (remarks.get(kind) === "") faults.push(`${place}: "${kind}" must be followed by a colon and a text`);
      fences.push({ place, line, language: (node.lang ?? "").toLowerCase(), text: node.value, remarks });
    } else if (remarkOf(node) !== undefined) {
      const next = parent?.children[(index ?? 0) + 1];
      if (next?.type !== "code" && remarkOf(next) === undefined) faults.push(`${place}: no fence follows this remark`);
    } else if (node.type === "link" && !/^[a-z]+:/.test(node.url)) {
      const [path = "", anchor] = node.url.split("#");
      links.push({ place, path: decodeURI(path), anchor });
    } else if (node.type === "heading") {
      anchors.add(slugger.slug(textOf(node)));
    }
  });
  return { name, fences, links, anchors, faults };
}

function remarkOf(node: { readonly type: string; readonly value?: string } | undefined): [Remark, string] | undefined {
  if (node?.type !== "html") return undefined;
  const [, comment = ""] = /^<!--([\s\S]*)-->$/.exec(node.value ?? "") ?? [];
  const kind = REMARKS.find((remark) => comment.trimStart().startsWith(remark));
  if (kind === undefined) return undefined;
  return [kind, comment.trim().slice(kind.length).replace(/^:/, "").trim()];
}
