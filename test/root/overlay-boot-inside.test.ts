/** What a subhost finds inside: name, environment, devices, mounts, capabilities, shares. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { expect } from 'chai';
import { BASE_ROOT, recordingService, useSubhosts } from '../helpers/subhosts.js';

/** Bits of linux/capability.h: chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service
 * net_admin net_raw sys_chroot audit_write setfcap. */
const DEFAULT_BITS = [0, 1, 3, 4, 5, 6, 7, 8, 10, 12, 13, 18, 29, 31];
const maskOf = (bits: readonly number[]): string =>
  bits
    .reduce((mask, bit) => mask | (1n << BigInt(bit)), 0n)
    .toString(16)
    .padStart(16, '0');

describe('overlay-boot: inside', () => {
  const subhosts = useSubhosts();
  const base = '/opt/subhost/a';

  /** Boots subhost a with a service, confined as all of it, that runs a script. @returns what the script prints */
  async function saidInside(script: string): Promise<string> {
    const svc = `#!/bin/sh\n[ $1 = stop ] && exit\nmkdir -p /var\nexec >/var/said\n${script}\n`;
    await subhosts.up('a', { START: '/svc' }, { services: { svc } });
    return subhosts.file(`${base}/root/var/said`) ?? '';
  }

  it('the host name is NAME, and that of the host stays', async () => {
    const before = await subhosts.sandbox.sh('hostname');
    await subhosts.up('a-1.b_C', {});
    expect(await subhosts.inside('a-1.b_C', 'hostname')).to.equal('a-1.b_C\n');
    expect(await subhosts.sandbox.sh('hostname')).to.equal(before);
  });

  it('pid 1 and the services have a clean environment, and nothing of the caller is in it', async () => {
    const conf = await subhosts.make(
      'a',
      { START: '/svc' },
      { services: { svc: '#!/bin/sh\n[ $1 = stop ] || { mkdir -p /var; env >/var/env; }\n' } },
    );
    const { code, stderr } = await subhosts.boot([conf], {
      env: { SECRET: 'of the caller', TERM: 'vt52', LANG: 'xx', LD_PRELOAD: '' },
    });
    expect(code, stderr).to.equal(0);
    const wanted = [
      'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
      ...['HOME=/root', 'TERM=linux', 'LANG=C.UTF-8', 'container=overlay-boot', 'NAME=a'],
    ];
    const shell = /^(PWD|OLDPWD|SHLVL|_)=/;
    const service = (subhosts.file(`${base}/root/var/env`) ?? '').trim().split('\n');
    expect(service.filter((line) => !shell.test(line))).to.have.members(wanted);
    const pid1 = readFileSync(subhosts.outside(`/proc/${subhosts.pid1('a')}/environ`), 'utf8').split('\0');
    expect(pid1.filter((line) => line !== '' && !shell.test(line))).to.have.members(wanted);
  });

  it('no descriptor of the caller or the host is open in pid 1, a service or the keeper', async () => {
    const svc =
      '#!/bin/sh\n[ $1 = stop ] || { mkdir -p /var; ls -l /proc/self/fd >/var/fds; sleep 1000 & }\n';
    const conf = await subhosts.make('a', { START: '/svc' }, { services: { svc } });
    await subhosts.sandbox.sh(`exec 7</etc/shadow 8>/srv/t/open; overlay-boot ${conf}`);
    const fdsOf = (pid: number): string[] => {
      const directory = subhosts.outside(`/proc/${pid}/fd`);
      return readdirSync(directory).map((fd) => readlinkSync(`${directory}/${fd}`));
    };
    expect(fdsOf(subhosts.pid1('a')).map((target) => target.replace(/\[\d+\]/, ''))).to.deep.equal([
      '/dev/null',
      'pipe:',
      'pipe:',
    ]);
    const keeper = fdsOf(subhosts.record('a')?.keeper.pid ?? 0);
    expect(keeper.filter((target) => /shadow|srv\/t\/open/.test(target))).to.deep.equal([]);
    expect(keeper.filter((target) => target.includes('signalfd'))).to.have.length(1);
    const service = subhosts.file(`${base}/root/var/fds`) ?? '';
    expect(service).not.to.match(/shadow|open|socket/);
    expect([...service.matchAll(/ (\d+) -> /g)].map(([, fd]) => fd)).to.deep.equal(['0', '1', '2']);
    await subhosts.sandbox.sh('rm /srv/t/open');
  });

  it('umask, signals and the working directory are those of a fresh host', async () => {
    const svc =
      '#!/bin/sh\n[ $1 = stop ] || { mkdir -p /var; umask >/var/seen; pwd >>/var/seen; grep -E "^Sig(Ign|Blk)" /proc/self/status >>/var/seen; }\n';
    const conf = await subhosts.make('a', { START: '/svc' }, { services: { svc } });
    await subhosts.sandbox.sh(`umask 077; trap "" HUP INT QUIT; overlay-boot ${conf}`);
    const zero = '0000000000000000';
    expect(subhosts.file(`${base}/root/var/seen`)).to.match(
      new RegExp(`^0?022\n/\nSigBlk:\t${zero}\nSigIgn:\t${zero}\n$`),
    );
  });

  it('/dev has its devices, its links and its own terminals, and no other device works', async () => {
    const seen = await saidInside(
      `for d in null zero full random urandom tty; do stat -c '%n %t:%T %a' /dev/$d; done
      for l in ptmx fd stdin stdout stderr core; do echo "$l $(readlink /dev/$l)"; done
      stat -c '%n %F %a' /dev/console /dev/pts /dev/shm /dev/mqueue
      echo x >/dev/null; head -c 3 /dev/zero | wc -c; head -c 3 /dev/urandom | wc -c
      mknod /dev/mine c 1 5 2>/dev/null || echo cannot make nodes`,
    );
    expect(seen.trim().split('\n')).to.deep.equal([
      '/dev/null 1:3 666',
      '/dev/zero 1:5 666',
      '/dev/full 1:7 666',
      '/dev/random 1:8 666',
      '/dev/urandom 1:9 666',
      '/dev/tty 5:0 666',
      'ptmx pts/ptmx',
      'fd /proc/self/fd',
      'stdin /proc/self/fd/0',
      'stdout /proc/self/fd/1',
      'stderr /proc/self/fd/2',
      'core /proc/kcore',
      '/dev/console character special file 620',
      '/dev/pts directory 755',
      '/dev/shm directory 1777',
      '/dev/mqueue directory 1777',
      ...['3', '3', 'cannot make nodes'],
    ]);
    for (const place of ['/', '/dev', '/run', '/dev/shm', '/.reaper'])
      expect(subhosts.mountInside('a', place)?.options, place).to.include('nodev');
  });

  it('/proc shows its own processes, /sys its own interfaces, read-only', async () => {
    await subhosts.up('a', { CABLES: '=' });
    expect(
      await subhosts.inside('a', 'cat /proc/1/comm; ls /sys/class/net; cat /proc/sys/net/ipv4/ip_forward'),
    ).to.equal('.reaper\neth0\nlo\n0\n');
    expect(subhosts.mountInside('a', '/sys')).to.deep.include({ type: 'sysfs' });
    expect(subhosts.mountInside('a', '/sys')?.options).to.include('ro');
    expect(subhosts.mountInside('a', '/proc')).to.deep.include({ type: 'proc' });
  });

  it('/proc/sys but net, /proc/sysrq-trigger and the like are read-only or masked', async () => {
    const tried = await saidInside(
      `try() { sh -c "$1" 2>/dev/null && echo "yes $1" || echo "no $1"; }
      try 'echo 1 >/proc/sys/net/ipv4/ip_forward'
      try 'echo x >/proc/sys/kernel/hostname'
      try 'echo h >/proc/sysrq-trigger'
      try 'test -s /proc/kcore'
      try 'mount -o remount,rw /proc/sys'
      try 'umount /proc/sys'`,
    );
    expect(
      tried
        .trim()
        .split('\n')
        .map((line) => line.split(' ')[0]),
    ).to.deep.equal(['yes', 'no', 'no', 'no', 'no', 'no']);
  });

  it('nothing of the host is mounted, and its root is not reachable', async () => {
    await subhosts.up('a');
    const mounts = await subhosts.inside('a', 'cut -d" " -f5 /proc/1/mountinfo');
    expect(mounts).not.to.match(/\/(srv|opt|mnt)/);
    expect(await subhosts.inside('a', 'ls /proc/1/root/srv; ls -d /opt 2>/dev/null || true')).to.equal('');
  });

  describe('/run', () => {
    it('is a tmpfs of RAM_SIZE with a lock directory for everybody', async () => {
      await subhosts.up('a', { RAM_SIZE: '3M' });
      expect(subhosts.mountInside('a', '/run')).to.deep.include({ type: 'tmpfs' });
      expect(
        await subhosts.inside('a', "df -k /run | awk 'END { print $2 }'; stat -c %a /run /run/lock"),
      ).to.equal('3072\n755\n1777\n');
    });

    it('has 50M unless told otherwise', async () => {
      await subhosts.up('a');
      expect(await subhosts.inside('a', "df -k /run | awk 'END { print $2 }'")).to.equal('51200\n');
    });

    it('is a directory of the root with RAM_SIZE=none', async () => {
      await subhosts.up('a', { RAM_SIZE: 'none' }, { root: { 'run/of-the-root': 'x' } });
      expect(subhosts.mountInside('a', '/run')).to.equal(undefined);
      expect(
        await subhosts.inside('a', 'cat /run/of-the-root; test -p /run/dummy_service && echo pipe'),
      ).to.equal('xpipe\n');
    });
  });

  describe('/etc/adjtime', () => {
    it("is the host's, read-only, where both have the file", async () => {
      await subhosts.sandbox.sh('echo host >/etc/adjtime');
      await subhosts.up('a', {}, { root: { 'etc/adjtime': 'own' } });
      expect(
        await subhosts.inside('a', 'cat /etc/adjtime; echo x 2>/dev/null >/etc/adjtime || echo read-only'),
      ).to.equal('host\nread-only\n');
    });

    it('is not made where the root has none', async () => {
      await subhosts.sandbox.sh('echo host >/etc/adjtime');
      await subhosts.up('a');
      expect(await subhosts.inside('a', 'ls /etc/adjtime 2>/dev/null || echo none')).to.equal('none\n');
    });
  });

  describe('capabilities of pid 1 and of what it starts', () => {
    const capabilities = async (): Promise<Record<string, string | undefined>> => {
      const status = await subhosts.sandbox.sh(`cat /proc/${subhosts.pid1('a')}/status`);
      return Object.fromEntries(
        [...status.matchAll(/^Cap(\w+):\t(\w+)$/gm)].map(([, set, mask]) => [set, mask]),
      );
    };

    it("are a container engine's default set and NET_ADMIN", async () => {
      await subhosts.up('a');
      const mask = maskOf(DEFAULT_BITS);
      expect(await capabilities()).to.deep.equal({
        Inh: maskOf([]),
        Prm: mask,
        Eff: mask,
        Bnd: mask,
        Amb: maskOf([]),
      });
    });

    it('are changed by + and - of CAPS', async () => {
      await subhosts.up('a', { CAPS: '+SYS_ADMIN -NET_RAW -cap_kill' });
      expect((await capabilities()).Eff).to.equal(
        maskOf([...DEFAULT_BITS.filter((bit) => bit !== 13 && bit !== 5), 21]),
      );
    });

    it('are what a command says, for who enters too', async () => {
      for (const [said, given] of [
        ['all', undefined],
        ['-NET_RAW', DEFAULT_BITS.filter((bit) => bit !== 13)],
      ] as const) {
        await subhosts.up('a', { CAPS: `!echo ${said}` });
        const { Eff } = await capabilities();
        if (given) expect(Eff).to.equal(maskOf([...given]));
        expect(await subhosts.sandbox.sh("overlay-go a sed -n 's/^CapEff:\t//p' /proc/self/status")).to.equal(
          `${Eff}\n`,
        );
        await subhosts.stop('--kill', 'a');
      }
    });

    it('are all with CAPS=all, which also lifts masks, read-only and nodev', async () => {
      await subhosts.up('a', { CAPS: 'all' });
      const bounding = (await subhosts.sandbox.sh("sed -n 's/^CapBnd:\\t//p' /proc/self/status")).trim();
      expect((await capabilities()).Eff).to.equal(bounding);
      expect(subhosts.mountInside('a', '/')?.options).not.to.include('nodev');
      expect(subhosts.mountInside('a', '/sys')?.options).to.include('rw');
      expect(subhosts.mountInside('a', '/proc/sys')).to.equal(undefined);
      expect(await subhosts.inside('a', 'mknod /mine c 1 5; head -c 2 /mine | wc -c')).to.equal('2\n');
    });
  });

  describe('SHARE', () => {
    it('of directories and files, relative to BASE, with targets that are made', async () => {
      const conf = await subhosts.make('a', {
        SHARE: ['data:/srv/deep/data', '../a/file:/etc/shared-file', '/srv/t/abs'],
      });
      await subhosts.sandbox.sh(`mkdir data /srv/t/abs; echo d >data/f; echo f >file; echo a >/srv/t/abs/f`, {
        cwd: base,
      });
      const { code, stderr } = await subhosts.boot([conf]);
      expect(code, stderr).to.equal(0);
      expect(
        await subhosts.inside(
          'a',
          'cat /srv/deep/data/f /etc/shared-file /srv/t/abs/f; echo new >/srv/deep/data/new',
        ),
      ).to.equal('d\nf\na\n');
      expect(subhosts.file(`${base}/data/new`)).to.equal('new\n');
      expect(
        await subhosts.sandbox.sh(
          'stat -c "%F %a" root/srv/deep root/srv/deep/data root/etc/shared-file; rm -r /srv/t/abs',
          { cwd: base },
        ),
      ).to.equal('directory 755\ndirectory 755\nregular empty file 644\n');
    });

    it('is done in the order of the conf, one in another, and in /run', async () => {
      const conf = await subhosts.make('a', { SHARE: ['outer:/run/s', 'inner:/run/s/in'] });
      await subhosts.sandbox.sh('mkdir outer outer/in inner; echo o >outer/f; echo i >inner/f', {
        cwd: base,
      });
      expect((await subhosts.boot([conf])).code).to.equal(0);
      expect(await subhosts.inside('a', 'cat /run/s/f /run/s/in/f')).to.equal('o\ni\n');
    });

    it('has the path after the first colon as its target, colons and all', async () => {
      const conf = await subhosts.make('a', { SHARE: 'data:/srv/a:b' });
      await subhosts.sandbox.sh('mkdir data; echo d >data/f', { cwd: base });
      expect((await subhosts.boot([conf])).code).to.equal(0);
      expect(await subhosts.inside('a', 'cat /srv/a:b/f')).to.equal('d\n');
    });

    it('whose target lies behind links of the root stays inside the root', async () => {
      const conf = await subhosts.make('a', { SHARE: ['data:/abs/x', 'data:/up/y', 'data:/last'] });
      await subhosts.sandbox.sh(
        'mkdir data /srv/t/target; echo d >data/f; ln -s /srv/t/target root/abs; ln -s ../../../../../srv/t/target root/up; ln -s /srv/t/other root/last',
        { cwd: base },
      );
      const { code, stderr } = await subhosts.boot([conf]);
      expect(stderr).to.satisfy((text: string) => code === 0 || text.includes('cannot share'));
      expect(
        await subhosts.sandbox.sh(
          'ls -A /srv/t/target; ls -d /srv/t/other 2>/dev/null || true; rmdir /srv/t/target',
        ),
      ).to.equal('');
    });

    it('has no working devices and does not follow the host mounting more', async () => {
      const conf = await subhosts.make('a', { SHARE: 'data:/data' });
      await subhosts.sandbox.sh('mkdir -p data/sub; mknod data/zero c 1 5', { cwd: base });
      expect((await subhosts.boot([conf])).code).to.equal(0);
      await subhosts.sandbox.sh('mount -t tmpfs t data/sub; touch data/sub/later', { cwd: base });
      try {
        expect(
          await subhosts.inside('a', 'head -c 1 /data/zero 2>/dev/null || echo no device; ls /data/sub'),
        ).to.equal('no device\n');
      } finally {
        await subhosts.sandbox.sh('umount data/sub', { cwd: base });
      }
    });

    const mistakes: readonly [string, string | string[], number, string][] = [
      [
        'is missing on the host',
        'nothing:/x',
        2,
        `overlay-boot: ${base}/a.conf: SHARE: ${base}/nothing: there is no such file or directory: make it, or leave the share out`,
      ],
      [
        'is in UPPER',
        'root/etc:/x',
        2,
        `overlay-boot: ${base}/a.conf: SHARE: ${base}/root/etc is inside UPPER, which the subhost can change: put it outside`,
      ],
      [
        'is a directory on a file',
        'work:/etc/passwd',
        1,
        `overlay-boot: a: cannot share ${base}/work at /etc/passwd: Not a directory: is no directory in the subhost's root (log: /var/log/overlay-boot/a.log)`,
      ],
      [
        'is a file on a directory',
        '/etc/hostname:/etc',
        1,
        `overlay-boot: a: cannot share /etc/hostname at /etc: Is a directory: is a directory in the subhost's root (log: /var/log/overlay-boot/a.log)`,
      ],
    ];
    for (const [title, SHARE, code, message] of mistakes)
      it(`that ${title} fails the boot`, async () => {
        expect(await subhosts.refused(await subhosts.make('a', { SHARE }), { code })).to.deep.equal([
          message,
        ]);
      });
  });

  for (const [variable, value, controller] of [
    ['MEMORY_MAX', '64M', 'memory'],
    ['CPU_MAX', '50%', 'cpu'],
    ['PIDS_MAX', '20', 'pids'],
  ] as const)
    it(`${variable} holds where the host has the controller in cgroup v2, and is refused where not`, async () => {
      const conf = await subhosts.make('a', { [variable]: value });
      const has =
        subhosts.sandbox.cgroup !== undefined &&
        readFileSync(`${subhosts.sandbox.cgroup}/cgroup.controllers`, 'utf8').includes(controller);
      if (has) {
        expect((await subhosts.boot([conf])).code).to.equal(0);
        expect(
          await subhosts.sandbox.sh('cat "$(find /sys/fs/cgroup -path "*overlay-boot/a" | head -n 1)"/*.max'),
        ).not.to.equal('');
        return;
      }
      for (const options of [[], ['--check']])
        expect(await subhosts.refused(conf, { code: 2, options })).to.deep.equal([
          `overlay-boot: ${conf}: ${variable}: this host has no ${controller} controller in cgroup v2: boot it with cgroup v2 alone (systemd.unified_cgroup_hierarchy=1), or remove ${variable}`,
        ]);
    });

  it('services run in sessions of their own', async () => {
    const svc = `#!/bin/sh\n[ $1 = stop ] || { mkdir -p /var; cut -d' ' -f1,6 /proc/self/stat >/var/session; sed 's/.*) . \\([0-9]*\\) \\([0-9]*\\) \\([0-9]*\\) .*/\\3/' /proc/$$/stat >/var/session; echo $$ >>/var/session; }\n`;
    await subhosts.up('a', { START: '/svc' }, { services: { svc } });
    const [session, pid] = (subhosts.file(`${base}/root/var/session`) ?? '').split('\n');
    expect(session).to.equal(pid);
  });

  it('a service of recordingService() leaves its mark where calls() looks', async () => {
    await subhosts.up(
      'a',
      { START: '/svc', LOWER: BASE_ROOT },
      { services: { svc: recordingService('svc') }, root: { 'var/calls': '' } },
    );
    expect(subhosts.calls('a')).to.deep.equal(['svc start']);
  });
});
