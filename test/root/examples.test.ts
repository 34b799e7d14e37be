/**
 * Each example boots as its README says: the README's own lines are run, as an administrator would type
 * them, up to the one that ends the subhost; then what is promised is looked at; then the rest.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { DEBIAN_BASE, needDebianRoot } from '../helpers/debian-root.js';
import { leftOvers } from '../helpers/host-snapshot.js';
import { eventually, PROJECT, requireRoot, type Sandbox, useSandbox } from '../helpers/namespaces.js';

const EXAMPLES = join(PROJECT, 'examples');

interface Readme {
  /** Command lines up to the first one that ends a subhost. */
  readonly boot: readonly string[];
  readonly end: readonly string[];
}

/** The command lines of an example's README, without those for which the sandbox has no network or no use. */
function readme(example: string, left: (line: string) => boolean = () => false): Readme {
  const lines = [...readFileSync(join(EXAMPLES, example, 'README.md'), 'utf8').matchAll(/^ {4}# (.*)$/gm)]
    .map(([, line = '']) => line)
    .filter((line) => !line.startsWith('apt-get ') && !line.startsWith('cat ') && !left(line));
  const ends = lines.findIndex((line) => /^overlay-stop |dummy_service/.test(line));
  return ends < 0 ? { boot: lines, end: [] } : { boot: lines.slice(0, ends), end: lines.slice(ends) };
}

/** Runs command lines as one shell session in the checkout. @throws Error with the line that failed, and its stderr */
async function type(sandbox: Sandbox, lines: readonly string[]): Promise<string> {
  // Who writes to the dummy service's pipe from inside may end with the subhost, before it can say that all went well.
  const typed = lines.map((line) => (line.includes('dummy_service') ? `${line} || [ $? = 137 ]` : line));
  return await sandbox.sh(['set -x', ...typed].join('\n'), { cwd: PROJECT, timeoutMs: 120_000 });
}

describe('examples', () => {
  it('are all tried here', () => {
    const tried = readFileSync(__filename, 'utf8');
    for (const example of readdirSync(EXAMPLES)) expect(tried).to.include(`describe('examples/${example}'`);
  });

  describe('examples/copy', () => {
    const sandbox = useSandbox();

    it('boots an overlay of the host, keeps what is written in its own layer, and leaves nothing', async () => {
      const { boot, end } = readme('copy');
      const before = await leftOvers(sandbox());
      await type(sandbox(), boot);
      expect(await sandbox().sh('overlay-go copy hostname')).to.equal('copy\n');
      await sandbox().sh("overlay-go copy sh -c 'echo inside >/etc/made-inside'");
      expect(await sandbox().readFile('/opt/subhost/copy/root/etc/made-inside')).to.equal('inside\n');
      expect(await sandbox().sh('ls /etc')).not.to.include('made-inside');
      expect(await sandbox().sh('overlay-go copy ls -A /sys/class/net')).to.equal('lo\n');
      await type(sandbox(), end);
      expect(await leftOvers(sandbox())).to.deep.equal(before);
    });
  });

  describe('examples/tiny', () => {
    describe('with a base of busybox', () => {
      const sandbox = useSandbox();

      it('boots it with a cable, and ends when its pipe is written to', async () => {
        const { boot, end } = readme('tiny', (line) => line === './make-base');
        const before = await leftOvers(sandbox());
        await type(sandbox(), [
          boot[0] ?? '',
          'cd /opt/subhost/tiny',
          './make-base --busybox',
          ...boot.slice(2),
        ]);
        expect(await sandbox().sh('overlay-go tiny readlink /bin/sh')).to.equal('busybox\n');
        expect(await sandbox().sh('overlay-go tiny ls /sys/class/net')).to.equal('eth0\nlo\n');
        expect(await sandbox().sh('ls /sys/class/net')).to.equal('lo\ntiny0\n');
        await type(sandbox(), end);
        await eventually('tiny has ended', async () => (await sandbox().sh('ls /run/overlay-boot')) === '');
        expect(await leftOvers(sandbox())).to.deep.equal(before);
      });

      it('will not make a base in the place of another', async () => {
        const { code, stderr } = await sandbox().run(['/opt/subhost/tiny/make-base', '--busybox']);
        expect(code).to.equal(1);
        expect(stderr).to.match(/^make-base: .*\/base exists: remove it first to have it made anew\n$/);
      });
    });

    describe('with a base of Debian', () => {
      requireRoot();
      needDebianRoot();
      const sandbox = useSandbox();

      it('boots it', async () => {
        const { boot, end } = readme('tiny', (line) => line === './make-base');
        const base = [
          `cp -a ${DEBIAN_BASE} ${sandbox().diskdir}/base`,
          `ln -s ${sandbox().diskdir}/base base`,
        ];
        await type(sandbox(), [boot[0] ?? '', 'cd /opt/subhost/tiny', ...base, ...boot.slice(2)]);
        expect(await sandbox().sh('overlay-go tiny cat /etc/os-release')).to.match(/^ID=debian$/m);
        expect(await sandbox().sh('overlay-go tiny sh -c "dpkg -l | grep -c ^ii"')).to.match(/^\d+\n$/);
        await type(sandbox(), end);
      });
    });
  });

  describe('examples/mta', () => {
    const sandbox = useSandbox();

    it('boots without its Debian packages too, and names each service that is missing', async () => {
      const before = await leftOvers(sandbox());
      await type(sandbox(), readme('mta').boot);
      const status = await sandbox().sh('overlay-status mta');
      expect(status).to.include('degraded');
      for (const service of ['saslauthd', 'postfix', 'dovecot']) expect(status).to.include(service);
      expect(await sandbox().sh('overlay-go mta cat /etc/network/interfaces')).to.include(
        'iface eth0 inet manual',
      );
      await sandbox().sh('overlay-stop mta');
      expect(await leftOvers(sandbox())).to.deep.equal(before);
    });
  });

  describe('examples/bridged', () => {
    const sandbox = useSandbox();

    it('boots a pair that ping each other and the host, and goes with its bridge', async () => {
      const { boot, end } = readme('bridged');
      const before = await leftOvers(sandbox());
      const said = await type(sandbox(), boot);
      expect(said.match(/ 0% packet loss/g)).to.have.lengthOf(2);
      expect(await sandbox().sh('overlay-go b ping -c 1 10.77.2.1')).to.include(' 0% packet loss');
      expect(await sandbox().sh('ls /sys/class/net/sub-br/brif')).to.equal('a0\nb0\n');
      expect(await sandbox().sh('overlay-go a cat /sys/class/net/eth0/address')).to.equal(
        '02:00:0a:4d:02:01\n',
      );
      await type(sandbox(), ['cd /opt/subhost/bridged', ...end]);
      expect(await leftOvers(sandbox())).to.deep.equal(before);
    });

    it('says how to make the bridge when there is none', async () => {
      const { code, stderr } = await sandbox().run(['overlay-boot', '/opt/subhost/bridged/a.conf']);
      expect(code).not.to.equal(0);
      expect(stderr).to.match(/^overlay-boot: .*sub-br.*ip link add/m);
    });
  });

  describe('examples/shares', () => {
    const sandbox = useSandbox();

    it('shows the host its files inside, and more of them while it runs', async () => {
      const { boot, end } = readme('shares');
      const before = await leftOvers(sandbox());
      await sandbox().writeFile('/var/log/from-the-host', '');
      const said = await type(sandbox(), boot);
      const hostName = await sandbox().readFile('/etc/hostname');
      expect(said).to.include(`<p>From the host.</p>\n${hostName}`);
      expect(said).to.include('from-the-host\n');
      await sandbox().sh("overlay-go shares sh -c 'echo changed >/srv/pages/index.html'");
      expect(await sandbox().readFile('/opt/subhost/shares/pages/index.html')).to.equal('changed\n');
      expect(await sandbox().sh('overlay-go shares ls /srv/log')).to.equal('');
      await type(sandbox(), end);
      await sandbox().sh('rm /var/log/from-the-host');
      expect(await leftOvers(sandbox())).to.deep.equal(before);
    });
  });

  describe('examples/disk', () => {
    const sandbox = useSandbox();

    it('boots from a partition of an image, and leaves no loop device', async () => {
      const { boot, end } = readme('disk');
      const before = await leftOvers(sandbox());
      await type(sandbox(), boot);
      expect(await sandbox().sh('overlay-go disk readlink /bin/sh')).to.equal('busybox\n');
      expect(await sandbox().sh('ls /opt/subhost/disk/mnt')).to.equal('');
      await type(sandbox(), ['cd /opt/subhost/disk', ...end]);
      expect(await leftOvers(sandbox())).to.deep.equal(before);
    });

    it('says how to get a directory when make-disk is given none', async () => {
      const { code, stderr } = await sandbox().run(['/opt/subhost/disk/make-disk', '/nowhere']);
      expect(code).to.equal(1);
      expect(stderr).to.include('/nowhere is no directory: make one with ../tiny/make-base --busybox');
    });
  });

  describe('examples/mstack', () => {
    const sandbox = useSandbox();

    it('mounts a stack, boots all three, keeps what is written, and leaves no loop device', async () => {
      const { boot, end } = readme('mstack');
      const before = await leftOvers(sandbox());
      const said = await type(sandbox(), boot);
      expect(said).to.match(/^hello from app\.raw$/m);
      const inside = async (name: string, script: string): Promise<string> =>
        (await sandbox().run(['overlay-go', name, 'sh', '-c', script])).stderr.trim();
      for (const name of ['foobar', 'waldo', 'quux'])
        expect(await inside(name, 'echo kept >/var/f'), name).to.equal('');
      expect(await inside('foobar', 'echo kept >/usr/f')).to.equal('');
      expect(await inside('waldo', 'echo x >/usr/f')).to.include('Read-only file system');
      expect(await inside('quux', 'echo x >/etc/f')).to.include('Read-only file system');
      await type(sandbox(), ['cd /opt/subhost/mstack', ...end]);
      const kept = [
        'foobar.mstack/rw/data/usr/f',
        'foobar.mstack/rw/data/var/f',
        'waldo.mstack/root/var/f',
        'myapp1-var/f',
      ];
      for (const file of kept)
        expect(await sandbox().readFile(`/opt/subhost/mstack/${file}`)).to.equal('kept\n');
      expect(
        await sandbox().sh('losetup -l -n -O BACK-FILE | grep -E "(base|app|vendor|myapp1).raw" || true'),
      ).to.equal('');
      expect(await leftOvers(sandbox())).to.deep.equal(before);
    });

    it('says how to get a directory when make-stacks is given none', async () => {
      const { code, stderr } = await sandbox().run(['/opt/subhost/mstack/make-stacks', '/nowhere']);
      expect(code).to.equal(1);
      expect(stderr).to.include('/nowhere is no directory: make one with ../tiny/make-base --busybox');
    });
  });

  describe('examples/box', () => {
    const sandbox = useSandbox();
    before(async () => {
      // The sandbox's own /var is an overlay, which holds no writable layer of another.
      await sandbox().sh('mkdir -p /var/lib/wafers; mount -t tmpfs tmpfs /var/lib/wafers');
    });

    it('upgrades a web server, falls back with what was written, and goes back by itself', async () => {
      const { boot } = readme('box');
      const before = await leftOvers(sandbox());
      const said = await type(sandbox(), boot);
      expect(said.split('\n').filter((line) => /^(version|mine|taken)/.test(line))).to.deep.equal([
        'version 1',
        'version 2',
        'mine',
        'taken back',
        'version 1',
      ]);
      expect(said).to.match(/^web-1 +sealed +web +- +-$/m);
      expect(await sandbox().sh('ls -A /var/lib/wafers/points /etc/overlay-boot/boxes')).to.equal(
        '/etc/overlay-boot/boxes:\n\n/var/lib/wafers/points:\n',
      );
      expect(await leftOvers(sandbox())).to.deep.equal(before);
    });
  });

  describe('examples/wafers', () => {
    const sandbox = useSandbox();
    before(async () => {
      // The sandbox's own /var is an overlay, which holds no writable layer of another.
      await sandbox().sh('mkdir -p /var/lib/wafers; mount -t tmpfs tmpfs /var/lib/wafers');
    });

    it('stacks a wafer upon a base, and keeps apart what is written in it', async () => {
      const { boot } = readme('wafers');
      const before = await leftOvers(sandbox());
      const said = await type(sandbox(), boot);
      expect(said).to.include('2 wafers stacked at /var/lib/machines/web\n');
      expect(said).to.include('base\n└── web (stacked)\nunstacked /var/lib/machines/web\n');
      expect(await sandbox().sh('find /var/lib/wafers/web/data -type f')).to.equal(
        '/var/lib/wafers/web/data/srv-note\n',
      );
      expect(await leftOvers(sandbox())).to.deep.equal(before);
    });

    it('walks through it with a busybox', async () => {
      const before = await leftOvers(sandbox());
      const said = await sandbox().sh(join(EXAMPLES, 'wafers/walk-through --busybox'));
      expect(said).to.include('\n/var/lib/wafers/busybox.2/data/home/jesse\n');
      expect(said).to.include('busybox (stacked)\n└── busybox.2 (stacked)\n');
      expect(await leftOvers(sandbox())).to.deep.equal(before);
    });

    it('walks through it with a Debian', async function () {
      if (!existsSync(DEBIAN_BASE)) {
        process.stderr.write('skipped: examples/wafers with a Debian: the test of examples/tiny makes it\n');
        this.skip();
      }
      const wafers = join(sandbox().diskdir, 'wafers');
      await sandbox().sh(`mkdir -p ${wafers}/debian; cp -a ${DEBIAN_BASE} ${wafers}/debian/data`);
      const env = { WAFERS: wafers };
      const said = await sandbox().sh(join(EXAMPLES, 'wafers/walk-through'), { env, timeoutMs: 60_000 });
      expect(said).to.include(`\n${wafers}/debian.2/data/home/jesse/.profile\n`);
    }).timeout(90_000);
  });
});
