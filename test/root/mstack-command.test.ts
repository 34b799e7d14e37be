import { resolve } from 'node:path';
import { expect } from 'chai';
import { PROJECT, useSandbox } from '../helpers/namespaces.js';

const HELPER = resolve(PROJECT, 'bin', 'mount.mstack');

/** The command line of overlay-mstack and mount.mstack, and unmounting. */
describe('overlay-mstack', () => {
  const sandbox = useSandbox();
  const sh = (script: string): Promise<string> => sandbox().sh(script);
  const run = (...args: readonly string[]) => sandbox().run(args);
  const mountCount = async (): Promise<number> =>
    Number(await sh('grep -c " /srv/t/" /proc/self/mountinfo || true'));

  beforeEach(() =>
    sh('mkdir -p x.mstack/layer@1/var x.mstack/bind@var x.mstack/rw w; echo a >x.mstack/layer@1/f'),
  );
  afterEach(async () => {
    await sh('while mountpoint -q w; do umount -R w; done; rm -rf ./*');
  });

  for (const options of [['-m'], ['--mount'], ['-M'], ['--mount', '--mkdir']])
    it(`mounts with ${options.join(' ')}`, async () => {
      expect(await run('overlay-mstack', ...options, 'x.mstack', 'w')).to.include({
        code: 0,
        stdout: '',
        stderr: '',
      });
      expect(await sh('cat w/f; findmnt -n -o FSTYPE w')).to.equal('a\noverlay\n');
    });

  it('makes the mount point with -M, its parents too, and removes it with -U', async () => {
    expect((await run('overlay-mstack', '-M', 'x.mstack', 'new/place')).code).to.equal(0);
    expect(await sh('stat -c %a new/place new; cat new/place/f')).to.equal('755\n755\na\n');
    expect((await run('overlay-mstack', '-U', 'new/place')).code).to.equal(0);
    expect(await sh('ls new')).to.equal('');
  });

  for (const options of [['-u'], ['--umount'], ['-U'], ['--umount', '--rmdir']])
    it(`unmounts with ${options.join(' ')}`, async () => {
      await run('overlay-mstack', '-m', 'x.mstack', 'w');
      expect(await run('overlay-mstack', ...options, 'w')).to.include({ code: 0, stdout: '', stderr: '' });
      expect(await mountCount()).to.equal(0);
      const removed = options.includes('-U') || options.includes('--rmdir');
      expect((await run('test', '-d', 'w')).code).to.equal(removed ? 1 : 0);
    });

  it('unmounts everything at and below WHERE, stacked mounts too', async () => {
    await run('overlay-mstack', '-m', 'x.mstack', 'w');
    await sh('mount -t tmpfs a w/var; mkdir w/var/deep; mount -t tmpfs b w/var/deep');
    // Upon each other, and a name with what mountinfo escapes.
    await sh(
      'mount --bind x.mstack/layer@1 w; mkdir "w/var/a b"; mount -t tmpfs c "w/var/a b"; mount -t tmpfs d w',
    );
    expect((await run('overlay-mstack', '-u', 'w')).code).to.equal(0);
    expect(await mountCount()).to.equal(0);
  });

  it('leaves alone what only begins like WHERE', async () => {
    await sh('mkdir wa; mount -t tmpfs a wa');
    await run('overlay-mstack', '-m', 'x.mstack', 'w');
    expect((await run('overlay-mstack', '-u', 'w')).code).to.equal(0);
    expect(await sh('mountpoint wa; umount wa')).to.include('is a mountpoint');
  });

  it('refuses to unmount what is no mount point, what is not there, and what is in use', async () => {
    expect(await run('overlay-mstack', '-u', 'w')).to.include({
      code: 1,
      stderr: 'overlay-mstack: /srv/t/w is no mount point\n',
    });
    expect(await run('overlay-mstack', '-U', 'w')).to.include({ code: 1 });
    expect((await run('test', '-d', 'w')).code).to.equal(0);
    expect(await run('overlay-mstack', '-u', 'gone')).to.include({
      code: 2,
      stderr: 'overlay-mstack: /srv/t/gone: no such directory\n',
    });
    await run('overlay-mstack', '-m', 'x.mstack', 'w');
    const holder = sandbox().spawn(['sleep', '60'], { cwd: '/srv/t/w' });
    await sh('until [ "$(readlink /proc/[0-9]*/cwd | grep -c ^/srv/t/w$)" -gt 0 ]; do :; done');
    const { code, stderr } = await run('overlay-mstack', '-U', 'w');
    holder.kill('SIGKILL');
    await holder.completed();
    expect(code).to.equal(1);
    expect(stderr).to.match(/^overlay-mstack: .*\/srv\/t\/w.*busy/i);
    expect((await run('test', '-d', 'w')).code).to.equal(0);
  });

  it('reaches WHERE through a link, and the stack too', async () => {
    await sh('ln -s w link; ln -s x.mstack y.mstack');
    expect((await run('overlay-mstack', '-m', 'y.mstack', 'link')).code).to.equal(0);
    expect(await sh('cat w/f')).to.equal('a\n');
    expect((await run('overlay-mstack', '-U', 'link')).code).to.equal(0);
    expect(await sh('ls -d w link 2>&1 || true')).to.include("cannot access 'w'");
  });

  it('mounts the newest of a .mstack.v directory', async () => {
    await sh(
      'mkdir x.mstack.v; for v in 1.9 1.10; do mkdir -p x.mstack.v/x_$v.mstack/layer@0; echo $v >x.mstack.v/x_$v.mstack/layer@0/v; done',
    );
    expect((await run('overlay-mstack', '-m', 'x.mstack.v', 'w')).code).to.equal(0);
    expect(await sh('cat w/v')).to.equal('1.10\n');
  });

  it('mounts one stack on two places, if nothing in it is writable', async () => {
    await sh('mkdir w2; rmdir x.mstack/rw');
    expect((await run('overlay-mstack', '-m', 'x.mstack', 'w')).code).to.equal(0);
    expect((await run('overlay-mstack', '-m', 'x.mstack', 'w2')).code).to.equal(0);
    await sh('umount -R w2');
  });

  it('refuses a second use of one rw', async () => {
    await sh('mkdir w2');
    expect((await run('overlay-mstack', '-m', 'x.mstack', 'w')).code).to.equal(0);
    await sh('echo kept >w/g');
    const { code, stderr } = await run('overlay-mstack', '-m', 'x.mstack', 'w2');
    expect(code).to.equal(1);
    expect(stderr).to.include('x.mstack/rw/work');
    expect(await sh('cat w/g; ls w2; echo more >w/h; cat w/h')).to.equal('kept\nmore\n');
  });

  const usage: readonly [args: readonly string[], message: string][] = [
    [[], 'WHAT is needed, and nothing else: see overlay-mstack --help'],
    [['a', 'b'], 'WHAT is needed, and nothing else: see overlay-mstack --help'],
    [['-m', 'x.mstack'], 'WHAT and WHERE are needed, and nothing else: see overlay-mstack --help'],
    [['-u'], 'WHERE is needed, and nothing else: see overlay-mstack --help'],
    [['-mu', 'x.mstack', 'w'], '--mount and --umount exclude each other'],
    [['--mkdir', 'x.mstack'], '--mkdir is for --mount'],
    [['-m', '--rmdir', 'x.mstack', 'w'], '--rmdir is for --umount'],
    [['--json=yaml', 'x.mstack'], '--json="yaml" is not known: write short, pretty or off'],
    [['gone.mstack'], '/srv/t/gone.mstack: no such directory'],
  ];
  for (const [args, message] of usage)
    it(`refuses "${args.join(' ')}"`, async () =>
      expect(await run('overlay-mstack', ...args)).to.include({
        code: 2,
        stdout: '',
        stderr: `overlay-mstack: ${message}\n`,
      }));

  it('shows a table, without titles with --no-legend, and without root', async () => {
    const rows = [
      'layer  layer@1   directory  /srv/t/x.mstack/layer@1   /      1',
      'rw     rw        directory  /srv/t/x.mstack/rw        /      -',
      'bind   bind@var  directory  /srv/t/x.mstack/bind@var  /var   -',
    ];
    const all = ['TYPE   NAME      IMAGE      WHAT                      WHERE  SORT', ...rows];
    for (const [args, lines] of [
      [[], all],
      [['--no-legend'], rows],
      [['--json=off'], all],
    ] as const) {
      const argv = ['setpriv', '--reuid=65534', '--clear-groups', 'overlay-mstack', ...args, 'x.mstack'];
      expect(await run(...argv)).to.include({ code: 0, stdout: `${lines.join('\n')}\n`, stderr: '' });
    }
  });

  it('shows JSON, on one line or several, with null for nothing', async () => {
    const first = {
      type: 'layer',
      name: 'layer@1',
      image: 'directory',
      what: '/srv/t/x.mstack/layer@1',
      where: '/',
      sort: '1',
    };
    for (const [option, lines] of [
      ['--json=short', 1],
      ['--json', 1],
      ['--json=pretty', 26],
    ] as const) {
      const { code, stdout } = await run('overlay-mstack', option, 'x.mstack');
      expect(code).to.equal(0);
      expect(stdout.trimEnd().split('\n')).to.have.length(lines);
      const entries = JSON.parse(stdout);
      expect(JSON.stringify(entries[0])).to.equal(JSON.stringify(first));
      expect(entries[1].sort).to.equal(null);
    }
  });

  it('says that it must be root, and does nothing', async () => {
    for (const args of [
      ['-m', 'x.mstack', 'w'],
      ['-M', 'x.mstack', 'new'],
      ['-u', 'w'],
    ]) {
      const result = await run('setpriv', '--reuid=65534', '--clear-groups', 'overlay-mstack', ...args);
      expect(result).to.include({ code: 1, stderr: 'overlay-mstack: must be root\n' });
    }
    expect(await sh('ls -d new 2>/dev/null || true')).to.equal('');
  });

  describe('mount.mstack', () => {
    it('is what mount -t mstack and fstab call', async () => {
      // mount(8) looks in /sbin only: a copy of it, with the helper, in this mount namespace alone.
      await sh(`mkdir /run/up /run/wk; mount -t overlay -o lowerdir=/usr/sbin,upperdir=/run/up,workdir=/run/wk o /usr/sbin
        ln -s ${HELPER} /usr/sbin/mount.mstack`);
      try {
        await sh('mount -t mstack x.mstack w; echo x >w/new; umount -R w');
        expect(await sh('ls x.mstack/rw/data')).to.equal('new\n');
        await sh('mount -t mstack -o ro /srv/t/x.mstack w');
        expect((await run('touch', 'w/new')).stderr).to.include('Read-only file system');
        await sh(
          'umount -R w; echo "/srv/t/x.mstack /srv/t/w mstack noauto,nofail,ro,x-systemd.automount 0 0" >>/etc/fstab; mount w',
        );
        expect((await run('touch', 'w/new')).stderr).to.include('Read-only file system');
        expect((await run('mount', '-t', 'mstack', '-o', 'noexec', 'x.mstack', 'w')).code).to.not.equal(0);
      } finally {
        await sh('while mountpoint -q w; do umount -R w; done; umount /usr/sbin');
      }
    });

    const accepted: readonly (readonly string[])[] = [
      ['-o', 'rw'],
      ['-o', 'ro,rw', '-n', '-s', '-v', '-t', 'mstack'],
      ['-sn', '-o', 'rw,sloppy'],
      ['-o', 'defaults,nofail,_netdev,x-mount.mkdir'],
    ];
    for (const options of accepted)
      it(`mounts with ${options.join(' ')}`, async () => {
        const { code, stdout, stderr } = await run('mount.mstack', 'x.mstack', 'w', ...options);
        const says = options.includes('-v') ? 'x.mstack mounted on w\n' : '';
        expect({ code, stdout, stderr }).to.deep.equal({ code: 0, stdout: says, stderr: '' });
        await sh('echo x >w/new');
      });

    it('does everything but the mounting with -f', async () => {
      expect((await run('mount.mstack', '-f', 'x.mstack', 'w')).code).to.equal(0);
      expect(await mountCount()).to.equal(0);
      expect((await run('mount.mstack', '-f', 'gone.mstack', 'w')).code).to.equal(2);
    });

    const refused: readonly [readonly string[], string][] = [
      [['x.mstack'], 'WHAT and WHERE are needed: see mount.mstack --help'],
      [['x.mstack', 'w', 'y'], 'too many arguments: y: see mount.mstack --help'],
      [['x.mstack', 'w', '-o', 'noatime'], 'mount option "noatime" is not known: ro and rw are'],
      [['x.mstack', 'w', '-t', 'ext4'], '-t "ext4": only mstack is mounted here'],
      [['x.mstack', 'gone'], '/srv/t/gone: no such directory'],
    ];
    for (const [args, message] of refused)
      it(`refuses "${args.join(' ')}"`, async () =>
        expect(await run('mount.mstack', ...args)).to.include({
          code: 2,
          stderr: `mount.mstack: ${message}\n`,
        }));
  });
});
