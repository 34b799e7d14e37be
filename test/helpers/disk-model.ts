/**
 * What a disk has after a power cut. A command runs under strace(1), and each of its system calls that changes
 * something below a directory becomes an operation of a model. Of those up to a moment, one is sure to be kept if the
 * directory that it changed, or the file, was fsynced after it. Each other may be kept or lost, whatever became of
 * those around it; only what is done to one name, or to one file, keeps its order, and a rename is kept whole.
 */
import {
  chmodSync,
  lchownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, normalize } from 'node:path';

/** For `strace -f -y -e trace=…`. */
export const TRACED = [
  ...['open', 'openat', 'creat', 'mkdir', 'mkdirat', 'symlink', 'symlinkat', 'link', 'linkat'],
  ...['rename', 'renameat', 'renameat2', 'unlink', 'unlinkat', 'rmdir', 'truncate', 'ftruncate'],
  ...['write', 'pwrite64', 'writev', 'pwritev', 'pwritev2', 'copy_file_range', 'sendfile'],
  ...['chmod', 'fchmod', 'fchmodat', 'chown', 'lchown', 'fchown', 'fchownat'],
  ...['fsync', 'fdatasync', 'sync', 'syncfs'],
].join(',');

/** Calls of which the first argument is what they change. */
const BY_DESCRIPTOR: ReadonlySet<string> = new Set([
  ...['write', 'pwrite64', 'writev', 'pwritev', 'pwritev2', 'ftruncate', 'fchmod', 'fchown'],
  ...['fsync', 'fdatasync', 'syncfs'],
]);

interface Meta {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/** A file, a directory or a symbolic link, whatever its names. */
interface Inode {
  readonly kind: 'directory' | 'file' | 'link';
  meta: Meta;
  /** A file's bytes, or a link's target. */
  content: string;
  /** What a directory has. */
  entries: Map<string, number>;
  readonly number: number;
}

/** The inode of a directory, and a name in it. */
type Entry = readonly [directory: number, name: string];

type Operation =
  | { readonly does: 'link'; readonly at: Entry; readonly inode: number }
  | { readonly does: 'unlink'; readonly at: Entry }
  | { readonly does: 'rename'; readonly from: Entry; readonly at: Entry }
  | { readonly does: 'content'; readonly inode: number; readonly content: string }
  | { readonly does: 'meta'; readonly inode: number; readonly meta: Partial<Meta> }
  | { readonly does: 'sync'; readonly inode: number | undefined };

/** Says of an operation by its number whether the disk happens to have it. */
export type Choice = (operation: number) => boolean;

export class DiskModel {
  readonly #top: string;
  /** As they were at first, and those that the operations make as they are made. */
  readonly #atFirst: Inode[] = [];
  /** After all operations. */
  readonly #now: Inode[];
  readonly #operations: { readonly operation: Operation; readonly line: string }[] = [];

  /**
   * @param top  the directory that is looked at, by the name that the command knows
   * @param seenAt  where this process finds it
   */
  constructor(top: string, seenAt: string) {
    this.#top = top;
    this.#read(seenAt);
    this.#now = this.#atFirst.map(copyOf);
  }

  #read(path: string): number {
    const stat = lstatSync(path);
    const kind = stat.isDirectory() ? 'directory' : stat.isSymbolicLink() ? 'link' : 'file';
    const { mode, uid, gid } = stat;
    const inode: Inode = {
      ...{ number: this.#atFirst.length, kind, meta: { mode: mode & 0o7777, uid, gid } },
      content: kind === 'link' ? readlinkSync(path) : kind === 'file' ? readFileSync(path, 'latin1') : '',
      entries: new Map(),
    };
    this.#atFirst.push(inode);
    if (kind === 'directory')
      for (const name of readdirSync(path)) inode.entries.set(name, this.#read(join(path, name)));
    return inode.number;
  }

  /** How many operations there are. */
  get length(): number {
    return this.#operations.length;
  }

  /** The system call of an operation. */
  lineOf(operation: number): string {
    return this.#operations[operation]?.line ?? 'the end';
  }

  /** Takes in what `strace -f -y -s ENOUGH -e trace=TRACED` has written. */
  take(trace: string): void {
    for (const line of wholeLines(trace)) {
      const [, name = '', args = '', result = ''] =
        /^\d+ +(\w+)\((.*)\) += (-?\d+)(?:<.*>)?(?: \(.*\))?$/.exec(line) ?? [];
      if (name !== '' && result !== '-1') this.#call(name, argumentsOf(args), line);
    }
  }

  /** The inode of a path; undefined for what is not below the top, or not there. */
  #find(path: string): number | undefined {
    if (path === this.#top) return 0;
    if (!path.startsWith(`${this.#top}/`)) return undefined;
    let at: number | undefined = 0;
    for (const name of path.slice(this.#top.length + 1).split('/'))
      at = at === undefined ? undefined : this.#now[at]?.entries.get(name);
    return at;
  }

  #entry(path: string): Entry | undefined {
    const directory = path === this.#top ? undefined : this.#find(dirname(path));
    return directory === undefined ? undefined : [directory, path.slice(dirname(path).length + 1)];
  }

  #do(operation: Operation, line: string): void {
    this.#operations.push({ operation, line: line.replaceAll(this.#top, '').slice(0, 200) });
    apply(this.#now, operation);
  }

  #make(kind: Inode['kind'], path: string, { mode = 0o777, content = '' }, line: string): void {
    const at = this.#entry(path);
    if (!at) return;
    const meta = { mode, uid: 0, gid: 0 };
    const inode: Inode = { number: this.#now.length, kind, meta, content, entries: new Map() };
    this.#atFirst.push(copyOf(inode));
    this.#now.push(inode);
    this.#do({ does: 'link', at, inode: inode.number }, line);
  }

  #call(name: string, args: readonly Argument[], line: string): void {
    const paths = pathsOf(args);
    const [first = '', other = ''] = paths;
    const path = BY_DESCRIPTOR.has(name) ? (args[0]?.text ?? '') : first;
    const numbers = args.flatMap((arg) => (arg.kind === 'word' ? [arg.text] : []));
    const mode = Number.parseInt(numbers.findLast((text) => /^0[0-7]*$/.test(text)) ?? '0', 8) & ~0o022;
    const inode = this.#find(path);
    switch (name) {
      case 'open':
      case 'openat':
      case 'creat':
        if (inode === undefined && /O_CREAT/.test(line)) this.#make('file', path, { mode }, line);
        else if (inode !== undefined && /O_TRUNC/.test(line))
          this.#do({ does: 'content', inode, content: '' }, line);
        break;
      case 'mkdir':
      case 'mkdirat':
        this.#make('directory', path, { mode }, line);
        break;
      case 'symlink':
      case 'symlinkat': {
        const [target] = args;
        this.#make('link', paths.at(-1) ?? '', { content: target?.text ?? '' }, line);
        break;
      }
      case 'link':
      case 'linkat': {
        const at = this.#entry(other);
        if (at && inode !== undefined) this.#do({ does: 'link', at, inode }, line);
        break;
      }
      case 'rename':
      case 'renameat':
      case 'renameat2': {
        const [from, at] = [this.#entry(path), this.#entry(other)];
        if (from && at) this.#do({ does: 'rename', from, at }, line);
        else if (from || at) throw new Error(`a rename into or out of the model: ${line}`);
        break;
      }
      case 'unlink':
      case 'unlinkat':
      case 'rmdir': {
        const at = this.#entry(path);
        if (at) this.#do({ does: 'unlink', at }, line);
        break;
      }
      case 'write': {
        const written = args.find(({ kind }) => kind === 'string')?.text ?? '';
        if (inode === undefined) break;
        this.#do({ does: 'content', inode, content: (this.#now[inode]?.content ?? '') + written }, line);
        break;
      }
      case 'chmod':
      case 'fchmod':
      case 'fchmodat': {
        const mode = Number.parseInt(numbers.at(-1) ?? '0', 8);
        if (inode !== undefined) this.#do({ does: 'meta', inode, meta: { mode } }, line);
        break;
      }
      case 'chown':
      case 'lchown':
      case 'fchown':
      case 'fchownat': {
        const [uid = 0, gid = 0] = numbers.filter((text) => /^\d+$/.test(text)).map(Number);
        if (inode !== undefined) this.#do({ does: 'meta', inode, meta: { uid, gid } }, line);
        break;
      }
      case 'fsync':
      case 'fdatasync':
        if (inode !== undefined) this.#do({ does: 'sync', inode }, line);
        break;
      case 'sync':
      case 'syncfs':
        this.#do({ does: 'sync', inode: undefined }, line);
        break;
      default:
        if (inode !== undefined) throw new Error(`not in the model: ${line}`);
    }
  }

  /**
   * Which of the first operations the disk has when the power goes after them.
   * @param choice  for those that are neither sure nor needed for others
   */
  keptAt(cut: number, choice: Choice): boolean[] {
    const operations = this.#operations.slice(0, cut).map(({ operation }) => operation);
    const kept = operations.map((_, i) => choice(i));
    for (const [i, operation] of operations.entries()) {
      if (operation.does !== 'sync') continue;
      const { inode } = operation;
      for (let before = 0; before < i; before++) {
        const changed = operations[before];
        if (changed && (inode === undefined || inodesOf(changed).includes(inode))) kept[before] = true;
      }
    }
    const needed = new Set<string>();
    for (let i = cut - 1; i >= 0; i--) {
      const keys = keysOf(operations[i]);
      if (keys.some((key) => needed.has(key))) kept[i] = true;
      if (kept[i]) for (const key of keys) needed.add(key);
    }
    return kept;
  }

  /** Makes what the disk has then in a directory that is there. */
  writeTo(path: string, kept: readonly boolean[]): void {
    const inodes = this.#atFirst.map(copyOf);
    for (const [i, { operation }] of this.#operations.entries()) if (kept[i]) apply(inodes, operation);
    const names = new Map<number, string>();
    const write = (inode: Inode, path: string): void => {
      const { number, kind, content, meta, entries } = inode;
      const known = names.get(number);
      names.set(number, path);
      if (known !== undefined && kind !== 'directory') linkSync(known, path);
      else if (kind === 'link') symlinkSync(content, path);
      else {
        if (kind === 'file') writeFileSync(path, content, 'latin1');
        else if (number !== 0) mkdirSync(path);
        lchownSync(path, meta.uid, meta.gid);
        chmodSync(path, meta.mode);
      }
      for (const [name, child] of entries) write(inodes[child] as Inode, join(path, name));
    };
    write(inodes[0] as Inode, path);
  }
}

const copyOf = (inode: Inode): Inode => ({ ...inode, entries: new Map(inode.entries) });

function apply(inodes: Inode[], operation: Operation): void {
  const entriesOf = ([directory]: Entry): Map<string, number> =>
    inodes[directory]?.entries ?? new Map<string, number>();
  if (operation.does === 'link') entriesOf(operation.at).set(operation.at[1], operation.inode);
  if (operation.does === 'unlink') entriesOf(operation.at).delete(operation.at[1]);
  if (operation.does === 'rename') {
    const { from, at } = operation;
    const inode = entriesOf(from).get(from[1]);
    if (inode === undefined) throw new Error(`nothing to rename: ${from[1]}`);
    entriesOf(from).delete(from[1]);
    entriesOf(at).set(at[1], inode);
  }
  const inode = 'inode' in operation ? inodes[operation.inode ?? -1] : undefined;
  if (operation.does === 'content' && inode) inode.content = operation.content;
  if (operation.does === 'meta' && inode) inode.meta = { ...inode.meta, ...operation.meta };
}

/** What has to be fsynced for an operation: a rename is sure with either of its directories. */
function inodesOf(operation: Operation): number[] {
  switch (operation.does) {
    case 'rename':
      return [operation.from[0], operation.at[0]];
    case 'link':
    case 'unlink':
      return [operation.at[0]];
    case 'content':
    case 'meta':
      return [operation.inode];
    case 'sync':
      return [];
  }
}

/** Operations that have one in common keep their order: the later one is not on the disk without the earlier one. */
function keysOf(operation: Operation | undefined): string[] {
  switch (operation?.does) {
    case 'rename':
      return [operation.from.join('/'), operation.at.join('/')];
    case 'link':
    case 'unlink':
      return [operation.at.join('/')];
    case 'content':
    case 'meta':
      return [`${operation.does} ${operation.inode}`];
    default:
      return [];
  }
}

/** Calls that strace had to tell in two parts, each at its end. */
function* wholeLines(trace: string): Generator<string> {
  const unfinished = new Map<string, string>();
  for (const line of trace.split('\n')) {
    const [pid = ''] = line.split(' ');
    const [, start] = /^(.*) <unfinished \.\.\.>$/.exec(line) ?? [];
    const [, end] = /^\d+ +<\.\.\. \w+ resumed>(.*)$/.exec(line) ?? [];
    if (start !== undefined) unfinished.set(pid, start);
    else yield end === undefined ? line : (unfinished.get(pid) ?? '') + end;
  }
}

interface Argument {
  /** A descriptor's text is the path of what it is open on. */
  readonly kind: 'string' | 'descriptor' | 'word';
  readonly text: string;
}

function argumentsOf(text: string): Argument[] {
  const found = text.matchAll(/"((?:[^"\\]|\\.)*)"(\.\.\.)?|(?:AT_FDCWD|\d+)<([^>]*)>|[^\s,][^,]*/g);
  return [...found].map(([whole, string, cut, descriptor]) => {
    if (cut) throw new Error(`strace has cut off ${whole.slice(0, 80)}`);
    if (string !== undefined) return { kind: 'string', text: unescaped(string) };
    if (descriptor !== undefined) return { kind: 'descriptor', text: descriptor };
    return { kind: 'word', text: whole };
  });
}

/** Absolute paths of a call's arguments: a string is in the directory of the descriptor before it. */
function pathsOf(args: readonly Argument[]): string[] {
  const paths: string[] = [];
  for (const [i, { kind, text }] of args.entries()) {
    const before = args[i - 1];
    const inside = before?.kind === 'descriptor' ? before.text : '/';
    if (kind === 'string')
      paths.push(normalize(text.startsWith('/') ? text : `${inside}/${text}`).replace(/(.)\/$/, '$1'));
    if (kind === 'descriptor' && args[i + 1]?.kind !== 'string') paths.push(text);
  }
  return paths;
}

const ESCAPES: Readonly<Record<string, string>> = { n: '\n', t: '\t', r: '\r', v: '\v', f: '\f' };

/** Of C: strace shows bytes that cannot be printed in octal. */
const unescaped = (text: string): string =>
  text.replace(/\\(?:([0-7]{1,3})|(.))/g, (_, octal: string | undefined, char: string) =>
    octal === undefined ? (ESCAPES[char] ?? char) : String.fromCharCode(Number.parseInt(octal, 8)),
  );
