import { expect } from 'chai';
import { TarCheck } from '../../../src/stack/tar-check.js';

interface Member {
  readonly name?: string;
  readonly type?: string;
  readonly link?: string;
  readonly prefix?: string;
  readonly content?: string | Buffer;
  /** What the header says, where it lies. */
  readonly size?: number;
  readonly change?: (block: Buffer) => void;
}

/** A header and its data. */
function member({
  name = '',
  type = '0',
  link = '',
  prefix = '',
  content = '',
  size,
  change,
}: Member): Buffer {
  const data = Buffer.from(content);
  const block = Buffer.alloc(512);
  block.write(name, 0, 100);
  block.write('0000644\0', 100);
  block.write(`${(size ?? data.length).toString(8).padStart(11, '0')}\0`, 124);
  block.write(type, 156);
  block.write(link, 157, 100);
  block.write('ustar\x0000', 257);
  block.write(prefix, 345, 155);
  change?.(block);
  block.write('        ', 148);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return Buffer.concat([block, data, Buffer.alloc((512 - (data.length % 512)) % 512)]);
}

const END = Buffer.alloc(1024);
const pax = (records: Readonly<Record<string, string>>, type = 'x'): Buffer =>
  member({ name: 'PaxHeaders/x', type, content: Object.entries(records).map(record).join('') });

/** Its length counts its own digits. */
function record([key, value]: [string, string]): string {
  const rest = ` ${key}=${value}\n`;
  let length = Buffer.byteLength(rest);
  while (String(length).length + Buffer.byteLength(rest) !== length) length++;
  return `${length}${rest}`;
}

function check(parts: readonly Buffer[], { chunk = Number.POSITIVE_INFINITY, freeBytes = 1e9 } = {}): number {
  const bytes = Buffer.concat(parts);
  const checker = new TarCheck({ freeBytes });
  for (let at = 0; at < bytes.length; at += chunk)
    checker.push(bytes.subarray(at, Math.min(bytes.length, at + chunk)));
  checker.finish();
  return checker.members;
}

describe('an archive that is let in', () => {
  const good: readonly [string, readonly Buffer[], number][] = [
    ['an empty one', [END], 0],
    [
      'directories and files',
      [member({ name: './', type: '5' }), member({ name: './a', content: 'x' }), END],
      2,
    ],
    ['links to anywhere', [member({ name: 'l', type: '2', link: '/../etc' }), END], 1],
    [
      'a hard link to a symbolic link',
      [member({ name: 'l', type: '2', link: '/etc' }), member({ name: 'h', type: '1', link: 'l' }), END],
      2,
    ],
    ['devices and pipes', [member({ name: 'c', type: '3' }), member({ name: 'p', type: '6' }), END], 2],
    [
      'long names of GNU’s',
      [
        member({ name: '././@LongLink', type: 'L', content: `${'d/'.repeat(80)}f\0` }),
        member({ name: 'd', content: 'x'.repeat(600) }),
        END,
      ],
      1,
    ],
    [
      'pax headers',
      [pax({ path: 'ä/b', mtime: '1.5', 'SCHILY.xattr.user.x': 'a=b\nc' }), member({ name: 'a' }), END],
      1,
    ],
    ['a global header with a comment', [pax({ comment: 'c' }, 'g'), member({ name: 'a' }), END], 1],
    [
      'a size in a pax header',
      [pax({ size: '600' }), member({ name: 'a', content: 'x'.repeat(600), size: 0 }), END],
      1,
    ],
    [
      'a map of GNU’s sparse format over several blocks',
      [
        member({ name: 's', type: 'S', size: 0, change: (block) => block.writeUInt8(1, 482) }),
        Buffer.alloc(512, 1),
        Buffer.alloc(512),
        member({ name: 'next' }),
        END,
      ],
      2,
    ],
    ['dots within names', [member({ name: '..a/b..c/...' }), END], 1],
  ];
  for (const [title, parts, members] of good)
    it(title, () => {
      for (const chunk of [1, 511, 512, 1000, Number.POSITIVE_INFINITY])
        expect(check(parts, { chunk }), `in parts of ${chunk}`).to.equal(members);
    });

  it('ends at its end: what comes behind is not handed on', () => {
    const checker = new TarCheck({ freeBytes: 1e9 });
    const archive = Buffer.concat([member({ name: 'a' }), Buffer.alloc(512)]);
    expect(checker.push(Buffer.concat([archive, member({ name: '/etc/passwd' })]))).to.equal(archive.length);
    expect(checker.push(Buffer.alloc(10))).to.equal(0);
    checker.finish();
  });
});

describe('an archive that is refused', () => {
  const bad: readonly [string, readonly Buffer[], string][] = [
    [
      'a path with ..',
      [member({ name: 'a/../../b' })],
      'member "a/../../b" is refused: "a/../../b" leads out of the directory',
    ],
    ['.. alone', [member({ name: '..', type: '5' })], 'leads out of the directory'],
    [
      'an absolute path',
      [member({ name: '/etc/passwd' })],
      'member "/etc/passwd" is refused: "/etc/passwd" is an absolute path',
    ],
    ['.. in the prefix', [member({ name: 'b', prefix: '..' })], '"../b" leads out'],
    [
      '.. in a long name',
      [member({ type: 'L', content: '../x\0' }), member({ name: 'x' })],
      '"../x" leads out',
    ],
    ['.. in a pax path', [pax({ path: '../x' }), member({ name: 'x' })], '"../x" leads out'],
    [
      '.. in a sparse file’s name',
      [pax({ 'GNU.sparse.name': '../x', path: 'ok' }), member({ name: 'x' })],
      '"../x" leads out',
    ],
    [
      '.. in the one of two names that tar may not take',
      [member({ type: 'L', content: '../x\0' }), pax({ path: 'ok' }), member({ name: 'x' })],
      '"../x" leads out',
    ],
    [
      'a file through a symbolic link',
      [member({ name: 'l', type: '2', link: '/etc' }), member({ name: './l//x' })],
      'member "./l//x" is refused: "./l//x" leads through the symbolic link "l"',
    ],
    [
      'a directory through a symbolic link',
      [member({ name: 'a/l', type: '2', link: 'b' }), member({ name: 'a/l/d', type: '5' })],
      'leads through the symbolic link "a/l"',
    ],
    [
      'a hard link to outside',
      [member({ name: 'h', type: '1', link: '../../etc/shadow' })],
      'a hard link to "../../etc/shadow" leads out',
    ],
    [
      'a hard link to an absolute path',
      [member({ name: 'h', type: '1', link: '/etc/shadow' })],
      'a hard link to "/etc/shadow" is an absolute path',
    ],
    [
      'a hard link by a pax header',
      [pax({ linkpath: '/etc/shadow' }), member({ name: 'h', type: '1', link: 'ok' })],
      'is an absolute path',
    ],
    [
      'a hard link through a symbolic link',
      [member({ name: 'l', type: '2', link: '/' }), member({ name: 'h', type: '1', link: 'l/etc/shadow' })],
      'a hard link to "l/etc/shadow" leads through',
    ],
    [
      'a name with a NUL, of which tar takes a part',
      [pax({ path: 'l\0x' }), member({ type: '2', link: '/' })],
      '"l\\x00x" has a NUL',
    ],
    ...['', '.', './/'].map((name): [string, readonly Buffer[], string] => [
      `a link in place of the directory: ${JSON.stringify(name)}`,
      [member({ name, type: '2', link: '/etc' })],
      'is refused: it would take the place of the directory that it is unpacked in',
    ]),
    ['a global path', [pax({ path: '../x' }, 'g')], 'the archive is refused: a global header with path'],
    [
      'a member behind a link’s data',
      [member({ name: 'l', type: '2', link: 'x', size: 512 })],
      'it has data, which its kind cannot have',
    ],
    ['a directory with data', [member({ name: 'd/', size: 512 })], 'it has data, which its kind cannot have'],
    [
      'a kind that nobody knows',
      [member({ name: 'm', type: 'M' })],
      'its kind "M" is none that can be unpacked',
    ],
    [
      'two long names for one member',
      [member({ type: 'L', content: 'a\0' }), member({ type: 'L', content: 'b\0' })],
      'two headers of kind "L"',
    ],
    [
      'a name of a great many directories',
      [member({ type: 'L', content: 'a/'.repeat(5_000) }), member({ name: 'x' })],
      'a name of 10000 bytes, longer than any path',
    ],
    ['a long name of gigabytes', [member({ type: 'L', size: 2 ** 31 })], 'a header of 2147483648 bytes'],
    [
      'a pax header that is none',
      [member({ type: 'x', content: 'abc' })],
      'a pax header that cannot be understood',
    ],
    [
      'a member larger than the disk',
      [member({ name: 'big', size: 2e9 })],
      'member "big" is refused: it has 2000000000 bytes, and 1000000000 are free where it would be unpacked',
    ],
    [
      'a size in binary that is larger than all disks',
      [member({ name: 'big', change: (block) => block.fill(0x80, 124, 125) && block.fill(0xff, 125, 136) })],
      'are free where it would be unpacked',
    ],
    ['nothing', [], 'not a tar archive'],
    ['a text', [Buffer.from('hello')], 'not a tar archive'],
    ['a long text', [Buffer.alloc(2000, 'x')], 'not a tar archive'],
    [
      'one that is cut off in a file',
      [member({ name: 'a' }), member({ name: 'b', size: 5000 })],
      'the archive is cut off after 2 members',
    ],
    ['one that is cut off between two', [member({ name: 'a' })], 'the archive is cut off after 1 members'],
    [
      'one that is damaged',
      [member({ name: 'a' }), Buffer.alloc(512, 7)],
      'the archive is damaged after 1 members',
    ],
  ];
  for (const [title, parts, message] of bad)
    it(title, () => {
      for (const chunk of [1, 512, Number.POSITIVE_INFINITY])
        expect(() => check(parts, { chunk }), `in parts of ${chunk}`).to.throw(message);
    });

  it('what is none, with what one can be', () => {
    const checker = new TarCheck({ freeBytes: 0, known: 'write one' });
    expect(() => checker.push(Buffer.alloc(512, 'x'))).to.throw('not a tar archive: write one');
  });

  it('files that are together larger than the disk', () => {
    const parts = [member({ name: 'a', content: 'x'.repeat(600) }), member({ name: 'b', size: 600 })];
    expect(() => check(parts, { freeBytes: 1000 })).to.throw('it has 600 bytes, and 400 are free');
  });
});
