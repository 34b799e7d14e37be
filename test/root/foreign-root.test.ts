/** Roots that are not this machine's: without a libc of Debian's, and of another architecture. */
import { expect } from 'chai';
import { eventually, type Sandbox } from '../helpers/namespaces.js';
import { BASE_ROOT, recordingService, useSubhosts } from '../helpers/subhosts.js';

/** The first bytes of a program for arm64, elf(5): enough for the kernel to see whose it is. */
const ARM64_PROGRAM = Buffer.concat([
  Buffer.from([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 183, 0, 1, 0, 0, 0]),
  Buffer.alloc(232),
]);

describe('overlay-boot: a root of another architecture', () => {
  const subhosts = useSubhosts();

  it('is refused with a word about it, and nothing is left', async () => {
    await subhosts.sandbox.sh(`cp -a ${BASE_ROOT} /srv/t/arm64; rm /srv/t/arm64/bin/*`);
    await subhosts.sandbox.writeFile('/srv/t/arm64/bin/busybox', ARM64_PROGRAM, 0o755);
    await subhosts.sandbox.sh('ln -s busybox /srv/t/arm64/bin/sh');
    const conf = await subhosts.make('a', { LOWER: '/srv/t/arm64', START: 'none' });
    const { code, stdout, stderr } = await subhosts.boot([conf]);
    expect({ code, stdout }).to.deep.equal({ code: 1, stdout: '' });
    expect(stderr).to.match(
      /^overlay-boot: a: cannot run \/bin\/sh: Exec format error: is the root one of another architecture than this machine's \(\w+\)\? With qemu-user-static on the host it runs[^\n]*\n$/,
    );
    expect(await subhosts.sandbox.sh('find /run/overlay-boot /run/netns -mindepth 1')).to.equal('');
  });
});

/** /etc/inittab as a busybox init reads it: what runs once, what is kept running, and what is run before it ends. */
const INITTAB = `::sysinit:/etc/init.d/rcS
::respawn:/bin/sh -c 'echo again >>/var/calls; exec sleep 1000'
::shutdown:/bin/sh -c 'echo shutdown >>/var/calls'
`;

/** A distribution's root that is all busybox: no bash, no \`service\`, nothing of util-linux, scripts of plain sh. */
async function makeAlpineRoot(sandbox: Sandbox, path: string, merged: boolean): Promise<void> {
  await sandbox.sh(
    `mkdir -p "$R"; cd "$R"
    mkdir -m 755 dev etc etc/init.d home media proc root run srv sys usr usr/bin usr/sbin usr/lib var var/log
    mkdir -m 1777 tmp
    if [ "$MERGED" ]; then ln -s usr/bin bin; ln -s usr/sbin sbin; ln -s usr/lib lib; else mkdir bin sbin lib; fi
    cp "$(command -v busybox)" bin/busybox
    chroot . /bin/busybox --install -s
    for extra in bash service setsid nsenter unshare findmnt lsns; do rm -f bin/$extra sbin/$extra usr/bin/$extra usr/sbin/$extra; done
    ln -s /run var/run
    printf 'ID=alpine\\nVERSION_ID=3.20\\n' >etc/os-release
    echo 3.20.0 >etc/alpine-release
    printf 'root:x:0:0:root:/root:/bin/ash\\nnobody:x:65534:65534:nobody:/:/sbin/nologin\\n' >etc/passwd
    printf 'root:x:0:root\\nnobody:x:65534:\\n' >etc/group
    printf 'root:*::0:::::\\n' >etc/shadow`,
    { env: { R: path, MERGED: merged ? 'yes' : '' } },
  );
}

/** A start/stop script as people write them where there is no OpenRC: a daemon with a pid file. */
const DAEMON = `#!/bin/sh
case $1 in
start)
	echo "web start" >>/var/calls
	start-stop-daemon -S -b -m -p /run/web.pid -x /bin/busybox -- httpd -f -p 127.0.0.1:80 -h /srv ;;
stop)
	echo "web stop" >>/var/calls
	start-stop-daemon -K -p /run/web.pid ;;
esac
`;

for (const merged of [false, true])
  describe(`overlay-boot: an Alpine-like root, all busybox, /usr ${merged ? 'merged' : 'not merged'}`, () => {
    const subhosts = useSubhosts();
    const LOWER = '/srv/t/alpine';
    const services = { 'etc/init.d/web': DAEMON, 'etc/init.d/second': recordingService('second') };

    before(async () => {
      await makeAlpineRoot(subhosts.sandbox, LOWER, merged);
    });

    it('boots with START, is entered, takes shares, and stops in reverse order', async () => {
      await subhosts.up('a', { LOWER, START: 'web second' }, { services, root: { 'srv/hello': 'hi\n' } });
      await subhosts.sandbox.sh('mkdir -p /srv/t/shared; echo here >/srv/t/shared/file');
      expect(await subhosts.sandbox.sh('overlay-go a cat /etc/alpine-release /var/calls')).to.equal(
        '3.20.0\nweb start\nsecond start\n',
      );
      expect(await subhosts.sandbox.sh('echo "pwd; hostname; echo \\$0" | overlay-go a')).to.match(
        /^\/root\na\n-?(\/bin\/)?a?sh\n$/,
      );
      await eventually('the daemon answers', async () => {
        const asked = ['overlay-go', 'a', 'wget', '-qO-', 'http://127.0.0.1/hello'];
        return (await subhosts.sandbox.run(asked)).stdout === 'hi\n';
      });
      await subhosts.sandbox.sh('overlay-share /srv/t/shared a /media');
      expect(await subhosts.sandbox.sh('overlay-go a cat /media/file')).to.equal('here\n');
      await subhosts.sandbox.sh('overlay-share --remove /srv/t/shared a /media');
      expect(await subhosts.stop('a')).to.include({ code: 0, stdout: 'a: stopped\n', stderr: '' });
      expect(subhosts.calls('a')).to.deep.equal(['web start', 'second start', 'second stop', 'web stop']);
    });

    it('runs its own init with its inittab, and stops', async () => {
      const values = { LOWER, INIT: '/bin/echo exec /sbin/init' };
      const files = {
        services: { 'etc/init.d/rcS': '#!/bin/sh\necho sysinit >>/var/calls\n' },
        root: { 'etc/inittab': INITTAB },
      };
      // On its way out it calls sync(2) twice, for the whole host: how long that takes is the host's disk's affair.
      subhosts.write('/etc/overlay-boot/conf.d/grace.conf', '[timeouts]\ngrace = 60\n');
      await subhosts.up('b', values, files);
      await eventually(
        'inittab is done',
        async () => (await subhosts.sandbox.sh('overlay-go b cat /var/calls')) === 'sysinit\nagain\n',
      );
      expect(await subhosts.sandbox.sh('overlay-go b cat /proc/1/comm')).to.equal('init\n');
      expect(await subhosts.stop('b')).to.include({ code: 0, stdout: 'b: stopped\n', stderr: '' });
    });
  });
