/** A unified diff as Git writes it, by file. Nothing in it is trusted: a line that fits nowhere is kept as text. */

export interface DiffLine {
  kind: "add" | "del" | "same" | "hunk" | "note";
  text: string;
  before: number | null;
  after: number | null;
}

export interface FileDiff {
  path: string;
  from: string | null;
  status: "added" | "deleted" | "renamed" | "changed" | "binary";
  added: number;
  removed: number;
  lines: DiffLine[];
}

export function parseDiff(patch: string): FileDiff[] {
  const files: FileDiff[] = [];
  let file: FileDiff | null = null;
  let before = 0;
  let after = 0;
  let [leftBefore, leftAfter] = [0, 0];
  const lines = patch.split("\n");
  if (lines.at(-1) === "") lines.pop();
  for (const line of lines) {
    const inHunk = leftBefore > 0 || leftAfter > 0;
    if (!inHunk && line.startsWith("diff --git ")) {
      const [from, to] = names(line.slice("diff --git ".length));
      file = { path: to, from: from === to ? null : from, status: "changed", added: 0, removed: 0, lines: [] };
      files.push(file);
      continue;
    }
    if (file === null) continue;
    const hunk = inHunk ? null : /^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@(.*)$/.exec(line);
    if (hunk) {
      before = Number(hunk[1]);
      after = Number(hunk[3]);
      leftBefore = hunk[2] === undefined ? 1 : Number(hunk[2]);
      leftAfter = hunk[4] === undefined ? 1 : Number(hunk[4]);
      file.lines.push({ kind: "hunk", text: line, before: null, after: null });
    } else if (inHunk && line.startsWith("+")) {
      file.lines.push({ kind: "add", text: line.slice(1), before: null, after: after++ });
      file.added++;
      leftAfter--;
    } else if (inHunk && line.startsWith("-")) {
      file.lines.push({ kind: "del", text: line.slice(1), before: before++, after: null });
      file.removed++;
      leftBefore--;
    } else if (line.startsWith("\\")) {
      file.lines.push({ kind: "note", text: line.slice(2), before: null, after: null });
    } else if (inHunk) {
      file.lines.push({ kind: "same", text: line.slice(1), before: before++, after: after++ });
      leftBefore--;
      leftAfter--;
    } else if (line.startsWith("new file mode")) file.status = "added";
    else if (line.startsWith("deleted file mode")) file.status = "deleted";
    else if (line.startsWith("rename to ")) file.status = "renamed";
    else if (line.startsWith("Binary files ") || line === "GIT binary patch") file.status = "binary";
  }
  return files;
}

function names(header: string): [string, string] {
  const quoted = /^("(?:[^"\\]|\\.)*"|a\/.*?) ("(?:[^"\\]|\\.)*"|b\/.*)$/.exec(header);
  // Unquoted names may hold " b/": both halves are equal unless the file was renamed.
  const half = (header.length - 1) / 2;
  if (Number.isInteger(half) && header.slice(2, half) === header.slice(half + 3)) {
    return [header.slice(2, half), header.slice(half + 3)];
  }
  return [name(quoted?.[1] ?? header), name(quoted?.[2] ?? header)];
}

function name(text: string): string {
  if (!text.startsWith('"')) return text.replace(/^[ab]\//, "");
  const bytes: number[] = [];
  const inner = text.slice(1, -1).replace(/^[ab]\//, "");
  const encoder = new TextEncoder();
  for (let at = 0; at < inner.length; at++) {
    const octal = inner[at] === "\\" ? /^[0-7]{3}/.exec(inner.slice(at + 1)) : null;
    if (octal) {
      bytes.push(Number.parseInt(octal[0], 8));
      at += 3;
    } else {
      if (inner[at] === "\\") at++;
      bytes.push(...encoder.encode(inner[at] ?? ""));
    }
  }
  return new TextDecoder().decode(new Uint8Array(bytes));
}
