import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { expect } from 'chai';
import type { RunTool } from '../../../src/stack/disk-image.js';
import { lowerFromMstack, stackFromMstack } from '../../../src/stack/from-mstack.js';
import { readMstack } from '../../../src/stack/mstack-entries.js';
import type { Stack } from '../../../src/stack/stack.js';

const USR = '8484680C-9521-48C6-9C11-B0720656F69E';

/** Stands in for blkid and sfdisk: an image is what its name says. */
const tools: RunTool = async ([program, ...args]) => {
  const path = args.at(-1) ?? '';
  if (path.endsWith('/rw.raw')) return { stdout: 'TYPE=ext4\nUSAGE=filesystem', exitCode: 0 };
  if (!path.includes('usr-only')) return { stdout: 'TYPE=squashfs\nUSAGE=filesystem', exitCode: 0 };
  if (program === 'blkid')
    return { stdout: args.includes('-O') ? 'TYPE=ext4\nUSAGE=filesystem' : 'PTTYPE=gpt', exitCode: 0 };
  const partitions = [{ node: `${path}1`, start: 1, size: 1, type: USR }];
  return { stdout: JSON.stringify({ partitiontable: { partitions } }), exitCode: 0 };
};

const image = (path: string, type = 'squashfs') => ({
  kind: 'image',
  path,
  type,
  offsetBytes: 0,
  sizeBytes: 0,
});
const directory = (path: string) => ({ kind: 'directory', path });

describe('.mstack directories', () => {
  let top = '';
  beforeEach(() => {
    top = realpathSync(mkdtempSync(join(tmpdir(), 'mstack-')));
  });
  afterEach(() => rmSync(top, { recursive: true }));

  /** `name/` a directory, `name` a file, `name -> target` a link, all below x.mstack. */
  const make = (...entries: readonly string[]): string => {
    const stack = join(top, 'x.mstack');
    mkdirSync(stack, { recursive: true });
    for (const entry of entries) {
      const [name = '', target] = entry.split(' -> ');
      const path = join(stack, name);
      mkdirSync(dirname(path), { recursive: true });
      if (target !== undefined) symlinkSync(target, path);
      else if (name.endsWith('/')) mkdirSync(path, { recursive: true });
      else writeFileSync(path, '');
    }
    return stack;
  };
  const read = (...entries: readonly string[]) => readMstack(make(...entries), 'x86-64').entries;
  const messageOf = (action: () => unknown): string => {
    try {
      action();
    } catch (error) {
      return (error as Error).message.replaceAll(`${top}/`, '');
    }
    return 'no failure';
  };

  describe('readMstack', () => {
    it('lists root, layers, rw, binds and robinds, then by place, then by version', () => {
      const entries = read(
        'robind@etc/',
        'layer@10/',
        'bind@var-lib/',
        'bind@var/',
        'bind@var\\x2dx/',
        'rw/',
        'layer@2/',
        'layer@1~rc1/',
        'layer@1.raw',
        'root/',
      );
      expect(entries.map(({ type, where, sort }) => [type, where, sort])).to.deep.equal([
        ['root', '/', null],
        ['layer', '/usr', '1~rc1'],
        ['layer', '/usr', '1'],
        ['layer', '/usr', '2'],
        ['layer', '/usr', '10'],
        ['rw', '/usr', null],
        ['bind', '/var', null],
        ['bind', '/var/lib', null],
        ['bind', '/var-x', null],
        ['robind', '/etc', null],
      ]);
    });

    it('says of each entry its type, name, kind of image, what it stands for, where it goes, and its ID', () => {
      make('../base.raw', '../upper/');
      expect(read('layer@0.raw -> ../base.raw', 'rw -> ../upper')).to.deep.equal([
        {
          type: 'layer',
          name: 'layer@0.raw',
          image: 'raw',
          what: `${top}/base.raw`,
          where: '/',
          sort: '0',
        },
        { type: 'rw', name: 'rw', image: 'directory', what: `${top}/upper`, where: '/', sort: null },
      ]);
    });

    it('sorts layers as systemd does', () => {
      const ids = ['b', '1.10', '10', '1~rc1', 'a', '0', '2', '1', '1.2'];
      const entries = read(...ids.map((id) => `layer@${id}/`));
      expect(entries.map(({ sort }) => sort).join(' ')).to.equal('a b 0 1~rc1 1 1.2 1.10 2 10');
    });

    it('skips hidden files', () => expect(read('.git/', '.note', 'layer@0/')).to.have.length(1));

    it('is empty for an empty directory', () => expect(read()).to.deep.equal([]));

    it('accepts a colon for the at sign of a bind', () =>
      expect(read('bind:var/', 'robind:etc/').map(({ type, where }) => [type, where])).to.deep.equal([
        ['bind', '/var'],
        ['robind', '/etc'],
      ]));

    it('picks from .v directories, of every type', () => {
      const entries = read(
        'layer@1.v/layer@1_1.9/',
        'layer@1.v/layer@1_1.10/',
        'layer@1.v/layer@1_2_arm64/',
        'layer@2.raw.v/layer@2_1.raw',
        'layer@2.raw.v/layer@2_2+0-3.raw',
        'rw.v/rw_7/',
        'bind@var.v/bind@var_1/',
        'robind@srv.raw.v/robind@srv_3_x86-64+2-1.raw',
        'root.v/root_1/',
      );
      expect(entries.map(({ name, what }) => [name, what.slice(top.length + 1)])).to.deep.equal([
        ['root.v', 'x.mstack/root.v/root_1'],
        ['layer@1.v', 'x.mstack/layer@1.v/layer@1_1.10'],
        ['layer@2.raw.v', 'x.mstack/layer@2.raw.v/layer@2_1.raw'],
        ['rw.v', 'x.mstack/rw.v/rw_7'],
        ['bind@var.v', 'x.mstack/bind@var.v/bind@var_1'],
        ['robind@srv.raw.v', 'x.mstack/robind@srv.raw.v/robind@srv_3_x86-64+2-1.raw'],
      ]);
    });

    it('picks the newest of a .mstack.v directory', () => {
      mkdirSync(join(top, 'os.mstack.v/os_1.9.mstack/layer@0'), { recursive: true });
      mkdirSync(join(top, 'os.mstack.v/os_1.10.mstack/layer@1'), { recursive: true });
      const { path, entries } = readMstack(join(top, 'os.mstack.v'), 'x86-64');
      expect(path).to.equal(join(top, 'os.mstack.v/os_1.10.mstack'));
      expect(entries[0]?.sort).to.equal('1');
    });

    it('follows links to .v directories and in them', () => {
      make('../versions/layer@0_1 -> ../elsewhere', '../elsewhere/');
      expect(read('layer@0.v -> ../versions')[0]?.what).to.equal(join(top, 'elsewhere'));
    });

    const known = 'known are layer@ID, rw, bind@PLACE, robind@PLACE and root, each with .raw, .v or .raw.v';
    const refusals: readonly [title: string, entries: readonly string[], message: string][] = [
      ['an unknown name', ['notes/'], `x.mstack: "notes" is no name of an entry: ${known}`],
      ['a layer without an ID', ['layer@/'], `x.mstack: "layer@" is no name of an entry: ${known}`],
      ['an image without an ID', ['layer@.raw'], `x.mstack: "layer@.raw" is no name of an entry: ${known}`],
      ['a colon elsewhere', ['layer:0/'], `x.mstack: "layer:0" is no name of an entry: ${known}`],
      ['a bind without a place', ['bind@/'], `x.mstack: "bind@" is no name of an entry: ${known}`],
      ['another case', ['Root/'], `x.mstack: "Root" is no name of an entry: ${known}`],
      ['an ID for rw', ['rw@1/'], `x.mstack: "rw@1" is no name of an entry: ${known}`],
      [
        'another suffix',
        ['layer@0.img'],
        'x.mstack/layer@0.img is a file: without .raw it has to be a directory',
      ],
      ['a file as rw', ['rw'], 'x.mstack/rw is a file: without .raw it has to be a directory'],
      [
        'a file as a bind',
        ['bind@etc-hostname'],
        'x.mstack/bind@etc-hostname is a file: without .raw it has to be a directory',
      ],
      [
        'a directory with the suffix of an image',
        ['layer@0.raw/'],
        'x.mstack/layer@0.raw is a directory: .raw is for disk images and block devices',
      ],
      ['a link to nothing', ['layer@0 -> ../gone'], 'x.mstack/layer@0 is a link to nothing'],
      ['links in a circle', ['layer@0 -> layer@0'], 'x.mstack/layer@0: its links go round in a circle'],
      ['a file as .v', ['layer@0.v'], 'x.mstack/layer@0.v is a file: .v is for a directory of versions'],
      [
        'a .v directory without a fitting version',
        ['layer@0.v/layer@0_1_arm64/'],
        'x.mstack/layer@0.v has no version for x86-64: looked for layer@0_VERSION, found "layer@0_1_arm64"',
      ],
      [
        'an empty .v directory',
        ['rw.raw.v/'],
        'x.mstack/rw.raw.v has no version for x86-64: looked for rw_VERSION.raw, found nothing',
      ],
      [
        'a version of the wrong type',
        ['layer@0.v/layer@0_1'],
        'x.mstack/layer@0.v/layer@0_1 is a file: without .raw it has to be a directory',
      ],
      [
        'one ID twice',
        ['layer@1/', 'layer@1.raw'],
        'x.mstack: "layer@1" and "layer@1.raw" are both layer "1": remove one',
      ],
      ['rw twice', ['rw/', 'rw.raw'], 'x.mstack: "rw" and "rw.raw" are both rw: remove one'],
      ['root twice', ['root/', 'root.raw'], 'x.mstack: "root" and "root.raw" are both root: remove one'],
      [
        'one place twice',
        ['bind@var/', 'robind@var/'],
        'x.mstack: "bind@var" and "robind@var" are both for /var: remove one',
      ],
      [
        'one place spelled in two ways',
        ['bind@var/', 'bind@v\\x61r.raw'],
        'x.mstack: "bind@v\\x61r.raw" and "bind@var" are both for /var: remove one',
      ],
      [
        'a place with a NUL byte',
        ['bind@a\\x00/'],
        'x.mstack: "bind@a\\x00": "a\\x00" stands for "/a\\x00", which has a NUL byte in it: systemd-escape --path writes such names',
      ],
      [
        'a place that is not normal',
        ['bind@..-etc/'],
        'x.mstack: "bind@..-etc": "..-etc" stands for "/../etc", which has "." or ".." in it: systemd-escape --path writes such names',
      ],
    ];
    for (const [title, entries, message] of refusals)
      it(`refuses ${title}`, () => expect(messageOf(() => read(...entries))).to.equal(message));

    it('refuses a fifo', () => {
      execFileSync('mkfifo', [join(make(), 'layer@0.raw')]);
      expect(messageOf(() => read())).to.equal(
        'x.mstack/layer@0.raw is neither a directory nor a disk image: .raw is for disk images and block devices',
      );
    });

    it('refuses a name that is no text', () => {
      mkdirSync(Buffer.concat([Buffer.from(`${make()}/layer@`), Buffer.from([0xff])]));
      expect(messageOf(() => read())).to.equal(
        `"${join(top, 'x.mstack/layer@\ufffd')}": a name that is no UTF-8 text`.replaceAll(`${top}/`, ''),
      );
    });

    it('tells all mistakes in one go', () =>
      expect(messageOf(() => read('a/', 'rw', 'layer@1/', 'layer@1.raw')).split('\n')).to.have.length(3));

    it('refuses what is no directory, or not there', () => {
      make('../file');
      expect(messageOf(() => readMstack(join(top, 'file'), 'x86-64'))).to.equal('file is no directory');
      expect(messageOf(() => readMstack(join(top, 'gone'), 'x86-64'))).to.equal('gone: no such directory');
    });

    const covered: readonly [string, readonly string[], readonly (string | null)[]][] = [
      ['layers go to the root', ['layer@0/', 'rw/'], ['/', '/']],
      ['with a root they go to its usr', ['root/', 'layer@0/', 'rw/'], ['/', '/usr', '/usr']],
      ['a bind at usr covers them', ['root/', 'layer@0/', 'bind@usr/'], ['/', null, '/usr']],
      ['a bind at usr alone covers nothing', ['layer@0/', 'bind@usr/'], ['/', '/usr']],
      ['a bind at the root covers the root too', ['root/', 'layer@0/', 'bind@-/'], [null, null, '/']],
    ];
    for (const [title, entries, places] of covered)
      it(`tells where each goes: ${title}`, () =>
        expect(read(...entries).map(({ where }) => where)).to.deep.equal(places));
  });

  describe('stackFromMstack', () => {
    const stackOf = async (entries: readonly string[], readOnly = false): Promise<Stack> =>
      stackFromMstack(read(...entries), { readOnly, architecture: 'x86-64', loadRun: async () => tools });
    const refused = async (entries: readonly string[], readOnly = false): Promise<string> =>
      stackOf(entries, readOnly).then(
        () => 'no failure',
        (error: Error) => error.message.replaceAll(`${top}/`, ''),
      );
    const at = (name: string): string => join(top, 'x.mstack', name);

    it('keeps the marks in user.* attributes, as systemd does', async () =>
      expect(await stackOf(['layer@0/'])).to.deep.equal({
        from: 'mstack',
        xattrs: 'user',
        readOnly: false,
        layers: [directory(at('layer@0'))],
        binds: [],
      }));

    it('has the layers from the bottom up and rw/data as the upper directory', async () => {
      const stack = await stackOf(['rw/', 'layer@10/', 'layer@2.raw']);
      expect(stack.layers).to.deep.equal([image(at('layer@2.raw')), directory(at('layer@10'))]);
      expect(stack.writable).to.deep.equal({ upper: at('rw/data'), work: at('rw/work'), make: true });
    });

    it('has both directories in the image for rw.raw', async () => {
      const { writable } = await stackOf(['rw.raw']);
      expect(writable).to.deep.equal({
        image: image(at('rw.raw'), 'ext4'),
        upper: 'data',
        work: 'work',
        make: true,
      });
    });

    it('has binds, read-only for robind', async () => {
      const { binds } = await stackOf(['bind@var-lib/', 'robind@etc.raw', 'layer@0/']);
      expect(binds).to.deep.equal([
        { source: directory(at('bind@var-lib')), inside: '/var/lib', readOnly: false },
        { source: image(at('robind@etc.raw')), inside: '/etc', readOnly: true },
      ]);
    });

    it('loads what looks into images only where there is one', async () => {
      const loadRun = async (): Promise<RunTool> => {
        throw new Error('loaded');
      };
      const options = { readOnly: false, architecture: 'x86-64', loadRun };
      expect((await stackFromMstack(read('layer@0/', 'rw/', 'bind@var/'), options)).layers).to.have.length(1);
    });

    it('drops everything for a bind at the root, the root too', async () => {
      const stack = await stackOf(['root/', 'layer@0/', 'rw/', 'bind@-/', 'bind@var/']);
      expect(stack).to.deep.include({ layers: [], root: directory(at('bind@-')) });
      expect(stack.writable).to.equal(undefined);
      expect(stack.binds.map(({ inside }) => inside)).to.deep.equal(['/var']);
    });

    it('has a read-only bind at the root as a lone layer', async () => {
      const layers = [directory(at('robind@-'))];
      const stack = await stackOf(['layer@0/', 'robind@-/']);
      expect(stack).to.deep.include({ layers, binds: [] });
      expect(stack.root).to.equal(undefined);
    });

    it('drops the overlay for a root with a bind at /usr', async () => {
      const stack = await stackOf(['root/', 'layer@0/', 'rw/', 'robind@usr/']);
      expect(stack).to.deep.include({ layers: [], root: directory(at('root')) });
      expect(stack.writable).to.equal(undefined);
    });

    it('keeps the overlay for a bind at /usr without a root', async () =>
      expect((await stackOf(['layer@0/', 'robind@usr/'])).layers).to.have.length(1));

    it('does not look into what is dropped', async () =>
      expect((await stackOf(['layer@0.raw -> /proc/version', 'bind@-/'])).layers).to.deep.equal([]));

    it('binds a usr partition to the usr of a root', async () => {
      const stack = await stackOf(['root/', 'layer@usr-only.raw']);
      expect(stack.layers).to.deep.equal([]);
      expect(stack.binds).to.deep.include({
        source: {
          kind: 'image',
          path: at('layer@usr-only.raw'),
          type: 'ext4',
          offsetBytes: 512,
          sizeBytes: 512,
        },
        inside: '/usr',
        readOnly: true,
      });
    });

    it('takes a usr partition for a bind', async () =>
      expect((await stackOf(['robind@opt-usr-only.raw', 'robind@usr\\x2donly.raw'])).binds).to.have.length(
        2,
      ));

    for (const entries of [
      ['layer@usr-only.raw'],
      ['root/', 'layer@usr-only.raw', 'layer@2/'],
      ['root/', 'layer@usr-only.raw', 'rw/'],
    ])
      it(`refuses a usr partition where a root is needed: ${entries.join(' ')}`, async () =>
        expect(await refused(entries)).to.equal(
          '"layer@usr-only.raw": x.mstack/layer@usr-only.raw has a usr partition alone, and a root is needed here for x86-64: its partitions are 1 (usr for x86-64)',
        ));

    describe('read-only', () => {
      it('has no bind writable', async () =>
        expect((await stackOf(['bind@var/'], true)).binds).to.deep.equal([
          { source: directory(at('bind@var')), inside: '/var', readOnly: true },
        ]));

      it('uses rw/data where it is there', async () => {
        const { writable, readOnly } = await stackOf(['layer@0/', 'rw/data/'], true);
        expect(writable?.upper).to.equal(at('rw/data'));
        expect(readOnly).to.equal(true);
      });

      it('passes over rw where nothing has been written yet', async () =>
        expect((await stackOf(['layer@0/', 'rw/'], true)).writable).to.equal(undefined));

      it('has a bind at the root as a lone layer', async () =>
        expect(await stackOf(['bind@-/'], true)).to.deep.include({ layers: [directory(at('bind@-'))] }));
    });

    it('makes and changes nothing', async () => {
      await stackOf(['layer@0/', 'rw/']);
      expect(readdirSync(at('rw'))).to.deep.equal([]);
    });

    const mistakes: readonly [title: string, entries: readonly string[], message: string][] = [
      [
        'a link for rw/data',
        ['../d/', 'rw/data -> ../../d'],
        '"rw": x.mstack/rw/data is a link: it has to be a directory of its own',
      ],
      [
        'a file for rw/work',
        ['rw/work'],
        '"rw": x.mstack/rw/work is no directory: it has to be a directory of its own',
      ],
      [
        'an rw that cannot be written',
        ['../s.raw', 'rw.raw -> ../s.raw'],
        '"rw.raw": s.raw holds squashfs, which cannot be written: mount it read-only, or make it a layer',
      ],
      [
        'one directory as two layers',
        ['../d/', 'layer@0 -> ../d', 'layer@1 -> ../d'],
        '"layer@0" and "layer@1" are both d',
      ],
      [
        'a layer within another',
        ['../d/e/', 'layer@0 -> ../d', 'layer@1 -> ../d/e'],
        '"layer@0" and "layer@1" lie within each other (d, d/e)',
      ],
      [
        'a layer within rw',
        ['rw/data/', 'layer@0 -> rw/data'],
        '"layer@0" and "rw" lie within each other (x.mstack/rw/data, x.mstack/rw)',
      ],
      [
        'a root with a layer that has no usr',
        ['root/', 'layer@0/'],
        'no usr in x.mstack/layer@0: with a root, the usr directory of the layers is what is mounted',
      ],
      [
        'a root with a usr that is a link',
        ['root/', 'layer@0/x/', 'layer@0/usr -> x'],
        'x.mstack/layer@0/usr is no directory: with a root, the usr directory of the layers is what is mounted',
      ],
      [
        'a root with a lone rw that has no usr',
        ['root/', 'rw/data/'],
        'no usr in x.mstack/rw/data: with a root, the usr directory of the layers is what is mounted',
      ],
    ];
    for (const [title, entries, message] of mistakes)
      it(`refuses ${title}`, async () => expect(await refused(entries)).to.equal(message));
  });

  describe('lowerFromMstack', () => {
    const lowerOf = async (...entries: readonly string[]): Promise<Stack> =>
      lowerFromMstack(read(...entries), { architecture: 'x86-64', loadRun: async () => tools });

    it('has rw/data as the top layer', async () => {
      const stack = await lowerOf('rw/data/', 'layer@0/');
      expect(
        stack.layers.map((tree) => tree.kind === 'directory' && tree.path.slice(top.length + 1)),
      ).to.deep.equal(['x.mstack/layer@0', 'x.mstack/rw/data']);
      expect(stack.writable).to.equal(undefined);
      expect(stack.readOnly).to.equal(true);
    });

    it('has the data directory of rw.raw as the top layer', async () =>
      expect((await lowerOf('rw.raw')).layers).to.deep.equal([
        { ...image(join(top, 'x.mstack/rw.raw'), 'ext4'), inside: 'data' },
      ]));

    it('refuses a root', async () => {
      const message = await lowerOf('root/', 'layer@0/').then(
        () => 'no failure',
        (error: Error) => error.message,
      );
      expect(message).to.include('"root" of a mount stack is of no use in a read-only layer');
      expect(message).to.include('use the mount stack as STACK');
    });
  });
});
