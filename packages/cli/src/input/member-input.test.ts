import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough, Readable } from "node:stream";
import { gzipSync } from "node:zlib";
import { isRollcallError, type Member } from "@rollcall/core";
import { afterAll, describe, expect, it } from "vitest";
import type { FormatOptions } from "./format.js";
import { openMemberInput } from "./member-input.js";

const folder = mkdtempSync(join(tmpdir(), "rollcall-input-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function file(name: string, contents: string | Buffer): string {
  const path = join(folder, name);
  writeFileSync(path, contents);
  return path;
}

async function read(files: readonly string[], options: FormatOptions = {}, stdin: Readable = Readable.from([])) {
  const input = await openMemberInput(files, { stdin, ...options });
  const members: Member[] = [];
  for await (const batch of input.members()) members.push(...batch);
  const lines = members.map((_member, position) => input.find(position)?.line);
  return { members, lines, unusable: input.unusable, emptyLines: input.emptyLines, input };
}

async function changesOf(path: string, options: FormatOptions) {
  const input = await openMemberInput([path], { stdin: Readable.from([]), ...options });
  const changes: string[] = [];
  for await (const batch of input.changes()) {
    for (const { member, change } of batch) changes.push(`${change} ${member}`);
  }
  return { changes, unusable: input.unusable };
}

async function refusal(files: readonly string[], options: FormatOptions = {}): Promise<string> {
  const error = await read(files, options).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!isRollcallError(error, "invalid_request")) throw new Error(`not refused: ${String(error)}`);
  return error.message.replaceAll(folder, "");
}

describe("plain lines", () => {
  it("are members as they stand, without line ends, byte order mark and empty lines", async () => {
    const path = file("mixed.txt", "\ufeffa\r\nb\n\n c \n\r\nü");
    const { members, lines, emptyLines } = await read([path]);
    expect(members).toEqual(["a", "b", " c ", "ü"]);
    expect(lines).toEqual([1, 2, 4, 6]);
    expect(emptyLines).toBe(2);
  });

  it("are read from several files and standard input in order, each with its own lines", async () => {
    const stdin = new PassThrough();
    stdin.end("x\ny");
    const { members, input } = await read([file("one.txt", "a\nb\n"), "-", file("two.txt", "c")], {}, stdin);
    expect(members).toEqual(["a", "b", "x", "y", "c"]);
    expect(input.find(3)).toEqual({ file: "stdin", line: 2 });
    expect(input.find(4)).toEqual({ file: join(folder, "two.txt"), line: 1 });
    expect(input.find(5)).toBeUndefined();
  });

  it("survive any cut into chunks, also within a character", async () => {
    const bytes = Buffer.from("ünï\nçödé\r\n\n日本\n");
    for (let size = 1; size < bytes.length; size++) {
      const chunks: Buffer[] = [];
      for (let at = 0; at < bytes.length; at += size) chunks.push(bytes.subarray(at, at + size));
      const { members, lines } = await read(["-"], {}, Readable.from(chunks));
      expect(members).toEqual(["ünï", "çödé", "日本"]);
      expect(lines).toEqual([1, 2, 4]);
    }
  });

  it("need not fit one chunk", async () => {
    const long = "k".repeat(300_000);
    const { members } = await read([file("long.txt", `${long}\nb\n`)]);
    expect(members).toEqual([long, "b"]);
  });

  it("that never end are refused instead of filling the memory", async () => {
    const path = file("endless.txt", Buffer.alloc(17 * 1024 * 1024, "a"));
    expect(await refusal([path])).toContain("/endless.txt line 1: ");
  });

  it("name the line that is not UTF-8", async () => {
    const bytes = Buffer.concat([Buffer.from("a\nb\n"), Buffer.from([0xc3, 0x28]), Buffer.from("\nd\n")]);
    expect(await refusal([file("latin.txt", bytes)])).toContain("/latin.txt line 3: is not UTF-8");
    expect(await refusal([file("cut.txt", Buffer.from([0x61, 0x0a, 0xe6, 0x97]))])).toContain("line 2");
    expect(await refusal([file("wide.txt", Buffer.from("\ufeffa\nb", "utf16le"))])).toContain("UTF-16");
  });

  it("name the right line far into a file", async () => {
    const before = "some-member-key\n".repeat(50_000);
    const path = file("late.txt", Buffer.concat([Buffer.from(before), Buffer.from([0xff, 0x0a])]));
    expect(await refusal([path])).toContain("/late.txt line 50001: ");
  });
});

describe("gzip", () => {
  const text = Array.from({ length: 20_000 }, (_, index) => `user-${index}\n`).join("");
  const packed = gzipSync(text);

  it("is recognised by its first bytes, whatever the name", async () => {
    const { members } = await read([file("packed.txt", packed), file("plain.txt.gz", "a\nb\n")]);
    expect(members.length).toBe(20_002);
  });

  it("keeps the format of the name under .gz, from a pipe too, in one-byte chunks too", async () => {
    expect((await read([file("a.csv.gz", gzipSync("id,x\n1,2\n"))], { column: "id" })).members).toEqual(["1"]);
    const chunks = [...gzipSync("a\nb\n")].map((byte) => Buffer.from([byte]));
    expect((await read(["-"], {}, Readable.from(chunks))).members).toEqual(["a", "b"]);
  });

  it("may consist of several members, and be padded with zeros", async () => {
    const path = file("two.gz", Buffer.concat([gzipSync("a\n"), gzipSync("b\n"), Buffer.alloc(512)]));
    expect((await read([path])).members).toEqual(["a", "b"]);
  });

  it("is refused when cut off or damaged, at any place", async () => {
    for (const length of [0, 1, 2, 9, 20, packed.length >> 1, packed.length - 9, packed.length - 1]) {
      const message = await refusal([file("cut.gz", packed.subarray(0, length))]);
      expect(message, `${length} bytes`).toMatch(/cut off|not a complete gzip/);
    }
    for (const at of [packed.length >> 1, packed.length - 7, packed.length - 2]) {
      const damaged = Buffer.from(packed);
      damaged.writeUInt8(damaged.readUInt8(at) ^ 0x55, at);
      expect(await refusal([file("damaged.gz", damaged)]), `byte ${at}`).toContain("damaged");
    }
  });

  it("is refused when a second member has lost its first byte, which Node passes over", async () => {
    const second = Buffer.from(packed);
    second[0] = 0;
    expect(await refusal([file("second.gz", Buffer.concat([packed, second]))])).toContain("damaged");
  });
});

describe("CSV", () => {
  it("takes a column by name or number, quoted or not, over CRLF and LF", async () => {
    const text = '\ufeffid,"the name",n\r\n"a","x, ""y""",1\nb,"two\r\nlines",2\r\n"c\nd",z,3\n';
    const path = file("quoted.csv", text);
    for (const column of ["id", "1"]) {
      const { members, lines } = await read([path], { column });
      expect(members).toEqual(["a", "b", "c\nd"]);
      expect(lines).toEqual([2, 3, 5]);
    }
    expect((await read([path], { column: "the name" })).members).toEqual(['x, "y"', "two\r\nlines", "z"]);
  });

  it("needs no --column where there is only one, and none is a name without a header", async () => {
    expect((await read([file("single.csv", "id\na\n\nb\n")])).members).toEqual(["a", "b"]);
    expect((await read([file("bare.csv", "a,1\nb,2\n")], { column: "1", header: "absent" })).members).toEqual([
      "a",
      "b",
    ]);
    expect(await refusal([file("bare2.csv", "a,1\nb,2\n")], { column: "a", header: "absent" })).toContain(
      "has 2 columns",
    );
  });

  it("lists the columns when one is unknown, and hides what looks like a key", async () => {
    const path = file("columns.csv", "user_id,eMail,p1@example.com,4711,deadbeef99\n");
    const message = await refusal([path], { column: "id" });
    expect(message).toContain("user_id, eMail, (column 3), (column 4), (column 5)");
    expect(await refusal([path])).toContain("--column");
    expect(await refusal([file("semi.csv", "a;b\n1;2\n")], { column: "b" })).toContain("--delimiter");
  });

  it.each([";", "\t", "|"])(
    "asks what separates columns where the name of the only one holds %j",
    async (delimiter) => {
      const path = file("one.csv", `id${delimiter}plan\n1${delimiter}pro\n`);
      expect(await refusal([path], {})).toMatch(/--delimiter.*--column.*--no-header/);
      expect((await read([path], { delimiter, column: "id" })).members).toEqual(["1"]);
      // Who names it means it.
      expect((await read([path], { column: `id${delimiter}plan` })).members).toEqual([`1${delimiter}pro`]);
      // A key may hold anything.
      expect((await read([path], { header: "absent" })).members).toEqual([`id${delimiter}plan`, `1${delimiter}pro`]);
    },
  );

  it("takes another delimiter, and tabs from .tsv", async () => {
    expect((await read([file("semi2.csv", "a;b\n1;2\n")], { column: "b", delimiter: ";" })).members).toEqual(["2"]);
    expect((await read([file("x.tsv", "a\tb\n1,5\t2\n")], { column: "a" })).members).toEqual(["1,5"]);
  });

  it("refuses a delimiter that cannot be one", async () => {
    const path = file("delimited.csv", "a,b\n1,2\n");
    for (const delimiter of ["", '"', "\n", ",\r"]) {
      expect(await refusal([path], { column: "a", delimiter })).toContain("--delimiter");
    }
    expect((await read([path], { column: "1", delimiter: "||" })).members).toEqual(["1,2"]);
  });

  it("leaves out rows without the column or with more fields than the header, with their lines", async () => {
    const path = file("ragged.csv", "n,id\n1,a\n2\n3,c,\n4,d,x\n5,e\n");
    const { members, unusable } = await read([path], { column: "id" });
    expect(members).toEqual(["a", "c", "e"]);
    expect(unusable).toEqual({
      count: 2,
      listed: [
        { file: path, line: 3, reason: "missing_member" },
        { file: path, line: 5, reason: "too_many_fields" },
      ],
    });
  });

  it("reads operations, and leaves out others", async () => {
    const path = file("ops.csv", "id,op\na,add\nb,REMOVE\nc,-\nd,+\ne,what\nf\ng, delete \n");
    const { changes, unusable } = await changesOf(path, { column: "id", opColumn: "op" });
    expect(changes).toEqual(["add a", "remove b", "remove c", "add d", "remove g"]);
    expect(unusable.listed.map(({ line, reason }) => `${line} ${reason}`)).toEqual([
      "6 unknown_operation",
      "7 unknown_operation",
    ]);
  });

  it("refuses quotes that do not match, with the line, in short files and in long ones", async () => {
    expect(await refusal([file("open.csv", 'id,x\na,1\n"b,2\nc,3\n')], { column: "id" })).toContain(
      "/open.csv line 3: ",
    );
    expect(await refusal([file("after.csv", 'id,x\n"a"b,1\nc,2\n')], { column: "id" })).toContain(
      "/after.csv line 2: ",
    );
    const rows = "some-member-key,1\n".repeat(1_200_000);
    const path = file("openlong.csv", `id,x\na,1\n"b,2\n${rows}`);
    expect(await refusal([path], { column: "id" })).toContain("/openlong.csv line 3: ");
  });

  it("of no bytes, or of a header alone, holds no members", async () => {
    expect((await read([file("empty.csv", "")], { column: "id" })).members).toEqual([]);
    expect((await read([file("header.csv", "id,x\n")], { column: "id" })).members).toEqual([]);
  });

  it("reads the parts without quotes exactly as the parser reads them", async () => {
    const cells = ["", "a", "b c", "é", "x".repeat(20), "-", "add", "remove"];
    for (let round = 0; round < 200; round++) {
      const pick = (bound: number, salt: number) => (round * 7919 + salt * 104_729 + ((salt * salt) % 31)) % bound;
      const body = Array.from({ length: 20 }, (_, line) => {
        const fields = Array.from(
          { length: pick(5, line) },
          (_field, index) => cells[pick(cells.length, line * 5 + index)],
        );
        return `${fields.join(",")}${pick(3, line) === 0 ? "\r\n" : "\n"}`;
      }).join("");
      const column = String(1 + (round % 3));
      const options: FormatOptions = { format: "csv", column, opColumn: "2" };
      // As one chunk everything goes through the parser; the header in a chunk of its own leaves the rest to the short way.
      const whole = await read(["-"], options, Readable.from([Buffer.from(`p,q,r\n${body}`)]));
      const cut = await read(["-"], options, Readable.from([Buffer.from("p,q,r\n"), Buffer.from(body)]));
      expect({ ...cut, input: 0 }, body).toEqual({ ...whole, input: 0 });
    }
  });
});

describe("NDJSON", () => {
  it("takes what the pointer names, strings and integers", async () => {
    const path = file("a.ndjson", '{"u":{"id":"a"}}\n{"u":{"id":7}}\r\n\n{"u":{"id":"\\u00fc"}}');
    const { members, lines } = await read([path], { pointer: "/u/id" });
    expect(members).toEqual(["a", 7, "ü"]);
    expect(lines).toEqual([1, 2, 4]);
  });

  it("takes whole values without a pointer, and asks for one where they are objects", async () => {
    expect((await read([file("b.jsonl", '"a"\n5\n')])).members).toEqual(["a", 5]);
    expect(await refusal([file("c.ndjson", '{"id":1}\n')])).toContain("--pointer");
  });

  it("leaves out values without a member, never one inherited from JavaScript", async () => {
    const path = file("d.ndjson", '{"id":"a"}\n{}\n{"id":null}\n{"id":true}\n[]\n"x"\n{"id":{"x":1}}\nnull\n');
    const { members, unusable } = await read([path], { pointer: "/id" });
    expect(members).toEqual(["a"]);
    expect(unusable.listed.map(({ line, reason }) => `${line} ${reason}`)).toEqual([
      "2 missing_member",
      "3 missing_member",
      "4 not_string_or_integer",
      "5 missing_member",
      "6 missing_member",
      "7 not_string_or_integer",
      "8 missing_member",
    ]);
    for (const pointer of ["/constructor/name", "/__proto__", "/length", "/toString"]) {
      expect((await read([path], { pointer })).members).toEqual([]);
    }
  });

  it("reads escaped pointers and operations, and refuses pointers that are none", async () => {
    const path = file("e.ndjson", '{"a/b":{"~":"x"},"op":"remove"}\n{"a/b":{"~":"y"},"op":"add"}\n');
    expect((await changesOf(path, { pointer: "/a~1b/~0", opPointer: "/op" })).changes).toEqual(["remove x", "add y"]);
    expect(await refusal([path], { pointer: "a" })).toContain("--pointer");
    expect(await refusal([path], { pointer: "/a~2" })).toContain("--pointer");
  });

  it("refuses a line that is not JSON, with its number and without its text", async () => {
    const message = await refusal([file("f.ndjson", '{"id":"a"}\n{"id":"secret-key\n')], { pointer: "/id" });
    expect(message).toContain("/f.ndjson line 2: is not JSON");
    expect(message).not.toContain("secret");
  });
});

describe("files", () => {
  it("that are missing, a directory, or packed otherwise are refused before anything is read", async () => {
    expect(await refusal([join(folder, "none.txt")])).toContain("no such file");
    expect(await refusal([folder])).toContain("is a directory");
    expect(await refusal([file("z.csv", Buffer.from("504b030414000000", "hex"))], { column: "id" })).toContain("zip");
  });

  it("that end in .json are read by the format given, or as NDJSON with a pointer, and else refused", async () => {
    const json = file("users.json", '{"id":"a"}\n{"id":"b"}\n');
    expect((await read([json], { pointer: "/id" })).members).toEqual(["a", "b"]);
    expect((await read([file("keys.json.gz", "[a]\n")], { format: "lines" })).members).toEqual(["[a]"]);
    for (const name of ["keys.json", "keys.JSON", "keys.json.gz"])
      for (const options of [{}, { column: "1" }, { header: "absent" }, { delimiter: ";" }] as const)
        expect(await refusal([file(name, '["a"]\n')], options)).toContain("--format ndjson");
  });

  it("whose format does not take the options are refused", async () => {
    expect(await refusal([file("p.txt", "a\n")], { column: "id" })).toContain("--format csv");
    expect(await refusal([file("q.csv", "a\n")], { pointer: "/id" })).toContain("--format ndjson");
    expect((await read(["-"], { column: "id" }, Readable.from([Buffer.from("id,x\na,1\n")]))).members).toEqual(["a"]);
  });

  it("stop being read when the signal fires, also while a pipe is silent", async () => {
    const controller = new AbortController();
    const stdin = new PassThrough();
    stdin.write("a\n");
    const input = await openMemberInput(["-"], { stdin, signal: controller.signal });
    const reading = (async () => {
      for await (const _ of input.members()) controller.abort();
    })();
    await expect(reading).rejects.toMatchObject({ code: "aborted" });
    expect(stdin.destroyed).toBe(true);
  });
});
