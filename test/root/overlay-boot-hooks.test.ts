/** PREMOUNT, POSTMOUNT and INIT, with and without `+`. */
import { expect } from 'chai';
import { BASE_ROOT, recordingService, useSubhosts } from '../helpers/subhosts.js';

const RECORD = `#!/bin/sh
{ echo "$0 $*"; env | grep -E '^(CONFIG|NAME|BASE|LIVE|UPPER|WORK|LOWER|RAM_SIZE|START|ACTION)=' | sort; pwd; } >"$BASE/seen-$(basename "$0")"
`;

describe('overlay-boot: hooks', () => {
  const subhosts = useSubhosts();
  const base = '/opt/subhost/a';
  const environment = [
    'ACTION=overlay-boot',
    `BASE=${base}`,
    `CONFIG=${base}/a.conf`,
    `LIVE=${base}/live`,
    `LOWER=${base}/top:${BASE_ROOT}`,
    'NAME=a',
    'RAM_SIZE=4194304',
    'START=/svc',
    `UPPER=${base}/root`,
    `WORK=${base}/work`,
    base,
  ].join('\n');

  const cases: readonly [string, string][] = [
    ['PREMOUNT', `${base}/root`],
    ['POSTMOUNT', `${base}/live ${base}/root`],
    ['INIT', ''],
  ];
  for (const [variable, own] of cases)
    for (const sign of ['', '+', '+ '])
      it(`${variable}=${sign}COMMAND runs in BASE with its arguments and the variables in its environment`, async () => {
        const script = `${RECORD}${variable === 'INIT' && sign === '' ? `echo 'exec "$1"'` : ''}`;
        const mounts = `${RECORD}for d in dev proc run; do mkdir -p $LIVE/$d; done; mount -t tmpfs t $LIVE/run`;
        const values = {
          ...{ LOWER: `top:${BASE_ROOT}`, RAM_SIZE: '4M', START: '/svc' },
          [variable]: `${sign}hook  one   two`,
        };
        const files = {
          services: { svc: recordingService('svc') },
          hooks: { hook: variable === 'POSTMOUNT' && sign === '' ? mounts : script },
        };
        const conf = await subhosts.make('a', values, files);
        await subhosts.sandbox.sh('mkdir top root/var', { cwd: base });
        const { code, stderr } = await subhosts.boot([conf], { cwd: '/', env: { SECRET: 'x' } });
        expect(code, stderr).to.equal(0);
        const args = ['one', 'two', own].filter(Boolean).join(' ');
        expect(subhosts.file(`${base}/seen-hook`)).to.equal(`${base}/hook ${args}\n${environment}\n`);
      });

  describe('PREMOUNT', () => {
    const interfaces = `${base}/root/etc/network/interfaces`;

    it('built in writes an interfaces file with lo and a manual stanza for each cable inside', async () => {
      await subhosts.up('a', { CABLES: '= =02:00:00:00:00:01 =' });
      expect(
        subhosts
          .file(interfaces)
          ?.split('\n')
          .filter((line) => /^(auto|iface)/.test(line)),
      ).to.deep.equal([
        ...['auto lo', 'iface lo inet loopback'],
        ...['auto eth0', 'iface eth0 inet manual', 'auto eth1', 'iface eth1 inet manual'],
        ...['auto eth2', 'iface eth2 inet manual'],
      ]);
    });

    it('built in leaves an interfaces file alone, even an empty one', async () => {
      await subhosts.up('a', {}, { root: { 'etc/network/interfaces': '' } });
      expect(subhosts.file(interfaces)).to.equal('');
    });

    it('built in leaves no half-written file on a full disk', async () => {
      const conf = await subhosts.make('a', { UPPER: 'disk/u', WORK: 'disk/w' });
      await subhosts.sandbox.sh(
        'mkdir disk; mount -t tmpfs -o size=16k,mode=755 t disk; mkdir -p disk/u/etc/network disk/w; cat /dev/zero >disk/fill 2>/dev/null || true',
        { cwd: base },
      );
      try {
        const lines = await subhosts.refused(conf);
        expect(lines.join('\n')).to.match(
          /^overlay-boot: a: cannot write in UPPER etc\/network\/interfaces: No space left on device \(log: /,
        );
        expect(subhosts.file(`${base}/disk/u/etc/network/interfaces`)).to.equal(undefined);
      } finally {
        await subhosts.sandbox.sh('umount disk', { cwd: base });
      }
    });

    it('without a + replaces the built-in one', async () => {
      await subhosts.up('a', { PREMOUNT: 'hook' }, { hooks: { hook: '#!/bin/sh\n' } });
      expect(subhosts.file(interfaces)).to.equal(undefined);
    });

    it('with a + runs after the built-in one, and before the root is mounted', async () => {
      const hook = `#!/bin/sh\ncp "$1/etc/network/interfaces" "$BASE/copy"; ls -A "$LIVE" >"$BASE/live-was"; echo more >"$1/etc/more"\n`;
      await subhosts.up('a', { PREMOUNT: '+hook' }, { hooks: { hook } });
      expect(subhosts.file(`${base}/copy`)).to.equal(subhosts.file(interfaces));
      expect(subhosts.file(`${base}/live-was`)).to.equal('');
      expect(await subhosts.inside('a', 'cat /etc/more')).to.equal('more\n');
    });

    it('is not run for a root that is a directory as it is', async () => {
      const conf = await subhosts.make(
        'a',
        { LOWER: 'root', LIVE: 'root', PREMOUNT: 'hook' },
        { hooks: { hook: '#!/bin/sh\necho ran >"$BASE/ran"\n' } },
      );
      await subhosts.sandbox.sh(`rm -r root; cp -a ${BASE_ROOT} root`, { cwd: base });
      expect((await subhosts.boot([conf])).code).to.equal(0);
      expect(subhosts.file(`${base}/ran`)).to.equal(undefined);
    });
  });

  describe('POSTMOUNT', () => {
    it('with a + runs after the built-in one, with the root mounted; its mounts are inside and not on the host', async () => {
      const hook = `#!/bin/sh
set -e
mountpoint -q "$1/dev" && mountpoint -q "$1/proc" && mountpoint -q "$1/sys" && mountpoint -q "$1/run"
mkdir -p "$1/mnt"
mount -t tmpfs -o size=64k t "$1/mnt"
echo x >"$1/mnt/file"
`;
      await subhosts.up('a', { POSTMOUNT: '+hook' }, { hooks: { hook } });
      expect(await subhosts.inside('a', 'cat /mnt/file')).to.equal('x\n');
      expect(await subhosts.sandbox.sh('ls -A live', { cwd: base })).to.equal('');
    });

    it('without a + replaces the built-in one: what it does not mount is not there', async () => {
      const hook = `#!/bin/sh\nset -e\nmount -t proc p "$1/proc"\nmount -t tmpfs t "$1/dev"\nmknod -m 666 "$1/dev/null" c 1 3\n`;
      await subhosts.up('a', { POSTMOUNT: 'hook' }, { hooks: { hook } });
      expect(subhosts.mountInside('a', '/sys')).to.equal(undefined);
      expect(subhosts.mountInside('a', '/run')).to.equal(undefined);
      expect(subhosts.mountInside('a', '/.reaper')?.type).not.to.equal(undefined);
    });

    it('without a + does not lift the protection of /proc', async () => {
      const hook = `#!/bin/sh\nset -e\nmount -t proc p "$1/proc"\nmount -t tmpfs t "$1/dev"\nmknod -m 666 "$1/dev/null" c 1 3\n`;
      await subhosts.up('a', { POSTMOUNT: 'hook' }, { hooks: { hook } });
      expect(subhosts.mountInside('a', '/proc/sys')?.options).to.include('ro');
    });

    it('sees the pid namespace of the subhost', async () => {
      const hook = `#!/bin/sh\nreadlink /proc/self/ns/pid >"$BASE/ns"\n`;
      await subhosts.up('a', { POSTMOUNT: '+hook' }, { hooks: { hook } });
      expect(subhosts.file(`${base}/ns`)).to.equal(await subhosts.inside('a', 'readlink /proc/self/ns/pid'));
    });
  });

  describe('INIT', () => {
    it('with a + puts its output before the last exec of the built-in script', async () => {
      const hook = `#!/bin/sh\necho 'echo more >>/var/calls'\necho -n '/bin/sleep 1000 &'\n`;
      await subhosts.up(
        'a',
        { INIT: '+hook', START: '/svc' },
        { hooks: { hook }, services: { svc: recordingService('svc') }, root: { 'var/calls': '' } },
      );
      expect(subhosts.calls('a')).to.deep.equal(['svc start', 'more']);
      expect(await subhosts.inside('a', 'pidof sleep | wc -w; ls /run/dummy_service 2>&1 || true')).to.match(
        /^1\nls: /,
      );
    });

    it('without a + prints all of the script, whose $1 is the reaper', async () => {
      const hook = `#!/bin/sh\necho 'echo mine >/var/mine; exec "$1"'\n`;
      await subhosts.up('a', { INIT: 'hook', START: '/no/such' }, { hooks: { hook } });
      expect(await subhosts.inside('a', 'cat /var/mine; cat /proc/1/cmdline | tr "\\0" " "')).to.equal(
        'mine\n/.reaper ',
      );
    });

    it('without a + leaves no service of the default START to be stopped', async () => {
      await subhosts.up(
        'a',
        { INIT: 'hook', START: '' },
        { hooks: { hook: `#!/bin/sh\necho 'exec "$1"'\n` } },
      );
      expect(subhosts.record('a')?.start).to.deep.equal([]);
    });

    it("may exec the subhost's own init, which becomes ready and stops", async () => {
      await subhosts.sandbox.writeFile('/etc/overlay-boot/conf.d/grace.conf', '[timeouts]\ngrace = 0.5\n');
      try {
        await subhosts.up(
          'a',
          { INIT: 'hook' },
          {
            hooks: { hook: `#!/bin/sh\necho exec /bin/init\n` },
            root: {
              'etc/inittab': '::sysinit:/bin/sh -c "echo sysinit >>/var/calls"\n::respawn:/bin/sleep 1000\n',
              'var/calls': '',
            },
          },
        );
        expect(await subhosts.inside('a', 'cat /proc/1/comm')).to.equal('init\n');
        expect((await subhosts.stop('a')).stdout).to.equal('a: stopped, by SIGKILL after the grace period\n');
        expect(subhosts.calls('a')).to.deep.equal(['sysinit']);
      } finally {
        await subhosts.sandbox.sh('rm -r /etc/overlay-boot');
      }
    });

    const bad: readonly [string, string, RegExp][] = [
      [
        'ends before it execs anything',
        `echo 'exit 3'`,
        /^overlay-boot: a: pid 1 exited with status 3 before it was ready \(log: \S+\)$/,
      ],
      [
        'execs what is not there',
        `echo 'exec /no/such'`,
        /^overlay-boot: a: pid 1 exited with status 127 before it was ready \(log: \S+\)$/,
      ],
      [
        'is longer than the kernel takes',
        `yes : | head -c 140000`,
        /^overlay-boot: a: INIT: the start script is longer than 131071 bytes: let it run a file of the root instead/,
      ],
    ];
    for (const [title, command, message] of bad)
      it(`fails the boot when its script ${title}`, async () => {
        const conf = await subhosts.make(
          'a',
          { INIT: 'hook' },
          { hooks: { hook: `#!/bin/sh\n${command}\n` } },
        );
        expect((await subhosts.refused(conf)).join('\n')).to.match(message);
      });
  });

  for (const variable of ['PREMOUNT', 'POSTMOUNT', 'INIT'])
    it(`${variable} that fails is named with its status and its last words, and nothing is left`, async () => {
      const hook = '#!/bin/sh\necho not here >&2\nexit 4\n';
      const conf = await subhosts.make('a', { [variable]: '+hook x' }, { hooks: { hook } });
      const lines = await subhosts.refused(conf);
      expect(lines).to.have.lengthOf(1);
      expect(lines[0]).to.match(
        new RegExp(
          `^overlay-boot: a: ${variable}: .*${base}/hook x.*: exit status 4: not here \\(log: /var/log/overlay-boot/a.log\\)$`,
        ),
      );
    });

  it('that hang are ended when the time is up', async () => {
    const hook = '#!/bin/sh\nsleep 1000\n';
    const conf = await subhosts.make('a', { POSTMOUNT: '+hook' }, { hooks: { hook } });
    expect(await subhosts.refused(conf, { options: ['--timeout', '0.5'] })).to.deep.equal([
      'overlay-boot: a: not ready within 0.5 s: it was at: POSTMOUNT (log: /var/log/overlay-boot/a.log)',
    ]);
  });

  const untrusted: readonly [string, string, string][] = [
    [
      'belongs to somebody else',
      'chown 1000 hook',
      `${base}/hook: belongs to uid 1000, not to root: chown root ${base}/hook`,
    ],
    [
      'is writable by the group',
      'chmod g+w hook',
      `${base}/hook: is writable by others than root: chmod go-w ${base}/hook`,
    ],
    [
      'is writable by others',
      'chmod o+w hook',
      `${base}/hook: is writable by others than root: chmod go-w ${base}/hook`,
    ],
    ['is not executable', 'chmod a-x hook', `${base}/hook: is not executable: chmod +x ${base}/hook`],
    ['is missing', 'rm hook', `${base}/hook: there is no such file: write the path of an executable file`],
  ];
  for (const [title, change, message] of untrusted)
    for (const option of [[], ['--check']])
      it(`are refused when one ${title}, ${option.length > 0 ? 'by --check too' : 'before anything is made'}`, async () => {
        const hook = '#!/bin/sh\ntouch "$BASE/ran"\n';
        const conf = await subhosts.make('a', { PREMOUNT: 'hook' }, { hooks: { hook } });
        await subhosts.sandbox.sh(change, { cwd: base });
        expect(await subhosts.refused(conf, { code: 2, options: option })).to.deep.equal([
          `overlay-boot: ${conf}: PREMOUNT: ${message}`,
        ]);
        expect(subhosts.file(`${base}/ran`)).to.equal(undefined);
      });
});
