/** A subhost's own root user prepared its root: the next boot, and the stop, must not touch the host by it. */
import { expect } from 'chai';
import { BASE_ROOT, useSubhosts } from '../helpers/subhosts.js';

describe('overlay-boot: a root that its owner prepared', () => {
  const subhosts = useSubhosts();
  const base = '/opt/subhost/a';
  /** The host's file and directory that links point to; a path inside the subhost too, where it is not there. */
  const FILE = '/srv/t/victim/file';
  const DIRECTORY = '/srv/t/victim/directory';

  const state = async (): Promise<string> =>
    await subhosts.sandbox.sh(
      'find victim -exec stat -c "%n %a %u %F %s %y %z" {} +; cat victim/file; ls -la --time-style=full-iso victim/directory /srv/t',
    );
  let before: string;
  beforeEach(async () => {
    await subhosts.sandbox.sh(
      'rm -rf victim; mkdir -p victim/directory; echo precious >victim/file; chmod 600 victim/file; touch -d 2001-01-01 victim/*',
    );
    before = await state();
  });
  afterEach(async () => {
    expect(await state()).to.equal(before);
    await subhosts.sandbox.sh('rm -rf victim');
  });

  const links: readonly [string, string, 'boots' | RegExp][] = [
    ['dev', DIRECTORY, /^a: cannot make \/dev: Symbolic link loop: is a symbolic link in the subhost's root/],
    ['proc', DIRECTORY, /^a: cannot mount \/proc: Symbolic link loop: /],
    ['sys', DIRECTORY, /^a: cannot mount \/sys: Symbolic link loop: /],
    ['run', DIRECTORY, /^a: cannot mount \/run: Symbolic link loop: /],
    [
      '.reaper',
      FILE,
      /^a: cannot place \/.reaper: Symbolic link loop: is a symbolic link in the subhost's root/,
    ],
    ['etc/adjtime', FILE, 'boots'],
    [
      'etc',
      DIRECTORY,
      /^a: cannot write in UPPER etc\/network\/interfaces: Symbolic link loop: has a symbolic link on its way/,
    ],
    [
      'etc/network',
      DIRECTORY,
      /^a: cannot write in UPPER etc\/network\/interfaces: Symbolic link loop: has a symbolic link on its way/,
    ],
    [
      'etc/network/interfaces',
      FILE,
      /^a: cannot write in UPPER etc\/network\/interfaces: Symbolic link loop: is a symbolic link/,
    ],
    [
      'etc/network/interfaces',
      `${DIRECTORY}/new`,
      /^a: cannot write in UPPER etc\/network\/interfaces: Symbolic link loop: is a symbolic link/,
    ],
  ];
  for (const [place, absolute, outcome] of links)
    for (const target of [absolute, `/proc/1/root${absolute}`])
      it(`with ${place} a link to ${target} ${outcome === 'boots' ? 'boots' : 'is refused'}, and the host's file is as it was`, async () => {
        const conf = await subhosts.make('a', { LOWER: BASE_ROOT });
        await subhosts.sandbox.sh(
          '[ ! -e /etc/adjtime ] || rm /etc/adjtime; echo host >/etc/adjtime; mkdir -p "$(dirname "root/$P")"; ln -sn "$T" "root/$P"',
          {
            cwd: base,
            env: { P: place, T: target },
          },
        );
        const { code, stderr } = await subhosts.boot([conf]);
        if (outcome === 'boots') {
          expect(code, stderr).to.equal(0);
          expect((await subhosts.stop('a')).code).to.equal(0);
        } else {
          expect(code).to.equal(1);
          expect(stderr.replace(/^overlay-boot: /, '')).to.match(outcome);
        }
        expect(await subhosts.sandbox.sh('readlink "root/$P"', { cwd: base, env: { P: place } })).to.equal(
          `${target}\n`,
        );
        expect(await subhosts.sandbox.sh('cat /etc/adjtime; rm /etc/adjtime')).to.equal('host\n');
      });

  const others: readonly [string, string, RegExp | 'boots'][] = [
    [
      '/dev is a file',
      'touch root/dev',
      /cannot make \/dev: Not a directory: is no directory in the subhost's root/,
    ],
    ['/run is a device', 'mknod root/run c 1 3', /cannot mount \/run: Not a directory: is no directory/],
    [
      '/.reaper is a directory',
      'mkdir root/.reaper',
      /cannot place \/.reaper: Is a directory: is a directory in the subhost's root/,
    ],
    [
      '/.reaper is a pipe',
      'mkfifo root/.reaper',
      /cannot place \/.reaper: Invalid argument: is no regular file in the subhost's root/,
    ],
    ['/etc/adjtime is a directory', 'mkdir -p root/etc/adjtime', 'boots'],
    [
      '/etc/network/interfaces is a pipe that nobody reads',
      'mkdir -p root/etc/network; mkfifo root/etc/network/interfaces',
      'boots',
    ],
    ['/bin/sh is a pipe', 'mkdir -p root/bin; mkfifo root/bin/sh', /cannot run \/bin\/sh: Permission denied/],
    [
      '/bin/sh does nothing',
      'mkdir -p root/bin; printf "#!/bin/true\\n" >root/bin/sh; chmod 755 root/bin/sh',
      /pid 1 (exited|was ended)/,
    ],
  ];
  for (const [title, prepare, outcome] of others)
    it(`in which ${title} ${outcome === 'boots' ? 'boots' : 'is refused'}`, async () => {
      const conf = await subhosts.make('a');
      await subhosts.sandbox.sh(prepare, { cwd: base });
      const { code, stderr } = await subhosts.boot(['--timeout', '10', conf]);
      if (outcome === 'boots') expect(code, stderr).to.equal(0);
      else {
        expect(code).to.equal(1);
        expect(stderr).to.match(outcome);
        expect(stderr.trimEnd().split('\n')).to.have.lengthOf(1);
      }
    });

  it('whose service names a file of the host runs what is inside, never that', async () => {
    const conf = await subhosts.make('a', { START: `${FILE}` });
    const { stdout } = await subhosts.boot([conf]);
    expect(stdout).to.equal(`a: running, degraded: ${FILE} failed to start\n`);
  });

  it('that replaced its /.reaper while it ran is booted with ours again', async () => {
    const conf = await subhosts.up('a');
    await subhosts.inside(
      'a',
      'umount /.reaper 2>/dev/null || true; rm -f /.reaper 2>/dev/null || true; echo "#!/bin/sh" >/.reaper 2>/dev/null || true',
    );
    await subhosts.stop('a', '--kill');
    const { code, stderr } = await subhosts.boot([conf]);
    expect(code, stderr).to.equal(0);
    expect(await subhosts.inside('a', 'head -c 4 /proc/1/exe | tail -c 3')).to.equal('ELF');
  });
});
