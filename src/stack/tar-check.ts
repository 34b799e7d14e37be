/**
 * Looks at a tar archive as it goes by, before tar(1) gets it, and refuses what would not stay in the directory that
 * it is unpacked in. The formats are ustar, pax and GNU's; see tar(5) and GNU tar's manual, "Basic Tar Format". Pure.
 */
import { quoted, UserError } from '../errors.js';

const BLOCK = 512;
/** A long name or a pax header that is longer than this is none: PATH_MAX and XATTR_SIZE_MAX are 4 and 64 KiB. */
const EXTENDED_MAX = 8 << 20;

/** linux/limits.h; its NUL counts. */
const PATH_MAX = 4096;

/** What the bytes that come next belong to. */
type Want =
  | { readonly kind: 'header' }
  | { readonly kind: 'sparse-map'; readonly header: Header }
  | { readonly kind: 'extended'; readonly type: string; readonly size: number }
  | { readonly kind: 'end' };

interface Header {
  readonly type: string;
  readonly name: string;
  readonly link: string;
  readonly size: number;
}

/** What the headers before a member's own say about it. */
interface Extended {
  readonly names: string[];
  readonly links: string[];
  size: number | undefined;
  /** Which of them were there: one of each. */
  readonly types: Set<string>;
}

const nothing = (): Extended => ({ names: [], links: [], size: undefined, types: new Set() });

export interface TarLimits {
  /** Free space where it is unpacked; bytes. */
  readonly freeBytes: number;
  /** What an archive can be, told of one that is none. */
  readonly known?: string;
}

/** Members that have no data, whatever their header says: tar takes what follows for the next header. */
const WITHOUT_DATA = '123456';
const WITH_DATA = '0\x007S';

/** Push the archive's bytes in, and ask whether they are all right before handing them on. */
export class TarCheck {
  /** What is left of it, all members before having been unpacked. */
  #freeBytes: number;
  /** Bytes of the archive that are kept until what they are a part of is whole. */
  #kept: Buffer = Buffer.alloc(0);
  #want: Want = { kind: 'header' };
  /** Bytes of data to go past. */
  #skip = 0;
  #extended = nothing();
  #members = 0;
  /** Symbolic links that have come by: nothing is unpacked through one. */
  readonly #symlinks = new Set<string>();
  readonly #known: string | undefined;

  constructor({ freeBytes, known }: TarLimits) {
    this.#freeBytes = freeBytes;
    this.#known = known;
  }

  /** Members so far. */
  get members(): number {
    return this.#members;
  }

  /**
   * @returns how many of these bytes are the archive's; fewer than there are only at its end
   * @throws UserError for the first thing that is wrong; nothing of these bytes may be handed on then
   */
  push(chunk: Buffer): number {
    let at = 0;
    while (at < chunk.length) {
      if (this.#want.kind === 'end') return at;
      if (this.#skip > 0) {
        const past = Math.min(this.#skip, chunk.length - at);
        this.#skip -= past;
        at += past;
        continue;
      }
      const wanted = this.#want.kind === 'extended' ? padded(this.#want.size) : BLOCK;
      const part = chunk.subarray(at, at + wanted - this.#kept.length);
      at += part.length;
      this.#kept = Buffer.concat([this.#kept, part]);
      if (this.#kept.length < wanted) return chunk.length;
      const whole = this.#kept;
      this.#kept = Buffer.alloc(0);
      this.#take(whole);
    }
    return chunk.length;
  }

  /** @throws UserError for an archive that stops before its end */
  finish(): void {
    if (this.#want.kind === 'end') return;
    const nothingYet = this.#members === 0 && this.#kept.length < BLOCK && this.#extended.types.size === 0;
    if (nothingYet) throw notTar(this.#known);
    throw new UserError({ what: `the archive is cut off after ${this.#members} members` });
  }

  #take(whole: Buffer): void {
    switch (this.#want.kind) {
      case 'header':
        this.#header(whole);
        break;
      case 'extended':
        this.#extend(this.#want.type, whole.subarray(0, this.#want.size));
        this.#want = { kind: 'header' };
        break;
      case 'sparse-map':
        // The map goes on in the next block: "isextended" of GNU's old sparse format.
        if (whole[504] === 0) this.#member(this.#want.header);
        break;
      default:
    }
  }

  #header(block: Buffer): void {
    if (block.every((byte) => byte === 0)) {
      // tar stops at the first, too; what follows is padding.
      if (this.#members === 0 && this.#extended.types.size > 0) throw cutOff();
      this.#want = { kind: 'end' };
      return;
    }
    if (!isSumRight(block))
      throw this.#members === 0
        ? notTar(this.#known)
        : new UserError({ what: `the archive is damaged after ${this.#members} members` });
    const header = parseHeader(block);
    const { type, size } = header;
    if ('xgLK'.includes(type)) {
      this.#expectExtended(type, size);
      return;
    }
    if (!WITH_DATA.includes(type) && !WITHOUT_DATA.includes(type))
      throw refusal(header.name, `its kind ${quoted(type)} is none that can be unpacked`);
    if (type === 'S' && block[482] !== 0) this.#want = { kind: 'sparse-map', header };
    else this.#member(header);
  }

  #expectExtended(type: string, size: number): void {
    if (size > EXTENDED_MAX) throw refusal('', `a header of ${size} bytes`);
    if (this.#extended.types.has(type))
      throw refusal('', `two headers of kind ${quoted(type)} for one member`);
    if (type !== 'g') this.#extended.types.add(type);
    if (size > 0) this.#want = { kind: 'extended', type, size };
  }

  #extend(type: string, content: Buffer): void {
    if (type === 'L') this.#extended.names.push(text(content));
    else if (type === 'K') this.#extended.links.push(text(content));
    else this.#pax(type, content);
  }

  #pax(type: string, content: Buffer): void {
    for (const [key, value] of paxRecords(content)) {
      const place = { path: 'names', 'GNU.sparse.name': 'names', linkpath: 'links' }[key];
      if (type === 'g' && (place || key === 'size')) throw refusal('', `a global header with ${key}`);
      if (place === 'names') this.#extended.names.push(value);
      if (place === 'links') this.#extended.links.push(value);
      if (key === 'size') this.#extended.size = decimal(value);
    }
  }

  /** A member with all that is said of it: every name that tar could take for its own has to be a good one. */
  #member({ type, name, link, size: headerSize }: Header): void {
    const { names, links, size = headerSize } = this.#extended;
    this.#extended = nothing();
    this.#want = { kind: 'header' };
    const shown = names.at(-1) ?? name;
    const paths = (names.length > 0 ? names : [name]).map((one) => this.#path(one, shown));
    if (type === '1')
      for (const target of links.length > 0 ? links : [link]) this.#path(target, shown, 'a hard link to ');
    if (type !== '5' && paths.includes(''))
      throw refusal(shown, 'it would take the place of the directory that it is unpacked in');
    // A file with such a name is a directory to tar, as it was to BSD's.
    const isDirectory = type === '5' || [name, ...names].some((one) => one.endsWith('/'));
    if ((WITHOUT_DATA.includes(type) || isDirectory) && size !== 0)
      throw refusal(shown, 'it has data, which its kind cannot have');
    if (size > this.#freeBytes)
      throw refusal(
        shown,
        `it has ${size} bytes, and ${this.#freeBytes} are free where it would be unpacked`,
      );
    this.#freeBytes -= size;
    if (type === '2') for (const path of paths) this.#symlinks.add(path);
    this.#skip = padded(size);
    this.#members++;
  }

  /** The path without `.` and empty components. @throws UserError where it leads out, or through a link */
  #path(path: string, member: string, as = ''): string {
    if (Buffer.byteLength(path) >= PATH_MAX)
      throw refusal(
        shortened(member),
        `${as}a name of ${Buffer.byteLength(path)} bytes, longer than any path`,
      );
    const what = `${as}${quoted(path)}`;
    if (path.includes('\0')) throw refusal(member, `${what} has a NUL`); // tar takes what is before it
    if (path.startsWith('/')) throw refusal(member, `${what} is an absolute path`);
    const components = path.split('/').filter((component) => component !== '' && component !== '.');
    if (components.includes('..')) throw refusal(member, `${what} leads out of the directory`);
    let above = '';
    for (const component of components) {
      if (this.#symlinks.has(above))
        throw refusal(member, `${what} leads through the symbolic link ${quoted(above)}`);
      above = above === '' ? component : `${above}/${component}`;
    }
    return above;
  }
}

const refusal = (member: string, why: string): UserError =>
  new UserError({
    what: `${member === '' ? 'the archive' : `member ${quoted(member)}`} is refused: ${why}`,
  });

const notTar = (known: string | undefined): UserError =>
  new UserError({ what: 'not a tar archive', todo: known });

/** Of a name that is too long, enough to find it. */
const shortened = (name: string): string => (name.length > 60 ? `${name.slice(0, 60)}…` : name);

const cutOff = (): UserError => new UserError({ what: 'the archive is cut off' });

const padded = (size: number): number => Math.ceil(size / BLOCK) * BLOCK;

/** A field's text up to its first NUL. Names are bytes: what is not UTF-8 has no `/` or `.` that it could hide. */
const text = (field: Buffer): string => {
  const end = field.indexOf(0);
  return field.toString('utf8', 0, end < 0 ? field.length : end);
};

function parseHeader(block: Buffer): Header {
  const isPosix = block.toString('latin1', 257, 263) === 'ustar\0';
  const prefix = isPosix ? text(block.subarray(345, 500)) : '';
  const name = text(block.subarray(0, 100));
  return {
    type: String.fromCharCode(block[156] ?? 0),
    name: prefix === '' ? name : `${prefix}/${name}`,
    link: text(block.subarray(157, 257)),
    size: numberIn(block.subarray(124, 136)),
  };
}

/** Octal digits, or a binary number where the first bit is set. */
function numberIn(field: Buffer): number {
  const [first = 0] = field;
  if (first === 0x80) return [...field.subarray(1)].reduce((sum, byte) => sum * 256 + byte, 0);
  const digits = field
    .toString('latin1')
    .replace(/^ +/, '')
    .replace(/[ \0].*$/s, '');
  if (/^[0-7]*$/.test(digits)) return Number.parseInt(digits || '0', 8);
  throw refusal('', `a size of ${quoted(field.toString('latin1'))}`);
}

/** The sum of the header's bytes, its own field taken as blanks; old programs added them as signed numbers. */
function isSumRight(block: Buffer): boolean {
  let sum = 0;
  let signed = 0;
  for (let i = 0; i < BLOCK; i++) {
    const byte = i >= 148 && i < 156 ? 0x20 : (block[i] ?? 0);
    sum += byte;
    signed += byte > 127 ? byte - 256 : byte;
  }
  const digits = /^[ \0]*([0-7]+)[ \0]/.exec(block.toString('latin1', 148, 156))?.[1];
  const stored = digits === undefined ? -1 : Number.parseInt(digits, 8);
  return stored === sum || stored === signed;
}

/** `LENGTH KEY=VALUE\n`, again and again; LENGTH is that of the whole record in bytes. */
function* paxRecords(content: Buffer): Generator<[string, string]> {
  for (let at = 0; at < content.length; ) {
    const blank = content.indexOf(0x20, at);
    const length = blank < 0 ? 0 : decimal(content.toString('latin1', at, blank));
    const record = content.subarray(blank + 1, at + length);
    const equals = record.indexOf(0x3d);
    if (length === 0 || equals < 0 || at + length > content.length || record.at(-1) !== 0x0a)
      throw refusal('', 'a pax header that cannot be understood');
    yield [record.toString('utf8', 0, equals), record.toString('utf8', equals + 1, record.length - 1)];
    at += length;
  }
}

function decimal(digits: string): number {
  if (/^[0-9]{1,15}$/.test(digits)) return Number(digits);
  throw refusal('', `a number of ${quoted(digits)}`);
}
