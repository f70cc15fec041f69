// Files for an upload, with the paths that rows name them by: chosen one by one, as a folder, or dropped.

/** @typedef {{ file: File, path: string, folder?: string }} Picked `folder`: the one that holds all of them. */

/** A folder is looked into as deep as this. */
const DEEPEST = 16;
/** Bytes of rows that are read to find which pictures they name. */
const READ = 32_000_000;
const PICTURE = /"((?:[^"\\\n]|\\.)*\.(?:png|jpe?g|webp|gif|bmp|tiff?))"/gi;

/**
 * Files without the folder that holds all of them: that is the data set itself.
 * @param {Picked[]} picked
 */
function withoutTop(picked) {
  const [top] = picked[0]?.path.split('/') ?? [];
  const inside = picked.every(({ path }) => path.startsWith(`${top}/`));
  return inside ? picked.map(({ file, path }) => ({ file, path: path.slice(top.length + 1), folder: top })) : picked;
}

/**
 * What an input holds.
 * @param {FileList | null | undefined} files
 */
export const chosen = (files) =>
  withoutTop([...(files ?? [])].map((file) => ({ file, path: file.webkitRelativePath || file.name })));

/**
 * @param {FileSystemEntry} entry
 * @param {number} depth
 * @returns {Promise<Picked[]>}
 */
async function inside(entry, depth = 0) {
  const path = entry.fullPath.replace(/^\//, '');
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => {
      /** @type {FileSystemFileEntry} */ (entry).file(resolve, reject);
    });
    return [{ file, path }];
  }
  if (depth > DEEPEST) throw new Error(`The folder ${path} is too deep.`);
  const reader = /** @type {FileSystemDirectoryEntry} */ (entry).createReader();
  const found = [];
  for (;;) {
    // A reader gives a hundred entries at a time, and none at the end.
    const some = await new Promise((/** @type {(entries: FileSystemEntry[]) => void} */ resolve, reject) => {
      reader.readEntries(resolve, reject);
    });
    if (some.length === 0) return found.flat();
    for (const one of some) found.push(await inside(one, depth + 1));
  }
}

/**
 * What was dropped: files, and folders with all that is in them.
 * @param {DataTransfer} transfer
 */
export async function dropped(transfer) {
  // Entries must be taken before anything is waited for.
  const entries = [...transfer.items].flatMap((item) => item.webkitGetAsEntry?.() ?? []);
  if (entries.length === 0) return chosen(transfer.files);
  const found = [];
  for (const entry of entries) found.push(...(await inside(entry)));
  return withoutTop(found);
}

/** Bytes of a file in which its columns are looked for. */
const HEAD = 1_000_000;
/** Columns that are offered. */
const MOST_COLUMNS = 100;

/**
 * The columns of the first row, where it can be read here; Parquet and zip files are read by the server alone.
 * @param {Picked[]} picked
 * @returns {Promise<{ file: string, columns: string[] } | null>}
 */
export async function columnsOf(picked) {
  for (const { file, path } of picked) {
    const kind = /\.(jsonl|ndjson|json|csv|tsv)$/i.exec(path)?.[1].toLowerCase();
    if (!kind) continue;
    const columns = headOf(await file.slice(0, HEAD).text(), kind);
    if (columns.length > 0) return { file: path, columns: columns.slice(0, MOST_COLUMNS) };
  }
  return null;
}

/**
 * @param {string} text
 * @param {string} kind
 * @returns {string[]}
 */
function headOf(text, kind) {
  const [line = ''] = text.replace(/^\uFEFF/, '').split(/\r?\n/, 1);
  if (kind === 'tsv') return line.split('\t');
  if (kind === 'csv') return [...line.matchAll(/"((?:[^"]|"")*)"|([^",]+)/g)].map(([, quoted, word]) => quoted ?? word);
  for (const row of [line, () => JSON.parse(text)[0]]) {
    try {
      const value = typeof row === 'string' ? JSON.parse(row) : row();
      if (value !== null && typeof value === 'object' && !Array.isArray(value)) return Object.keys(value);
    } catch {
      /* not a row of this form */
    }
  }
  return [];
}

/** @param {string} path */
const base = (path) => path.slice(path.lastIndexOf('/') + 1);

/**
 * Pictures that were chosen without their folder get the path by which the rows name them, where only one has that
 * name. `moved`: how many.
 * @param {Picked[]} picked
 * @returns {Promise<{ picked: Picked[], moved: number }>}
 */
export async function placed(picked) {
  /** @type {Map<string, string | null>} */
  const named = new Map();
  let left = READ;
  for (const { file, path } of picked) {
    if (!/\.jsonl?$/i.test(path) || left <= 0) continue;
    const text = await file.slice(0, left).text();
    left -= file.size;
    for (const [, name] of text.matchAll(PICTURE)) {
      if (!name.includes('/') || name.includes('\\') || name.includes(':')) continue;
      const known = named.get(base(name));
      named.set(base(name), known === undefined || known === name ? name : null);
    }
  }
  const taken = new Set(picked.map(({ path }) => path));
  let moved = 0;
  const all = picked.map(({ file, path }) => {
    const wanted = path.includes('/') ? null : named.get(path);
    if (!wanted || taken.has(wanted)) return { file, path };
    taken.add(wanted);
    moved += 1;
    return { file, path: wanted };
  });
  return { picked: all, moved };
}
