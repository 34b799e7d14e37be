/** stacko import-image and export-image: real trees there and back, judged by tar itself, and archives that mean harm. */
import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { expect } from 'chai';
import { DEBIAN_BASE, needDebianRoot } from '../helpers/debian-root.js';
import { eventually, requireRoot, useSandbox } from '../helpers/namespaces.js';

const STACKS = '/srv/t/m';

describe('stacko with archives', () => {
  requireRoot();
  needDebianRoot();
  const sandbox = useSandbox();
  /** On a real disk: a tmpfs has no sparse files to speak of. */
  const dir = () => sandbox().diskdir;
  const env = () => ({ WAFERS: `${dir()}/w`, STACKS, DIR: dir() });
  const sh = (script: string): Promise<string> => sandbox().sh(`cd "$DIR"; ${script}`, { env: env() });
  const stacko = async (...args: readonly string[]) => {
    const { code, stdout, stderr } = await sandbox().run(['stacko', ...args], { env: env(), cwd: dir() });
    return { code, stdout, stderr: stderr.replaceAll(dir(), 'DIR') };
  };
  const left = (): Promise<string> => sh('ls -A w');

  beforeEach(async () => {
    await sh('mkdir w t');
  });
  afterEach(async () => {
    await sh('rm -rf ./*');
  });

  describe('there and back', () => {
    /** Everything that tar knows of, made with nothing but coreutils. */
    const TREE = `cd t
      mkdir -m 1777 tmp; mkdir -p deep/${'directory-with-a-long-name/'.repeat(12)}
      echo text >deep/${'directory-with-a-long-name/'.repeat(12)}file
      echo a >file; chown 12345:54321 file; chmod 4751 file; touch -d '2001-02-03 04:05:06.123456789' file
      ln file hard; ln -s /etc/passwd absolute; ln -s ../../outside up; ln -s gone dangling
      mknod null c 1 3; mknod loop b 7 0; mkfifo pipe; mknod removed c 0 0
      truncate -s 50M sparse; printf x | dd of=sparse bs=1 seek=20000000 conv=notrunc status=none
      echo 'ä ö' >"na me\tü"; touch -d 1960-01-01 old; touch -- -dash; mkdir .hidden
      chmod 750 .; chown 3:4 .; touch -d '1999-12-31 23:59:59.5' deep`;

    it('an image is the same', async () => {
      await sh(
        `(${TREE}); cp -a /etc t/etc; tar --create --sparse --format=posix --file=in.tar --directory=t .`,
      );
      const { code, stdout, stderr } = await stacko('import-image', 'in.tar', 'a');
      expect([code, stderr]).to.deep.equal([0, '']);
      expect(stdout).to.match(/^image a imported: \d+ members, [\d.]+M\n$/);
      expect((await stacko('export-image', 'a', 'out.tar')).code).to.equal(0);
      expect((await stacko('import-image', 'out.tar', 'b')).code).to.equal(0);
      expect((await stacko('export-image', 'b', 'again.tar')).code).to.equal(0);
      // Not cmp: tar puts its pid into the names of sparse files' headers.
      await sh('tar --compare --file=out.tar --directory=w/b/data');
      const listing = 'tar --list --verbose --full-time --numeric-owner --quoting-style=escape --file';
      const sorted = (file: string): Promise<string> => sh(`${listing} ${file} | sort -k6`);
      // Of two hard links any can be the first: one archive is sorted by name, one is as the directory was.
      const plain = (text: string): string =>
        text.replace(/^[h-](.*?) +\d+ (\S+ \S+) (\S*(?:file|hard))( link to .*)?$/gm, '$1 $2 $3');
      expect(await sh(`${listing} again.tar`)).to.equal(await sh(`${listing} out.tar`));
      expect(plain(await sorted('out.tar'))).to.equal(plain(await sorted('in.tar')));
      await sh('diff -r --no-dereference t/etc w/b/data/etc');
      expect(await sh('stat -c %h w/b/data/hard; stat -c "%a %u:%g %y" w/b/data')).to.match(/^2\n750 3:4 /);
      expect(Number(await sh('stat -c %b w/b/data/sparse'))).to.be.below(1000);
      expect(await sh('stat -c "%F %t,%T %n" w/b/data/removed')).to.equal(
        'character special file 0,0 w/b/data/removed\n',
      );
    }).timeout(60_000);

    it('a Debian root with all that there can be in it is the same, byte for byte', async () => {
      const capability = Buffer.from('0100000200200000000000000000000000000000', 'hex');
      const ping = pax([['SCHILY.xattr.security.capability', capability]]);
      await sandbox().writeFile(`${dir()}/ping.tar`, archive([ping, header({ name: 'usr/bin/ping' })]));
      // An image whose files lie above the root that is kept, which nobody writes to.
      await sh(`mkdir upper work; stacko new-image a
        mount -t overlay -o "lowerdir=${DEBIAN_BASE},upperdir=$DIR/upper,workdir=$DIR/work" overlay w/a/data
        ln -s w/a/data image; rmdir t; ln -s image/srv t
        tar --extract --xattrs --xattrs-include="*" --file=ping.tar --directory=image
        (${TREE.replace('; mknod removed c 0 0', '')})`);
      try {
        expect(await stacko('export-image', 'a', 'out.tar')).to.include({ code: 0, stderr: '' });
        await sh('tar --compare --file=out.tar --directory=image');
      } finally {
        await sh('umount w/a/data');
      }
      expect(await stacko('import-image', 'out.tar', 'b')).to.include({ code: 0, stderr: '' });
      expect(await stacko('export-image', 'b', 'again.tar')).to.include({ code: 0, stderr: '' });
      const listing = (file: string): Promise<string> =>
        sh(`tar -tvv --full-time --numeric-owner -f ${file}`);
      const listed = await listing('out.tar');
      expect(listed).to.match(/\.\/usr\/lib\/os-release/);
      expect(listed.split('\n').length).to.be.greaterThan(5000);
      expect(await listing('again.tar')).to.equal(listed);
      expect(digest(`${dir()}/again.tar`)).to.equal(digest(`${dir()}/out.tar`));
      const all = '--verbose --verbose --xattrs --xattrs-include="*"';
      expect(await sh(`tar --list ${all} --file=again.tar ./usr/bin/ping`)).to.match(/security\.capability/);
    }).timeout(180_000);

    it('keeps extended attributes, capabilities and ACLs', async () => {
      const capability = Buffer.from('0100000200200000000000000000000000000000', 'hex');
      const attributes: [string, string | Buffer][] = [
        ['SCHILY.xattr.security.capability', capability],
        ['SCHILY.xattr.user.note', 'a=b\nc'],
        ['SCHILY.xattr.trusted.overlay.opaque', 'y'],
        ['SCHILY.acl.access', 'user::rw-\nuser:1234:r--\ngroup::r--\nmask::r--\nother::---\n'],
      ];
      await sandbox().writeFile(`${dir()}/in.tar`, archive([pax(attributes), header({ name: 'f' })]));
      for (const [from, name] of [
        ['in.tar', 'a'],
        ['out.tar', 'b'],
      ] as const) {
        expect(await stacko('import-image', from, name)).to.include({ code: 0, stderr: '' });
        await sh(
          `stacko export-image ${name} ${name === 'a' ? 'out' : 'again'}.tar; cmp out.tar again.tar 2>/dev/null || true`,
        );
      }
      await sh('cmp out.tar again.tar');
      const listed = await sh(
        'tar --list --verbose --verbose --xattrs --xattrs-include="*" --acls --file=again.tar f ./f 2>/dev/null || true',
      );
      expect(listed)
        .to.include('security.capability')
        .and.include('user.note')
        .and.include('trusted.overlay.opaque');
      expect(listed).to.include('user:1234:r--');
    });

    for (const [compressor, ...names] of [
      ['gzip', 'a.tar.gz', 'b.tgz'],
      ['xz', 'a.tar.xz', 'b.txz'],
      ['zstd', 'a.tar.zst', 'b.tzst'],
      ['bzip2', 'a.tar.bz2', 'b.tbz2', 'c.tbz'],
    ] as const)
      it(`${compressor} is known by its first bytes, and made by the file's name`, async () => {
        await sh(`echo x >t/x; tar -C t -cf - . | ${compressor} >whatever`);
        expect(await stacko('import-image', 'whatever')).to.deep.equal({
          code: 0,
          stdout: `image whatever imported: 2 members, ${(await sh('stat -c %s whatever')).trim()}B\n`,
          stderr: '',
        });
        for (const name of names) {
          await sh(`stacko export-image whatever ${name}; ${compressor} -dc <${name} | tar -tf - >list`);
          expect(await sh(`cat list; rm -rf w/[abc]; stacko import-image ${name} >/dev/null; ls w`)).to.match(
            /^\.\/\n\.\/x\n[abc]\nwhatever\n$/,
          );
        }
      });

    it('says what it could not keep, and how much more there is', async () => {
      const bad = Array.from({ length: 7 }, (_, i) => [
        pax([['SCHILY.xattr.nosuch.note', 'x']]),
        header({ name: `f${i}` }),
      ]);
      await sandbox().writeFile(`${dir()}/in.tar`, archive(bad.flat()));
      const { code, stderr } = await stacko('import-image', 'in.tar', 'a');
      const lines = [0, 1, 2, 3, 4].map(
        (i) => `stacko: warning: tar: .*Cannot set 'nosuch.note' extended attribute for file 'f${i}': .*\n`,
      );
      expect([code, stderr]).to.deep.equal([0, stderr]);
      expect(stderr).to.match(new RegExp(`^${lines.join('')}stacko: 2 more warnings\n$`));
    });

    it('a layer keeps what it removes from its parent, and squashed it is one tree', async () => {
      await sh(`mkdir t/d; echo a >t/a; echo b >t/b; echo c >t/d/c; tar -C t -cf base.tar .; stacko import-image base.tar
        stacko new-image top base; stacko edit-image top; cd ${STACKS}/top; rm a; rm -r d; mkdir d; echo e >d/e; cd "$DIR"
        stacko close-image top; stacko export-image top layer.tar; stacko export-image top whole.tar --squash`);
      expect(await sh('tar -tvf layer.tar | cut -c1-10,48-')).to.include('c--------- ./a\n');
      expect(await sh('tar -tf whole.tar')).to.equal('./\n./b\n./d/\n./d/e\n');
      await sh(`stacko import-image layer.tar again base; stacko edit-image again --read-only`);
      expect(await sh(`cd ${STACKS}/again; find . | sort; cat d/e; cd /; stacko close-image again`)).to.equal(
        '.\n./b\n./d\n./d/e\ne\nimage again unmounted\n',
      );
      await sh('stacko export-image again layer2.tar; cmp layer.tar layer2.tar');
      expect(await left()).to.equal('again\nbase\ntop\n');
    });
  });

  describe('refuses, and leaves nothing of', () => {
    const NOT_TAR = 'not a tar archive: plain, gzip, xz, zstd, bzip2 are known';
    const bad: readonly [string, () => Buffer | Promise<Buffer>, string][] = [
      [
        '../',
        () => archive([header({ name: '../out' })]),
        'member "../out" is refused: "../out" leads out of the directory',
      ],
      [
        'an absolute path',
        () => archive([header({ name: '/out' })]),
        'member "/out" is refused: "/out" is an absolute path',
      ],
      [
        'a symbolic link, then a file through it',
        () => archive([header({ name: 'l', type: '2', link: '/srv/t' }), header({ name: 'l/out' })]),
        'member "l/out" is refused: "l/out" leads through the symbolic link "l"',
      ],
      [
        'a hard link to outside',
        () => archive([header({ name: 'h', type: '1', link: '../../../secret' })]),
        'member "h" is refused: a hard link to "../../../secret" leads out of the directory',
      ],
      ['what is no archive', () => Buffer.from('hello, world'), NOT_TAR],
      ['an empty file', () => Buffer.alloc(0), NOT_TAR],
      ['what is packed otherwise', () => Buffer.from('PK\x03\x04, and so on'.padEnd(600)), NOT_TAR],
      ['text that is compressed', () => gzipSync('hello, world'), NOT_TAR],
      [
        'a file in a file',
        () => archive([header({ name: 'a' }), header({ name: 'a/b' })]),
        'the archive is refused: tar: a/b: Cannot open: Not a directory',
      ],
      [
        'a hard link to what is not in it',
        () => archive([header({ name: 'h', type: '1', link: 'gone' })]),
        'the archive is refused: tar: h: Cannot hard link to ‘gone’: No such file or directory',
      ],
      [
        'a hard link to a directory',
        () => archive([header({ name: 'd', type: '5' }), header({ name: 'h', type: '1', link: 'd' })]),
        'the archive is refused: tar: h: Cannot hard link to ‘d’: Operation not permitted',
      ],
      [
        'a time that is none',
        () => archive([pax([['mtime', 'yesterday']]), header({ name: 'f' })]),
        'the archive is refused: tar: Malformed extended header: invalid mtime=yesterday',
      ],
      [
        'a name that would steer a terminal',
        () => archive([header({ name: 'a\n\x1b[2J' }), header({ name: 'a\n\x1b[2J/b' })]),
        'the archive is refused: tar: a\\n\\033[2J/b: Cannot open: Not a directory',
      ],
      [
        'a name that is too long',
        () => archive([pax([['path', 'x'.repeat(1000)]]), header({ name: 'f' })]),
        `the archive is refused: tar: ${'x'.repeat(145)}…${'x'.repeat(117)}: Cannot open: File name too long`,
      ],
      [
        'a link in place of the image',
        () => archive([header({ name: './', type: '2', link: '/srv/t' }), header({ name: 'out' })]),
        'member "./" is refused: it would take the place of the directory that it is unpacked in',
      ],
      [
        'an archive that is cut off',
        () => header({ name: 'a', size: 5000 }),
        'the archive is cut off after 1 members',
      ],
    ];
    for (const [title, content, message] of bad)
      it(title, async () => {
        await sh('echo secret >secret');
        await sandbox().writeFile(`${dir()}/bad.tar`, await content());
        expect(await stacko('import-image', 'bad.tar')).to.deep.equal({
          code: 2,
          stdout: '',
          stderr: `stacko: DIR/bad.tar: ${message}\n`,
        });
        expect([await left(), await sh('ls -A; stat -c %h secret')]).to.deep.equal([
          '',
          'bad.tar\nsecret\nt\nw\n1\n',
        ]);
      });

    it('a member that is larger than the disk', async () => {
      await sandbox().writeFile(`${dir()}/bad.tar`, header({ name: 'big', size: 8 ** 11 - 1 }));
      await sh('mount -t tmpfs -o size=1M tmpfs w');
      const { code, stderr } = await stacko('import-image', 'bad.tar');
      expect(await left()).to.equal('');
      await sh('umount w');
      expect(code).to.equal(2);
      expect(stderr).to.match(
        /^stacko: DIR\/bad.tar: member "big" is refused: it has 8589934591 bytes, and \d+ are free/,
      );
    });

    it('an archive whose many small files fill the disk: tar says so', async () => {
      await sh(
        'mkdir t/x; cd t/x; seq 3000 | xargs touch; cd ../..; tar -C t -cf in.tar .; mount -t tmpfs -o nr_inodes=100 tmpfs w',
      );
      const { code, stderr } = await stacko('import-image', 'in.tar');
      expect(await left()).to.equal('');
      await sh('umount w');
      expect([code, stderr]).to.deep.equal([1, stderr]);
      expect(stderr).to.match(/^stacko: DIR\/in.tar: tar: .*No space left on device\n$/);
    });

    for (const compressor of ['gzip', 'xz', 'zstd', 'bzip2'])
      it(`${compressor} that is cut off, and that is damaged`, async () => {
        await sh(
          `head -c 3000000 /dev/urandom >t/x; tar -C t -cf - . | ${compressor} >good; head -c 2000000 good >cut`,
        );
        await sh(
          'cp good damaged; printf damaged | dd of=damaged bs=1 seek=1500000 conv=notrunc status=none',
        );
        for (const file of ['cut', 'damaged']) {
          const { code, stderr } = await stacko('import-image', file);
          expect(code, file).to.equal(2);
          expect(stderr).to.match(
            new RegExp(`^stacko: DIR/${file}: the archive is (damaged: .*|damaged after .*|cut off.*)\n$`),
          );
          expect(await left()).to.equal('');
        }
      });

    it('an import that is killed or interrupted', async () => {
      await sh('head -c 60000000 /dev/zero >t/x; tar -C t -cf in.tar .');
      for (const signal of ['SIGKILL', 'SIGTERM', 'SIGINT'] as const) {
        const running = sandbox().spawn(['stacko', 'import-image', 'in.tar', 'a'], {
          env: env(),
          cwd: dir(),
        });
        await eventually('it unpacks', async () => (await left()).includes('.new:'), 10_000);
        running.kill(signal);
        const { stdout, stderr } = await running.completed();
        if (stdout !== '') continue; // it was quicker
        if (signal !== 'SIGKILL')
          expect([stderr, await left()]).to.deep.equal([
            `stacko: ${dir()}/in.tar: interrupted: no image was made\n`,
            '',
          ]);
        await sh('stacko new-image other; stacko delete-image other');
        await eventually('nothing is left', async () => (await left()) === '');
      }
    });
  });

  const refusals: readonly [readonly string[], string][] = [
    [['import-image', 'gone.tar'], 'DIR/gone.tar cannot be read: no such file or directory (ENOENT)'],
    [['import-image', 't'], 'DIR/t is no file'],
    [['import-image', 'pipe'], 'DIR/pipe is no file'],
    [['import-image', 'a@b.tar'], '"a@b": "@" is in the names of instances only: leave it out'],
    [
      ['import-image', 'x.tar', 'a', 'gone'],
      'no image "gone": stacko list-images shows those that there are',
    ],
    [['import-image', 'x.tar', 'a'], '"a" is the name of an image: choose another name'],
  ];
  for (const [args, message] of refusals)
    it(`says what is wrong with ${args.join(' ')}`, async () => {
      if (message.includes('"a"') || args[1] === 'a') await sh('stacko new-image a');
      await sh('touch x.tar; [ -p pipe ] || mkfifo pipe');
      expect(await stacko(...args)).to.deep.equal({ code: 2, stdout: '', stderr: `stacko: ${message}\n` });
    });

  it('shows how far it is on a terminal, in place, and nothing of it elsewhere', async () => {
    await sh('head -c 200000000 /dev/zero >t/x; tar -C t -cf in.tar .');
    const { stdout } = await sandbox().run(
      ['script', '--quiet', '--command', 'stacko import-image in.tar a', '/dev/null'],
      { env: { ...env(), TERM: 'xterm' }, cwd: dir() },
    );
    expect(stdout).to.match(/[\d.]+M of 190\.7M, \d+ %, [\d.]+[MG]\/s/);
    expect((await stacko('import-image', 'in.tar', 'b')).stdout).to.equal(
      'image b imported: 2 members, 190.7M\n',
    );
  }).timeout(60_000);
});

interface HeaderFields {
  readonly name: string;
  readonly type?: string;
  readonly link?: string;
  readonly size?: number;
}

/** A ustar header. */
function header({ name, type = '0', link = '', size = 0 }: HeaderFields): Buffer {
  const block = Buffer.alloc(512);
  block.write(name, 0, 100);
  block.write('0000640\x000000000\x000000000\0', 100);
  block.write(`${size.toString(8).padStart(11, '0')}\0`, 124);
  block.write('00000000001\0', 136);
  block.write('        ', 148);
  block.write(type, 156);
  block.write(link, 157, 100);
  block.write('ustar\x0000', 257);
  block.write(
    `${block
      .reduce((sum, byte) => sum + byte, 0)
      .toString(8)
      .padStart(6, '0')}\0 `,
    148,
  );
  return block;
}

function pax(records: readonly [string, string | Buffer][]): Buffer {
  const content = Buffer.concat(
    records.map(([key, value]) => {
      const rest = Buffer.concat([Buffer.from(` ${key}=`), Buffer.from(value), Buffer.from('\n')]);
      let length = rest.length;
      while (String(length).length + rest.length !== length) length++;
      return Buffer.concat([Buffer.from(String(length)), rest]);
    }),
  );
  const padding = Buffer.alloc((512 - (content.length % 512)) % 512);
  return Buffer.concat([header({ name: 'PaxHeaders/f', type: 'x', size: content.length }), content, padding]);
}

const archive = (parts: readonly Buffer[]): Buffer => Buffer.concat([...parts, Buffer.alloc(1024)]);

/** Of an archive's bytes, all but the process id that tar puts into the names of sparse files. */
function digest(file: string): string {
  const hash = createHash('sha1');
  const fd = openSync(file, 'r');
  const block = Buffer.alloc(512);
  const chunk = Buffer.alloc(1 << 20);
  try {
    while (readSync(fd, block) === block.length) {
      const path = block.toString('latin1', 0, 100);
      if (/GNUSparseFile\.\d+/.test(path)) {
        block.write(path.replace(/(GNUSparseFile)\.\d+/, '$1').padEnd(100, '\0'), 0, 'latin1');
        block.fill(0, 148, 156); // the sum of the header
      }
      hash.update(block);
      let left = 512 * Math.ceil(Number.parseInt(block.toString('latin1', 124, 136), 8) / 512) || 0;
      while (left > 0) {
        const read = readSync(fd, chunk, 0, Math.min(left, chunk.length), null);
        if (read === 0) throw new Error(`${file} is cut off`);
        hash.update(chunk.subarray(0, read));
        left -= read;
      }
    }
    return hash.digest('hex');
  } finally {
    closeSync(fd);
  }
}
