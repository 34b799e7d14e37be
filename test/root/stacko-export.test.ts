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
