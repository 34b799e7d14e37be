/** wafers stack, unstack and tree with real mounts, judged by files and by /proc/self/mountinfo. */
import { expect } from 'chai';
import { eventually, useSandbox } from '../helpers/namespaces.js';

/** A blank, a comma, a colon, a backslash, and what is not ASCII: overlay options have a meaning for most of them. */
const WAFERS = '/srv/t/a b,c:d\\e ünï/w';
const STACKS = '/srv/t/m';

describe('wafers', () => {
  const sandbox = useSandbox();
  const env = { WAFERS, STACKS };
  const wafers = async (args: readonly string[], more: Readonly<Record<string, string>> = {}) => {
    const { code, stdout, stderr } = await sandbox().run(['wafers', ...args], { env: { ...env, ...more } });
    return { code, stdout, stderr };
  };
  const sh = (script: string): Promise<string> => sandbox().sh(script, { env });
  const printed = (stdout: string) => ({ code: 0, stdout: `${stdout}\n`, stderr: '' });
  const stacked = (name: string, count: number) => printed(`${count} wafers stacked at ${STACKS}/${name}`);
  const mounts = async (): Promise<string[]> =>
    (await sandbox().readFile('/proc/self/mountinfo'))
      .split('\n')
      .filter((line) => line.includes(' /srv/t/'));

  beforeEach(async () => {
    await sh('mkdir -p "$WAFERS/base/data/etc"; echo from-base >"$WAFERS/base/data/etc/f"');
  });
  afterEach(async () => {
    await sh(
      'findmnt -rno TARGET | grep "^/srv/t/" | sort -r | while read -r at; do umount "$(printf %b "$at")"; done; rm -rf /srv/t/*',
    );
  });

  describe('stack', () => {
    it('makes a new wafer upon its parent and mounts it: data on top of work and all ancestors', async () => {
      expect(await wafers(['stack', 'one', 'base'])).to.deep.equal(stacked('one', 2));
      await sh(`echo from-one >${STACKS}/one/etc/f; cp ${STACKS}/one/etc/f ${STACKS}/one/etc/g`);
      expect(await wafers(['stack', 'two', 'one'])).to.deep.equal(stacked('two', 3));
      expect(await sh(`cat ${STACKS}/two/etc/f`)).to.equal('from-one\n');
      expect(await sh('cat "$WAFERS/base/data/etc/f" "$WAFERS/one/parent" "$WAFERS/two/parent"')).to.equal(
        'from-base\nbase\none\n',
      );
      expect(await sh('ls -A "$WAFERS/one"; find "$WAFERS/two/data"; ls -A "$WAFERS"')).to.equal(
        `data\nparent\nwork\n${WAFERS}/two/data\nbase\none\ntwo\n`,
      );
    });

    it('mounts a wafer without a parent as a bind mount that can be written', async () => {
      expect(await wafers(['stack', 'base'])).to.deep.equal(stacked('base', 1));
      await sh(`echo new >${STACKS}/base/etc/new`);
      expect(await sh('cat "$WAFERS/base/data/etc/new"')).to.equal('new\n');
      expect(await sh(`stat -f -c %T ${STACKS}/base`)).to.equal('tmpfs\n');
    });

    it('uses the trusted.* attributes, the default of the kernel', async () => {
      await wafers(['stack', 'one', 'base']);
      await sh(`rm -r ${STACKS}/one/etc; mkdir ${STACKS}/one/etc`);
      expect((await mounts())[0]).not.to.include('userxattr');
      // A plain mount understands what was written: the new etc hides the one below.
      await sh('ln -s "$WAFERS" /srv/t/w; mkdir /srv/t/plain');
      await sh('mount -t overlay -o lowerdir=/srv/t/w/one/data:/srv/t/w/base/data plain /srv/t/plain');
      expect(await sh('ls -A /srv/t/plain/etc')).to.equal('');
    });

    it('says so where something is mounted already, whatever the parent and the wafer', async () => {
      const already = (name: string) => printed(`something is already mounted at ${STACKS}/${name}`);
      await wafers(['stack', 'one', 'base']);
      for (const args of [['one'], ['one', 'base'], ['one', 'wrong'], ['one', 'a/b']])
        expect(await wafers(['stack', ...args])).to.deep.equal(already('one'));
      await sh(`mkdir ${STACKS}/other; mount -t tmpfs tmpfs ${STACKS}/other`);
      expect(await wafers(['stack', 'other'])).to.deep.equal(already('other'));
      expect(await mounts()).to.have.lengthOf(2);
    });

    it('makes nothing when a check fails', async () => {
      const before = await sh('find /srv/t | sort');
      for (const [args, code] of [
        [['x', 'gone'], 5],
        [['x'], 6],
        [['base', 'x'], 4],
      ] as const)
        expect((await wafers(['stack', ...args])).code).to.equal(code);
      expect(await sh('find /srv/t | sort')).to.equal(before);
    });

    it('leaves nothing of a mount that fails, neither the wafer nor the mount points', async () => {
      // An upper on an overlay without attributes: /etc of the sandbox is an overlay.
      await sh('mkdir -p /etc/w/base/data');
      const { code, stderr } = await wafers(['stack', 'one', 'base'], {
        WAFERS: '/etc/w',
        STACKS: '/srv/t/deep/m',
      });
      expect(code).to.equal(1);
      expect(stderr).to.match(/^wafers: .*upper/);
      expect(await sh('ls -A /etc/w; ls -A /srv/t; rm -r /etc/w')).to.equal(`base\na b,c:d\\e ünï\n`);
    });

    it('gives the new data to the owner of the parent’s data, mode 0755, whatever the umask', async () => {
      await sh(
        'chown 1234:567 "$WAFERS/base/data"; chmod 700 "$WAFERS/base/data"; umask 077; wafers stack one base',
      );
      expect(await sh('cd "$WAFERS/one"; stat -c "%n %a %u:%g" . data work parent')).to.equal(
        '. 755 0:0\ndata 755 1234:567\nwork 755 0:0\nparent 644 0:0\n',
      );
    });

    it('makes a new data for a wafer that has a parent but lost it', async () => {
      await wafers(['stack', 'one', 'base']);
      await wafers(['unstack', 'one']);
      await sh('chown 12:34 "$WAFERS/base/data"; rm -r "$WAFERS/one/data"');
      expect((await wafers(['tree'])).stdout).to.equal('base\n└── one (broken: its data is gone)\n');
      expect(await wafers(['stack', 'one'])).to.deep.equal(stacked('one', 2));
      expect(await sh('stat -c "%a %u:%g" "$WAFERS/one/data"')).to.equal('755 12:34\n');
    });

    describe('gives the new data a machine-id', () => {
      const ids: readonly [string, string, boolean][] = [
        ['for one with text', 'echo 0123 >machine-id', true],
        ['for an empty one', ': >machine-id', true],
        ['not where there is none', ':', false],
        ['not for a dangling link', 'ln -s gone machine-id', false],
        ['not for a link to a file of the host', 'ln -s /srv/t/host-file machine-id', false],
        ['for a link to a file of its own', 'mkdir -p ../var; : >../var/id; ln -s /var/id machine-id', true],
        ['not for a directory', 'mkdir machine-id', false],
        ['not where etc is a link to the host’s', 'cd ..; rm -r etc; ln -s /srv/t/host-etc etc', false],
      ];
      for (const [title, prepare, expected] of ids)
        it(title, async () => {
          await sh(
            'mkdir /srv/t/host-etc; echo host >/srv/t/host-etc/machine-id; echo host >/srv/t/host-file',
          );
          await sh(`cd "$WAFERS/base/data/etc"; ${prepare}`);
          await sh('chown 12:34 "$WAFERS/base/data"');
          expect(await wafers(['stack', 'one', 'base'])).to.deep.equal(stacked('one', 2));
          const found = await sandbox().run(['cat', `${WAFERS}/one/data/etc/machine-id`]);
          if (!expected) expect(await sh('find "$WAFERS/one/data" -mindepth 1')).to.equal('');
          else {
            expect(found.stdout).to.match(/^[0-9a-f]{32}\n$/);
            expect(await sh('stat -c "%F %a %u:%g" "$WAFERS/one/data/etc/machine-id"')).to.equal(
              'regular file 644 12:34\n',
            );
          }
          expect(await sh('cat /srv/t/host-etc/machine-id /srv/t/host-file')).to.equal('host\nhost\n');
        });

      it('of its own, another for each wafer', async () => {
        await sh('echo 0123 >"$WAFERS/base/data/etc/machine-id"');
        await wafers(['stack', 'one', 'base']);
        await wafers(['stack', 'two', 'base']);
        const [one, two] = (
          await sh('cat "$WAFERS/one/data/etc/machine-id" "$WAFERS/two/data/etc/machine-id"')
        ).split('\n');
        expect(one).not.to.equal(two);
        expect(await sh(`cat ${STACKS}/one/etc/machine-id`)).to.equal(`${one}\n`);
      });

      it('by the parent’s own data, not by what that lies on', async () => {
        await wafers(['stack', 'one', 'base']);
        await sh('echo 0123 >"$WAFERS/base/data/etc/machine-id"');
        await wafers(['stack', 'two', 'one']);
        expect(await sh('find "$WAFERS/two/data" -mindepth 1')).to.equal('');
      });

      it('in an etc that looks as before', async () => {
        await sh('cd "$WAFERS/base/data"; : >etc/machine-id; chown 7:8 etc; chmod 750 etc');
        await wafers(['stack', 'one', 'base']);
        expect(await sh(`stat -c "%a %u:%g" ${STACKS}/one/etc`)).to.equal('750 7:8\n');
      });
    });

    it('takes /var/lib/wafers and /var/lib/machines, also where the variables are set but empty', async () => {
      await sh(
        'mkdir -p /var/lib/wafers; mount -t tmpfs tmpfs /var/lib/wafers; mkdir -p /var/lib/wafers/base/data',
      );
      for (const vars of ['env -u WAFERS -u STACKS', 'env WAFERS= STACKS=']) {
        expect(await sh(`${vars} wafers stack one base`)).to.equal(
          '2 wafers stacked at /var/lib/machines/one\n',
        );
        expect(await sh(`${vars} wafers unstack one`)).to.equal('unstacked /var/lib/machines/one\n');
      }
      await sh('umount /var/lib/wafers');
    });

    const names = [
      'a b',
      'x,y',
      "it's",
      'back\\slash',
      'ünïcode-名',
      '-dash',
      '.hidden',
      '%41',
      '\\054',
      '$HOME',
      '...',
    ];
    for (const name of names)
      it(`takes ${name} as a name, of a wafer and of a parent`, async () => {
        expect(await wafers(['stack', '--', name, 'base'])).to.deep.equal(stacked(name, 2));
        expect(await wafers(['stack', '--', 'child', name])).to.deep.equal(stacked('child', 3));
        expect(await sh(`cat ${STACKS}/child/etc/f`)).to.equal('from-base\n');
        expect(await wafers(['unstack', '--', 'child', name])).to.deep.equal(
          printed(`unstacked ${STACKS}/child\nunstacked ${STACKS}/${name}`),
        );
      });

    it('takes paths longer than the 255 bytes of an option', async () => {
      const long = `/srv/t/${Array(3).fill('l'.repeat(200)).join('/')}`;
      await sh(`mkdir -p ${long}/base/data; echo deep >${long}/base/data/f`);
      await wafers(['stack', 'one', 'base'], { WAFERS: long, STACKS: `${long}/m` });
      const { stdout } = await wafers(['stack', 'two', 'one'], { WAFERS: long, STACKS: `${long}/m` });
      expect(stdout).to.equal(`3 wafers stacked at ${long}/m/two\n`);
      expect(await sh(`cat ${long}/m/two/f`)).to.equal('deep\n');
    });

    it('stacks 500 on their base, and names the limit for one more', async () => {
      await sh(
        'cd "$WAFERS"; p=base; for i in $(seq 501); do mkdir -p w$i/data; echo $p >w$i/parent; p=w$i; done',
      );
      expect(await wafers(['stack', 'w500'])).to.deep.equal(stacked('w500', 501));
      expect(await sh(`cat ${STACKS}/w500/etc/f`)).to.equal('from-base\n');
      expect(await wafers(['unstack', 'w500'])).to.deep.equal(printed(`unstacked ${STACKS}/w500`));
      expect(await wafers(['stack', 'w501'])).to.deep.equal({
        code: 1,
        stdout: '',
        stderr:
          'wafers: "w501" has 501 ancestors: the kernel stacks at most 500: join some of them into one\n',
      });
      expect(await sh(`ls -A ${STACKS}`)).to.equal('');
    });

    it('stacks on a kernel that has no lowerdir+ by the one page of options', async function () {
      // Linux before 6.7, played by a tracer: the first fsconfig(2) is the source, all others are not known.
      if ((await sandbox().run(['sh', '-c', 'command -v strace'])).code !== 0) {
        process.stderr.write('skipped: wafers: the form of options before Linux 6.7: needs strace\n');
        this.skip();
      }
      await sh(
        'cd "$WAFERS"; p=base; for i in $(seq 100); do mkdir -p w$i/data; echo $p >w$i/parent; p=w$i; done',
      );
      const old = 'strace -f -o /srv/t/trace -e trace=fsconfig -e inject=fsconfig:error=EINVAL:when=2+';
      expect(await sh(`${old} wafers stack w100`)).to.equal(`101 wafers stacked at ${STACKS}/w100\n`);
      expect(await sh(`cat ${STACKS}/w100/etc/f; touch ${STACKS}/w100/g; ls "$WAFERS/w100/data"`)).to.equal(
        'from-base\ng\n',
      );
      expect((await mounts())[0]).to.match(/lowerdir=[0-9]+:[0-9]+:/);
    });

    it('refuses a wafer whose data is the writable layer of another mount, and names that', async () => {
      await wafers(['stack', 'one', 'base']);
      expect(await wafers(['stack', 'one'], { STACKS: '/srv/t/m2' })).to.deep.equal({
        code: 1,
        stdout: '',
        stderr: `wafers: "one" is in use: its data is the writable layer of what is mounted at ${STACKS}/one: unmount that first\n`,
      });
      expect(await sh('ls "$WAFERS/one/work"; ls -A /srv/t')).to.equal('work\na b,c:d\\e ünï\nm\n');
    });

    it('refuses one whose data is mounted as UPPER with another WORK', async () => {
      await sh(
        'mkdir -p /srv/t/o /srv/t/u/data /srv/t/u/work2 /srv/t/u/m; echo base >/srv/t/u/parent; mkdir -p /srv/t/base/data',
      );
      await sh(
        'mount -t overlay -o lowerdir=/srv/t/o,upperdir=/srv/t/u/data,workdir=/srv/t/u/work2 o /srv/t/u/m',
      );
      const { code, stderr } = await wafers(['stack', 'u'], { WAFERS: '/srv/t' });
      expect([code, stderr]).to.deep.equal([
        1,
        'wafers: "u" is in use: its data is the writable layer of what is mounted at /srv/t/u/m: unmount that first\n',
      ]);
    });

    it('refuses one whose WORK somebody has locked, as a subhost does that boots from it', async () => {
      await wafers(['stack', 'one', 'base']);
      await wafers(['unstack', 'one']);
      const holder = sandbox().spawn(['flock', `${WAFERS}/one/work`, 'sh', '-c', 'echo locked; cat']);
      await eventually('it is locked', () => holder.stdout === 'locked\n');
      expect(await wafers(['stack', 'one'])).to.deep.equal({
        code: 1,
        stdout: '',
        stderr: `wafers: prepare ${WAFERS}/one/work: Resource temporarily unavailable: another root has it mounted\n`,
      });
      holder.child.stdin?.end();
      await holder.completed();
      expect(await sh(`ls -A ${STACKS}`)).to.equal('');
      expect(await wafers(['stack', 'one'])).to.deep.equal(stacked('one', 2));
    });

    it('needs root, and says so', async () => {
      await sh('chmod -R a+rX /srv/t');
      const { code, stderr } = await sandbox().run(
        ['setpriv', '--reuid=1000', '--regid=1000', '--clear-groups', 'wafers', 'stack', 'one', 'base'],
        { env },
      );
      expect([code, stderr]).to.deep.equal([1, 'wafers: must be root\n']);
    });

    it('needs no program of the host', async () => {
      await sh(
        'mkdir /srv/t/bin; ln -s "$(command -v node)" /srv/t/bin/node; bin="$(dirname "$(command -v wafers)")"; PATH=/srv/t/bin "$bin/wafers" stack one base; PATH=/srv/t/bin "$bin/wafers" unstack one',
      );
    });
  });

  describe('unstack', () => {
    it('unmounts each and removes the mount points', async () => {
      await wafers(['stack', 'one', 'base']);
      await wafers(['stack', 'two', 'one']);
      expect(await wafers(['unstack', 'two', 'nope', 'one'])).to.deep.equal(
        printed(`unstacked ${STACKS}/two\nnothing stacked at ${STACKS}/nope\nunstacked ${STACKS}/one`),
      );
      expect([await mounts(), await sh(`ls -A ${STACKS}`)]).to.deep.equal([[], '']);
    });

    it('keeps a mount point that has files of its own', async () => {
      await sh(`mkdir -p ${STACKS}/one; touch ${STACKS}/one/mine`);
      await wafers(['stack', 'one', 'base']);
      expect(await wafers(['unstack', 'one'])).to.deep.equal(printed(`unstacked ${STACKS}/one`));
      expect(await sh(`ls ${STACKS}/one`)).to.equal('mine\n');
    });

    it('takes what is mounted below and upon it, too', async () => {
      await wafers(['stack', 'one', 'base']);
      await sh(
        `mkdir "${STACKS}/one/a b"; mount -t tmpfs tmpfs "${STACKS}/one/a b"; mount -t proc proc ${STACKS}/one/etc; mount -t tmpfs tmpfs ${STACKS}/one`,
      );
      expect(await wafers(['unstack', 'one'])).to.deep.equal(printed(`unstacked ${STACKS}/one`));
      expect([await mounts(), await sh(`ls -A ${STACKS}`)]).to.deep.equal([[], '']);
    });

    const uses: readonly [string, string, string][] = [
      ['a working directory', 'cd /srv/t/m/one; exec cat', 'cat (pid PID: working directory)'],
      ['an open file', 'exec cat 5</srv/t/m/one/etc/f', 'cat (pid PID: open file)'],
      [
        'a root',
        'exec chroot /srv/t/m/one /busybox cat',
        'busybox (pid PID: working directory, root, program)',
      ],
      ['a program', 'exec /srv/t/m/one/busybox cat', 'busybox (pid PID: program)'],
      [
        'a mapped file',
        'exec "$(ls /lib*/ld-linux*.so.* | head -n 1)" /srv/t/m/one/cat',
        'LOADER (pid PID: mapped file)',
      ],
      [
        'a file from another mount namespace',
        'exec 5</srv/t/m/one/etc/f; exec unshare -m cat',
        'cat (pid PID: open file)',
      ],
    ];
    for (const [title, script, holder] of uses)
      it(`names who holds it by ${title}, and removes nothing`, async () => {
        await sh('cp "$(command -v busybox)" "$(command -v cat)" "$WAFERS/base/data"');
        await wafers(['stack', 'one', 'base']);
        await sh(`mkdir -p ${STACKS}/one/sub; mount -t tmpfs tmpfs ${STACKS}/one/sub`);
        const before = await mounts();
        const running = sandbox().spawn(['sh', '-c', script], { env });
        running.child.stdin?.write('in\n'); // every one of them ends as cat
        await eventually('it is held', () => running.stdout === 'in\n');
        const held = await wafers(['unstack', 'one']);
        expect({
          ...held,
          stderr: held.stderr.replace(/pid \d+/g, 'pid PID').replace(/ld-linux[\w.-]*/, 'LOADER'),
        }).to.deep.equal({
          code: 1,
          stdout: '',
          stderr: `wafers: ${STACKS}/one is busy: in use by ${holder}: end that first\n`,
        });
        expect(await mounts()).to.deep.equal(before);
        running.child.stdin?.end();
        await running.completed();
        expect(await wafers(['unstack', 'one'])).to.deep.equal(printed(`unstacked ${STACKS}/one`));
      });

    it('goes on with the others when one is busy', async () => {
      await wafers(['stack', 'one', 'base']);
      await wafers(['stack', 'two', 'base']);
      const holder = sandbox().spawn(['sh', '-c', `cd ${STACKS}/one; echo in; exec cat`]);
      await eventually('it is held', () => holder.stdout === 'in\n');
      const { code, stdout } = await wafers(['unstack', 'one', 'two']);
      expect([code, stdout]).to.deep.equal([1, `unstacked ${STACKS}/two\n`]);
      holder.child.stdin?.end();
      await holder.completed();
    });
  });

  describe('tree', () => {
    it('marks what is stacked, sealed and broken, on a terminal or not, for anyone', async () => {
      await wafers(['stack', 'one', 'base']);
      await wafers(['stack', 'two', 'one']);
      await wafers(['unstack', 'two']);
      await sh(
        'touch "$WAFERS/one/sealed"; mkdir -p "$WAFERS/lost/data"; echo gone >"$WAFERS/lost/parent"; chmod 755 /srv/t',
      );
      const expected =
        'base\n└── one (stacked, sealed)\n    └── two\nlost (broken: its parent "gone" is missing)\n';
      expect((await wafers(['tree'])).stdout).to.equal(expected);
      const anyone = ['setpriv', '--reuid=1000', '--regid=1000', '--clear-groups', 'wafers', 'tree'];
      expect((await sandbox().run(anyone, { env })).stdout).to.equal(expected);
    });

    it('sees a stack through a link to STACKS', async () => {
      await sh(`mkdir /srv/t/real; ln -s real ${STACKS}`);
      expect(await wafers(['stack', 'one', 'base'])).to.deep.equal(stacked('one', 2));
      expect((await wafers(['tree'])).stdout).to.equal('base\n└── one (stacked)\n');
      expect(await wafers(['stack', 'one'])).to.deep.equal(
        printed(`something is already mounted at ${STACKS}/one`),
      );
      expect(await wafers(['unstack', 'one'])).to.deep.equal(printed(`unstacked ${STACKS}/one`));
    });
  });

  it('boots a container of systemd-nspawn from a stacked wafer, which writes to its data', async function () {
    if ((await sandbox().run(['sh', '-c', 'command -v systemd-nspawn && command -v busybox'])).code !== 0) {
      process.stderr.write(
        'skipped: wafers with systemd-nspawn: needs systemd-container and busybox-static\n',
      );
      this.skip();
    }
    await sh(
      'cd "$WAFERS/base/data"; mkdir -p bin usr/lib; cp "$(command -v busybox)" bin/sh; echo ID=test >usr/lib/os-release',
    );
    await wafers(['stack', 'one', 'base']);
    // There is neither a system bus nor a systemd in the sandbox that could register the container.
    const nspawn = ['systemd-nspawn', '--quiet', '--register=no', '--keep-unit', '-D', `${STACKS}/one`];
    const { code, stdout, stderr } = await sandbox().run([
      ...nspawn,
      '/bin/sh',
      '-c',
      'echo inside >/etc/made; hostname',
    ]);
    if (code !== 0 && /Operation not permitted|Failed to (mount|allocate|create cgroup)/.test(stderr)) {
      process.stderr.write(`skipped: wafers with systemd-nspawn: ${stderr.trim().split('\n').at(-1)}\n`);
      this.skip();
    }
    expect([code, stdout.trim(), await sh('cat "$WAFERS/one/data/etc/made"')]).to.deep.equal([
      0,
      'one',
      'inside\n',
    ]);
  });
});
