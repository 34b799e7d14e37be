/** The three kinds of root, their paths, and roots that are read-only. */
import { expect } from 'chai';
import { BASE_ROOT, makeBusyboxRoot, useSubhosts } from '../helpers/subhosts.js';

describe('overlay-boot: the root', () => {
  const subhosts = useSubhosts();
  const own = '/opt/subhost/a/root';

  describe('an overlay', () => {
    it('on a base of its own shows it, and writes to UPPER only', async () => {
      await subhosts.up('a');
      expect(subhosts.mountInside('a', '/')?.type).to.equal('overlay');
      await subhosts.inside('a', 'echo new >/etc/made-inside; rm /etc/group');
      expect(subhosts.file(`${own}/etc/made-inside`)).to.equal('new\n');
      expect(subhosts.file(`${BASE_ROOT}/etc/made-inside`)).to.equal(undefined);
      expect(subhosts.file(`${BASE_ROOT}/etc/group`)).to.equal('root:x:0:\n');
    });

    it('is on the root of the host where LOWER is not given', async () => {
      await subhosts.up('a', { LOWER: undefined });
      expect(await subhosts.inside('a', 'cat /etc/os-release')).to.equal(
        await subhosts.sandbox.readFile('/etc/os-release'),
      );
      await subhosts.inside('a', 'echo inside >/root/made-inside');
      expect(subhosts.file('/root/made-inside')).to.equal(undefined);
      expect(subhosts.file(`${own}/root/made-inside`)).to.equal('inside\n');
    });

    it('keeps what was written for the next boot', async () => {
      const conf = await subhosts.up('a');
      await subhosts.inside('a', 'echo kept >/etc/kept');
      await subhosts.stop('a');
      await subhosts.boot([conf]);
      expect(await subhosts.inside('a', 'cat /etc/kept')).to.equal('kept\n');
    });

    it('of several layers has the first of LOWER on top, and paths relative to BASE', async () => {
      const conf = await subhosts.make('a', { LOWER: `top:../a/mid:${BASE_ROOT}` });
      await subhosts.sandbox.sh(
        `cd /opt/subhost/a; mkdir -p top/l mid/l; echo top >top/l/1; echo mid >mid/l/1; echo mid >mid/l/2`,
      );
      await subhosts.boot([conf]);
      expect(await subhosts.inside('a', 'cat /l/1 /l/2; ls /bin/busybox')).to.equal(
        'top\nmid\n/bin/busybox\n',
      );
    });

    it('takes directories with commas, colons in UPPER, blanks and quotes in their names', async () => {
      const strange = `s, t="x"\\y`;
      const conf = await subhosts.make('a', {
        LOWER: `${strange}:${BASE_ROOT}`,
        UPPER: 'up:per,1',
        WORK: 'wo:rk,1',
        LIVE: 'li ve',
      });
      await subhosts.sandbox.sh(`mkdir "$S" up:per,1 wo:rk,1 "li ve"; echo yes >"$S/proof"`, {
        cwd: '/opt/subhost/a',
        env: { S: strange },
      });
      const { code, stderr } = await subhosts.boot([conf]);
      expect(code, stderr).to.equal(0);
      expect(await subhosts.inside('a', 'cat /proof; echo x >/new')).to.equal('yes\n');
      expect(subhosts.file('/opt/subhost/a/up:per,1/new')).to.equal('x\n');
    });

    it('takes LIVE, UPPER, WORK and LOWER that are symbolic links to directories', async () => {
      const conf = await subhosts.make('a', { LOWER: 'lower' });
      await subhosts.sandbox.sh(
        `for d in root work live; do mv $d real-$d; ln -s real-$d $d; done; ln -s ${BASE_ROOT} lower`,
        { cwd: '/opt/subhost/a' },
      );
      const { code, stderr } = await subhosts.boot([conf]);
      expect(code, stderr).to.equal(0);
      expect(subhosts.mountInside('a', '/')?.type).to.equal('overlay');
    });

    it('is refused with the reason when another subhost has its WORK mounted, and leaves that one alone', async () => {
      await subhosts.up('a');
      const conf = await subhosts.make('b', { UPPER: '../a/root', WORK: '../a/work' });
      expect(await subhosts.refused(conf)).to.deep.equal([
        'overlay-boot: b: cannot lock WORK /opt/subhost/a/work: Resource temporarily unavailable: another root has it mounted (log: /var/log/overlay-boot/b.log)',
      ]);
      expect(await subhosts.inside('a', 'hostname')).to.equal('a\n');
    });

    it('is not visible on the host', async () => {
      await subhosts.up('a');
      expect(
        await subhosts.sandbox.sh(
          'ls -A /opt/subhost/a/live; grep -c /opt/subhost/a/live /proc/mounts || true',
        ),
      ).to.equal('0\n');
    });
  });

  describe('a bind mount', () => {
    it('of UPPER, where LOWER is the same directory, is written to itself', async () => {
      const conf = await subhosts.make('a', { LOWER: 'root', WORK: undefined });
      await subhosts.sandbox.sh('rm -r root work; cp -a "$B" root', {
        cwd: '/opt/subhost/a',
        env: { B: BASE_ROOT },
      });
      await subhosts.boot([conf]);
      expect(subhosts.mountInside('a', '/')?.type).to.equal('tmpfs');
      await subhosts.inside('a', 'echo new >/etc/made-inside');
      expect(subhosts.file(`${own}/etc/made-inside`)).to.equal('new\n');
      expect(await subhosts.sandbox.sh('ls -A live', { cwd: '/opt/subhost/a' })).to.equal('');
    });

    it('is what UPPER and LOWER make that are one directory by a link, whatever their text', async () => {
      const conf = await subhosts.make('a', { LOWER: '../a/./link' });
      await subhosts.sandbox.sh('rm -r root; cp -a "$B" root; ln -s root link', {
        cwd: '/opt/subhost/a',
        env: { B: BASE_ROOT },
      });
      const plan = await subhosts.boot(['--plan', conf]);
      expect(plan.stdout).to.include('\nroot: a bind mount\n');
      expect((await subhosts.boot([conf])).code).to.equal(0);
      expect(subhosts.mountInside('a', '/')?.type).to.equal('tmpfs');
    });

    it('needs no WORK', async () => {
      const conf = await subhosts.make('a', { LOWER: 'root' });
      await subhosts.sandbox.sh('rm -r root work; cp -a "$B" root', {
        cwd: '/opt/subhost/a',
        env: { B: BASE_ROOT },
      });
      expect((await subhosts.boot([conf])).code).to.equal(0);
    });
  });

  describe('a directory as it is', () => {
    it('is the root where UPPER, LOWER and LIVE are the same', async () => {
      const conf = await subhosts.make('a', { LOWER: 'root', LIVE: './root/' });
      await subhosts.sandbox.sh('rm -r root work live; cp -a "$B" root', {
        cwd: '/opt/subhost/a',
        env: { B: BASE_ROOT },
      });
      expect((await subhosts.boot(['--plan', conf])).stdout).to.include('\nroot: a directory as it is\n');
      expect((await subhosts.boot([conf])).code).to.equal(0);
      await subhosts.inside('a', 'echo new >/etc/made-inside');
      expect(subhosts.file(`${own}/etc/made-inside`)).to.equal('new\n');
    });

    it('keeps what is mounted below it on the host', async () => {
      const conf = await subhosts.make('a', { LOWER: 'root', LIVE: 'root' });
      await subhosts.sandbox.sh(
        'rm -r root; cp -a "$B" root; mount -t tmpfs t root/srv; echo here >root/srv/file',
        {
          cwd: '/opt/subhost/a',
          env: { B: BASE_ROOT },
        },
      );
      try {
        await subhosts.boot([conf]);
        expect(await subhosts.inside('a', 'cat /srv/file')).to.equal('here\n');
      } finally {
        await subhosts.stop('a');
        await subhosts.sandbox.sh('umount /opt/subhost/a/root/srv');
      }
    });

    it('has its own interfaces file, which nothing is written to', async () => {
      const conf = await subhosts.make('a', { LOWER: 'root', LIVE: 'root' });
      await subhosts.sandbox.sh('rm -r root; cp -a "$B" root', {
        cwd: '/opt/subhost/a',
        env: { B: BASE_ROOT },
      });
      await subhosts.boot([conf]);
      expect(subhosts.file(`${own}/etc/network/interfaces`)).to.equal(undefined);
    });
  });

  describe('a read-only root', () => {
    /** A conf whose UPPER is a squashfs of BASE_ROOT after `change`, mounted on the host. */
    async function readOnly(change: string, values = {}): Promise<string> {
      const conf = await subhosts.make('a', { LOWER: 'root', ...values });
      await subhosts.sandbox.sh(
        `cp -a ${BASE_ROOT} tree; (cd tree; ${change}); mksquashfs tree sq -quiet -no-progress; mount -t squashfs -o loop,ro sq root`,
        { cwd: '/opt/subhost/a' },
      );
      return conf;
    }
    afterEach(async () => {
      await subhosts.stop('a', '--kill');
      await subhosts.sandbox.sh('umount /opt/subhost/a/root');
    });

    it('boots with the reaper in /run, though it has no interfaces file', async () => {
      const { code, stderr } = await subhosts.boot([await readOnly(':')]);
      expect(code, stderr).to.equal(0);
      expect(subhosts.mountInside('a', '/')).to.deep.include({ type: 'squashfs' });
      expect(await subhosts.inside('a', 'tr "\\0" " " </proc/1/cmdline')).to.match(/^\/run\/\.reaper /);
    });

    it('boots with the reaper in /dev where /run is no tmpfs', async () => {
      const { code, stderr } = await subhosts.boot([await readOnly(':', { RAM_SIZE: 'none' })]);
      expect(code, stderr).to.equal(0);
      expect(await subhosts.inside('a', 'tr "\\0" " " </proc/1/cmdline')).to.match(/^\/dev\/\.reaper /);
    });

    it('has its reaper at its place where the root has a file for it', async () => {
      await subhosts.boot([await readOnly('touch .reaper')]);
      expect(await subhosts.inside('a', 'tr "\\0" " " </proc/1/cmdline')).to.match(/^\/\.reaper /);
    });

    for (const place of ['dev', 'proc', 'sys', 'run'])
      it(`is refused when /${place} is missing, which is named`, async () => {
        const lines = await subhosts.refused(await readOnly(`rmdir ${place}`));
        expect(lines.join('\n')).to.match(
          new RegExp(
            `^overlay-boot: a: cannot \\w+ /${place}: Read-only file system: is missing, and the root is read-only \\(log: \\S+\\)$`,
          ),
        );
      });

    it('is refused when the target of a SHARE is missing, which is named', async () => {
      const lines = await subhosts.refused(await readOnly(':', { SHARE: '/etc:/srv/shared' }));
      expect(lines.join('\n')).to.match(
        /^overlay-boot: a: cannot share \/etc at \/srv\/shared: Read-only file system/,
      );
    });

    it('is read-only when a bind mount of the host is', async () => {
      const conf = await subhosts.make('a', { LOWER: 'root' });
      await subhosts.sandbox.sh(`mount --bind ${BASE_ROOT} root; mount -o remount,bind,ro root`, {
        cwd: '/opt/subhost/a',
      });
      const { code, stderr } = await subhosts.boot([conf]);
      expect(code, stderr).to.equal(0);
      expect(subhosts.mountInside('a', '/')?.options).to.include('ro');
      expect(subhosts.file(`${BASE_ROOT}/.reaper`)).to.equal(undefined);
    });
  });

  describe('a root that cannot be booted', () => {
    it('is named when it has no /bin/sh', async () => {
      const conf = await subhosts.make('a', { LOWER: 'empty' });
      await subhosts.sandbox.sh('mkdir empty', { cwd: '/opt/subhost/a' });
      expect(await subhosts.refused(conf)).to.deep.equal([
        'overlay-boot: a: cannot run /bin/sh: No such file or directory: the root has no /bin/sh (log: /var/log/overlay-boot/a.log)',
      ]);
    });

    const mistakes: readonly [string, Record<string, string>, string, string][] = [
      [
        'WORK is inside UPPER',
        { WORK: 'root/work' },
        'mkdir root/work',
        'WORK: /opt/subhost/a/root/work is inside UPPER: put it beside UPPER, on the same mount',
      ],
      [
        'LIVE is inside UPPER',
        { LIVE: 'root/live' },
        'mkdir root/live',
        'LIVE: /opt/subhost/a/root/live is inside UPPER, which the subhost can change: put it beside UPPER',
      ],
      [
        'WORK is missing',
        { WORK: 'nowork' },
        ':',
        'WORK: /opt/subhost/a/nowork: there is no such directory: make it, or boot with --mkdir',
      ],
      [
        'LOWER is missing',
        { LOWER: 'nolower' },
        ':',
        'LOWER: /opt/subhost/a/nolower: there is no such directory or disk image',
      ],
    ];
    for (const [title, values, prepare, message] of mistakes)
      it(`is refused when ${title}`, async () => {
        const conf = await subhosts.make('a', values);
        await subhosts.sandbox.sh(prepare, { cwd: '/opt/subhost/a' });
        expect(await subhosts.refused(conf, { code: 2 })).to.deep.equal([
          `overlay-boot: ${conf}: ${message}`,
        ]);
      });

    it('is refused when WORK is on another mount than UPPER', async () => {
      const conf = await subhosts.make('a', { WORK: '/srv/t/elsewhere' });
      await subhosts.sandbox.sh('mkdir -p /srv/t/elsewhere');
      expect(await subhosts.refused(conf, { code: 2 })).to.deep.equal([
        `overlay-boot: ${conf}: WORK: /srv/t/elsewhere is on another mount than UPPER, /opt/subhost/a/root: put it on the same mount`,
      ]);
    });

    it('is refused when something is mounted on LIVE already', async () => {
      const conf = await subhosts.make('a');
      await subhosts.sandbox.sh('mount -t tmpfs t /opt/subhost/a/live');
      try {
        expect(await subhosts.refused(conf, { code: 2 })).to.deep.equal([
          `overlay-boot: ${conf}: LIVE: /opt/subhost/a/live is a mount point already: umount /opt/subhost/a/live, or give LIVE a directory of its own`,
        ]);
      } finally {
        await subhosts.sandbox.sh('umount /opt/subhost/a/live');
      }
    });
  });

  it('can be a root that somebody else made for a whole tree of its own', async () => {
    await makeBusyboxRoot(subhosts.sandbox, '/srv/t/other');
    await subhosts.up('a', { LOWER: '/srv/t/other' });
    expect(await subhosts.inside('a', 'readlink /bin/ls')).to.match(/busybox\n$/);
  });
});
