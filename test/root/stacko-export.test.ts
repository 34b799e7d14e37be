/** stacko export-image: what it leaves behind when it is killed or finds no room, and whom it lets read it. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { expect } from 'chai';
import { eventually, type Running, useSandbox } from '../helpers/namespaces.js';

describe('stacko export-image', () => {
  const sandbox = useSandbox();
  /** On a real disk: a large image is no use of memory. */
  const dir = () => sandbox().diskdir;
  const env = () => ({ WAFERS: `${dir()}/w`, STACKS: '/srv/t/m', DIR: dir() });
  const sh = (script: string): Promise<string> => sandbox().sh(`cd "$DIR"; ${script}`, { env: env() });
  const stacko = async (...args: readonly string[]) => {
    const { code, stdout, stderr } = await sandbox().run(['stacko', ...args], { env: env(), cwd: dir() });
    return { code, stdout, stderr: stderr.replaceAll(dir(), 'DIR') };
  };
  const begin = (...args: readonly string[]): Running =>
    sandbox().spawn(['stacko', 'export-image', ...args], { env: env(), cwd: dir() });
  /** An image with a file of random bytes. */
  const image = (name: string, bytes: number, parent = ''): Promise<string> =>
    sh(`mkdir in; head -c ${bytes} /dev/urandom >in/${name}; tar -C in -cf in.tar .
      stacko import-image in.tar ${name} ${parent}; rm -r in in.tar`);

  beforeEach(async () => {
    await sh('mkdir w out');
  });
  afterEach(async () => {
    await sh('rm -rf ./*');
  });

  describe('that is killed', () => {
    /** xz takes a second for a few megabytes of them. */
    const BYTES = 60_000_000;
    const cases: readonly [string, readonly string[]][] = [
      ['a layer', ['top', 'out/a.tar.xz']],
      ['a stack', ['top', 'out/a.tar.xz', '--squash']],
    ];
    for (const [title, args] of cases)
      it(`takes tar and the compressor with it: ${title}`, async () => {
        await image('base', 1000);
        await image('top', BYTES, 'base');
        const running = begin(...args);
        await eventually('it packs', async () => (await sh('find out -type f -size +0')) !== '', 30_000);
        running.kill('SIGKILL');
        expect((await running.completed()).stdout).to.equal('');
        await eventually('nobody packs any more', () => packers(sandbox().pid).length === 0, 30_000);
        const left = (await sh('ls -A out')).trim();
        expect(left).to.match(/^\.a\.tar\.xz\.new:\d+-\d+$/);
        // Had they gone on to their end, it would be whole.
        expect(await sh(`xz --test out/${left} 2>&1 || true`)).to.include('Unexpected end of input');
        await sh(
          'echo mine >out/.c.tar.new:1-2; stacko export-image base out/b.tar --squash; stacko export-image base out/a.tar.xz',
        );
        expect(await sh('ls -A out; ls -A w')).to.equal('.c.tar.new:1-2\na.tar.xz\nb.tar\nbase\ntop\n');
      }).timeout(120_000);

    it('is ended in good order by SIGTERM and SIGINT: nothing is left', async () => {
      await image('a', BYTES);
      for (const signal of ['SIGTERM', 'SIGINT'] as const) {
        const running = begin('a', 'out/a.tar.xz');
        await eventually('it packs', async () => (await sh('ls -A out')) !== '', 30_000);
        running.kill(signal);
        expect(await running.completed()).to.include({
          code: 1,
          stderr: `stacko: ${dir()}/out/a.tar.xz: interrupted: no archive was made\n`,
        });
        expect([await sh('ls -A out'), packers(sandbox().pid)]).to.deep.equal(['', []]);
      }
    }).timeout(120_000);
  });

  describe('that cannot write', () => {
    const isFull = 'its file system is full: make room there';
    const cases: readonly [string, string, string, string][] = [
      ['on a full disk', 'size=1M', 'a.tar', isFull],
      ['on a full disk, compressed', 'size=1M', 'a.tar.zst', isFull],
      ['on a disk without room for a file', 'nr_inodes=2', 'a.tar', isFull],
      ['on a disk that is read-only', 'size=1M,ro', 'a.tar', 'its file system is read-only'],
    ];
    for (const [title, options, file, why] of cases)
      it(`says so, ${title}, and leaves what was there before`, async () => {
        await image('a', 3_000_000);
        await sh('mount -t tmpfs -o size=1M tmpfs out');
        await sh(`echo before >out/${file}; mount -o remount,${options} out`);
        const { code, stdout, stderr } = await stacko('export-image', 'a', `out/${file}`);
        const left = await sh(`ls -A out; cat out/${file}; umount out`);
        expect([code, stdout, left]).to.deep.equal([1, '', `${file}\nbefore\n`]);
        expect(stderr).to.equal(`stacko: DIR/out/${file} cannot be written: ${why}\n`);
      });

    for (const command of ['export-image a out/a.tar.zst', 'import-image packed'])
      it(`says which compressor is missing: ${command}`, async () => {
        await image('a', 1000);
        await sh('tar -C out -cf - . | zstd >packed; mkdir bin; mknod bin/zstd c 0 0');
        const script = `mount -t overlay -o lowerdir=bin:/usr/bin overlay /usr/bin; stacko ${command} 2>&1 || echo $?`;
        const said = await sh(`unshare --mount --propagation private sh -c '${script}'; ls -A w out`);
        expect(said.replaceAll(dir(), 'DIR')).to.match(
          /^stacko: DIR\/\S+: zstd: no such program or directory\n1\nout:\n\nw:\na\n$/,
        );
      });
  });

  it('is for root alone to read, or keeps the owner and mode of the file that it replaces', async () => {
    await image('a', 1000);
    await sh('stacko export-image a out/a.tar; : >out/b.tar; chown 7:8 out/b.tar; chmod 640 out/b.tar');
    await sh('ln -s b.tar out/link; stacko export-image a out/link');
    expect(await sh('cd out; stat -c "%n %F %a %u:%g" *; cmp a.tar b.tar')).to.equal(
      'a.tar regular file 600 0:0\nb.tar regular file 640 7:8\nlink symbolic link 777 0:0\n',
    );
  });

  it('clears beside an archive only plain files of its own: others plant what root would remove', async () => {
    await sh(`stacko new-image a; mkdir victim; touch victim/kept; chmod 1777 out; cd out
      mkdir .a.tar.new:1-1; touch .a.tar.new:1-1/kept; touch .a.tar.new:1-2; chown 7 .a.tar.new:1-2
      ln -s ../victim .a.tar.new:1-3; ln -s ../victim/kept .a.tar.new:1-4; mkfifo .a.tar.new:1-5; touch .a.tar.new:1-6`);
    await sh('stacko export-image a out/a.tar');
    expect(await sh('ls -A out out/.a.tar.new:1-1 victim')).to.equal(
      `out:\n${[1, 2, 3, 4, 5].map((i) => `.a.tar.new:1-${i}\n`).join('')}a.tar\n
out/.a.tar.new:1-1:\nkept\n\nvictim:\nkept\n`,
    );
  });

  describe('to a directory that others write to, too', () => {
    const directories: readonly [string, string][] = [
      ['sticky', 'chmod 1755 out'],
      ['of a group', 'chmod 775 out'],
      ["that is everybody's", 'chmod 777 out'],
      ["of another's", 'chown 7 out'],
    ];
    for (const [title, prepare] of directories)
      it(`is root's alone, and refused where another's file is: ${title}`, async () => {
        await sh(`stacko new-image a; ${prepare}; touch out/own.tar out/other.tar; chown 7 out/other.tar`);
        await sh('chmod 644 out/own.tar; stacko export-image a out/own.tar');
        expect(await stacko('export-image', 'a', 'out/other.tar')).to.deep.equal(refused('out/other.tar'));
        expect(
          await sh('cd out; stat -c "%n %a %u" * .[!.]* 2>/dev/null || true; wc -c <other.tar'),
        ).to.equal('other.tar 644 7\nown.tar 600 0\n0\n');
      });

    it("refuses another's link, wherever on the way, and follows its own", async () => {
      await sh(`stacko new-image a; chmod 1777 out; mkdir own; echo before | tee own/a.tar >own/b.tar; chmod 640 own/b.tar
        ln -s ../own/a.tar out/link; chown -h 7 out/link; ln -s out/link to-link; ln -s ../own/b.tar out/mine
        ln -s ../own/new.tar out/new; ln -s gone out/gone; chown -h 7 out/gone`);
      for (const file of ['out/link', 'to-link'])
        expect(await stacko('export-image', 'a', file)).to.deep.equal(refused('out/link'));
      expect(await stacko('export-image', 'a', 'out/gone')).to.deep.equal(refused('out/gone'));
      await sh('stacko export-image a out/mine; stacko export-image a out/new; cmp own/b.tar own/new.tar');
      expect(await sh('cat own/a.tar; cd own; stat -c "%n %a" *')).to.equal(
        'before\na.tar 644\nb.tar 640\nnew.tar 600\n',
      );
    });

    const refused = (path: string) => ({
      code: 2,
      stdout: '',
      stderr: `stacko: DIR/${path} is there, and belongs to uid 7, in a directory that others write to, too: remove it, or write the archive to another place\n`,
    });
  });

  it('does not follow a link into the store', async () => {
    await sh(
      'stacko new-image a; echo before >w/a/data/x; ln -s ../w/a/data/x out/x; ln -s ../w/a/data/y out/y',
    );
    for (const file of ['out/x', 'out/y'])
      expect(await stacko('export-image', 'a', file)).to.deep.equal({
        code: 2,
        stdout: '',
        stderr: `stacko: DIR/${file} is in the store: write the archive to another place\n`,
      });
    expect(await sh('cat w/a/data/*; ls -A out')).to.equal('before\nx\ny\n');
  });

  describe('while the store is being changed', () => {
    const waiting = /^stacko: waiting for .*\n/;
    const open = 'image "a" is open for editing: stacko close-image a first';
    const gone = 'no image "a": stacko list-images shows those that there are';
    const cases: readonly [string, string, number, string][] = [
      ['is edited', 'mv w/a/sealed w/a/open', 1, `stacko: ${open}\n`],
      ['is deleted', 'rm -r w/a', 2, `stacko: ${gone}\n`],
      ['is another by then', 'rm -r w/a; mv w/b w/a', 0, ''],
    ];
    for (const [title, change, code, stderr] of cases)
      it(`takes the image as it is afterwards: it ${title}`, async () => {
        await sh('stacko new-image a; stacko new-image b; touch w/a/data/old w/b/data/new');
        // flock alone has the lock, in the place of an edit or a deletion that is under way.
        const holder = sandbox().spawn(['flock', '--no-fork', 'w', 'cat'], { env: env(), cwd: dir() });
        await eventually('it is locked', async () => (await sh('flock -n w true || echo locked')) !== '');
        const running = begin('a', 'out/a.tar');
        try {
          await eventually('it waits', () => waiting.test(running.stderr), 20_000);
          await sh(change);
        } finally {
          holder.child.stdin?.end();
          await holder.completed();
        }
        const ended = await running.completed();
        expect([ended.code, ended.stderr.replace(waiting, '')]).to.deep.equal([code, stderr]);
        const packed = await sh('for file in out/*; do [ ! -f "$file" ] || tar -tf "$file"; done');
        expect(packed).to.equal(code === 0 ? './\n./new\n' : '');
      });
  });

  it('packs one image several times at once', async () => {
    await image('a', 1_000_000);
    await sh(
      'for i in 1 2 3; do stacko export-image a out/$i.tar & done; wait; cd out; cmp 1.tar 2.tar; cmp 1.tar 3.tar',
    );
    expect(await sh('ls -A out')).to.equal('1.tar\n2.tar\n3.tar\n');
  });

  it('keeps an image from being deleted and edited meanwhile', async () => {
    await sh('stacko new-image a');
    const holder = sandbox().spawn(['flock', '--shared', 'w/a/data', 'cat'], { env: env(), cwd: dir() });
    try {
      const message = 'image "a" is being exported: try again when that is done';
      await eventually(
        'it is locked',
        async () => (await sh('flock --exclusive --nonblock w/a/data true || echo locked')) !== '',
      );
      for (const verb of ['delete-image', 'edit-image'])
        expect(await stacko(verb, 'a')).to.deep.equal({
          code: 1,
          stdout: '',
          stderr: `stacko: ${message}\n`,
        });
    } finally {
      holder.child.stdin?.end();
      await holder.completed();
    }
  });

  const refusals: readonly [readonly string[], string][] = [
    [['gone', 'x.tar'], 'no image "gone": stacko list-images shows those that there are'],
    [['a', 'no/x.tar'], 'DIR/no: no such directory'],
    [['a', 'file/x.tar'], 'DIR/file: no such directory'],
    [['a', 'out'], 'DIR/out is there, and is no file'],
    [['a', '/dev/null'], '/dev/null is there, and is no file'],
    [['a', 'w/a/data/x.tar'], 'DIR/w/a/data/x.tar is in the store: write the archive to another place'],
  ];
  for (const [args, message] of refusals)
    it(`says what is wrong with ${args.join(' ')}`, async () => {
      await sh('stacko new-image a; touch file');
      const refused = { code: 2, stdout: '', stderr: `stacko: ${message}\n` };
      expect(await stacko('export-image', ...args)).to.deep.equal(refused);
      expect(await sh('ls -A out w/a/data')).to.equal('out:\n\nw/a/data:\n');
    });
});

/** Who packs, or compresses what is packed, in the pid namespace of a process. */
function packers(inside: number): string[] {
  const home = readlinkSync(`/proc/${inside}/ns/pid`);
  return readdirSync('/proc')
    .filter((pid) => /^\d+$/.test(pid))
    .flatMap((pid) => {
      try {
        const [program = ''] = /^(tar|xz)(?=\0)/.exec(readFileSync(`/proc/${pid}/cmdline`, 'latin1')) ?? [];
        return program !== '' && readlinkSync(`/proc/${pid}/ns/pid`) === home ? [`${program} ${pid}`] : [];
      } catch {
        return []; // it ended while it was looked at
      }
    });
}
