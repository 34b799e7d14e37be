/** npm start: the main job, and what it says when it cannot get what it needs. A sandbox has no network. */
import { join } from 'node:path';
import { expect } from 'chai';
import { snapshot } from '../helpers/host-snapshot.js';
import { type Completed, eventually, PROJECT, useSandbox } from '../helpers/namespaces.js';

/** A copy of the project in the sandbox. */
const CLONE = '/srv/t/clone';
const START = [process.execPath, join(CLONE, 'src/make/start.mjs')];

describe('npm start', function () {
  this.timeout(120_000); // some of it compiles, or waits for a network that is not there
  const sandbox = useSandbox();
  const start = (...before: string[]): Promise<Completed> => sandbox().run([...before, ...START]);

  /** The one line, after the commands that were tried. */
  const refusal = ({ code, stderr }: Completed): string => {
    expect(code).to.equal(1);
    return stderr;
  };

  beforeEach(async () => {
    await sandbox().sh(`
      rm -rf ${CLONE} && mkdir ${CLONE}
      cd ${PROJECT} && cp -a package.json package-lock.json bin dist examples src ${CLONE}
      ln -s ${PROJECT}/node_modules ${CLONE}/node_modules
    `);
  });

  it('boots a subhost, shows it, runs a command inside, stops it, and leaves nothing', async () => {
    await eventually('the sandbox is whole', async () =>
      (await snapshot(sandbox())).processes.includes('cat'),
    );
    const before = await snapshot(sandbox());
    const { code, stdout, stderr } = await start();
    expect({ code, stderr }).to.deep.equal({ code: 0, stderr: '' });
    const typed = [...stdout.matchAll(/^# (\S+)/gm)].map(([, word]) => word);
    expect(typed).to.include.members([
      'cp',
      'overlay-boot',
      'overlay-status',
      'overlay-go',
      'overlay-stop',
      'rm',
    ]);
    expect(stdout).to.match(/^copy +running/m);
    expect(stdout).to.match(/^copy\n +PID/m);
    expect(stdout).to.include('this host has no /etc/made-inside');
    expect(stdout).to.include('what to try next');
    const after = await snapshot(sandbox());
    expect(after.processes).to.deep.equal(before.processes);
    expect(after.links).to.deep.equal(before.links);
    expect(after.run).to.deep.equal(before.run);
    expect(await sandbox().sh('ls /dev/shm /var/lib/overlay-boot')).not.to.include('demo-');
  });

  it('works from a clone that belongs to somebody else and is open to a group', async () => {
    await sandbox().sh(`chown -R 1000:1000 ${CLONE} && chmod -R g+w ${CLONE}`);
    const { code, stderr } = await start();
    expect({ code, stderr }).to.deep.equal({ code: 0, stderr: '' });
  });

  it('clears up when a subhost of that name runs already, and says that it does', async () => {
    await sandbox().sh(`
      cp -r ${PROJECT}/examples/copy /opt/subhost/
      overlay-boot --mkdir /opt/subhost/copy/copy.conf
    `);
    expect(refusal(await start())).to.match(
      /^overlay-boot: copy[\s\S]*^npm start: overlay-boot --mkdir .*: exit 1, /m,
    );
    expect(await sandbox().sh('overlay-go copy hostname')).to.equal('copy\n');
    expect(await sandbox().sh('ls /dev/shm /var/lib/overlay-boot')).not.to.include('demo-');
    await sandbox().sh('overlay-stop copy');
  });

  it('says that it needs root', async () => {
    const nobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];
    expect(refusal(await start(...nobody))).to.equal('npm start: needs root: log in as root, or use sudo\n');
  });

  it('says that root may not mount', async () => {
    const lesser = ['setpriv', '--bounding-set=-sys_admin', '--inh-caps=-sys_admin'];
    expect(refusal(await start(...lesser))).to.match(
      /^npm start: needs the capability to mount \(CAP_SYS_ADMIN\): .*\n$/,
    );
  });

  describe('in a machine that lacks something', () => {
    /** Undone after each test: the mounts made over files of the machine, in the sandbox only. */
    let masked: string[] = [];
    const mask = async (path: string, by = '/dev/null'): Promise<void> => {
      const file = (await sandbox().sh(`realpath "$(command -v ${path} || echo ${path})"`)).trim();
      await sandbox().sh(`mount --bind ${by} ${file}`);
      masked.push(file);
    };
    afterEach(async () => {
      for (const file of masked.reverse()) await sandbox().sh(`umount ${file}`);
      masked = [];
    });

    it('says that the kernel has no overlayfs', async () => {
      await sandbox().sh('grep -v overlay /proc/filesystems >/srv/t/filesystems');
      await mask('/proc/filesystems', '/srv/t/filesystems');
      expect(refusal(await start())).to.match(/^npm start: needs overlayfs: this kernel has none .*\n$/);
    });

    it('names the Debian packages to bring by hand where the system is another', async () => {
      await sandbox().sh('printf "ID=fedora\\n" >/srv/t/os-release');
      await mask('/etc/os-release', '/srv/t/os-release');
      await mask('ps');
      expect(refusal(await start())).to.equal(
        'npm start: this is not Debian: install what its packages procps bring\n',
      );
    });

    it('asks for the network when apt-get gets nothing', async () => {
      // procps as if it had never been installed or downloaded: the program, dpkg's record, apt's archive.
      await mask('ps');
      await sandbox().sh(`
        sed -i '/^Package: procps$/,/^$/d' /var/lib/dpkg/status
        mount -t tmpfs tmpfs /var/cache/apt/archives && mkdir /var/cache/apt/archives/partial
        rm -f /etc/resolv.conf && echo nameserver 127.0.0.1 >/etc/resolv.conf
        echo 'Acquire::Retries "0";' >/etc/apt/apt.conf.d/99-no-network
      `);
      expect(refusal(await start())).to.match(
        /^npm start: cannot get the Debian packages procps: apt-get: .*: is there a network\?\n$/,
      );
    });

    it('asks for the network when npm gets nothing', async () => {
      await sandbox().sh(`rm ${CLONE}/node_modules`);
      const env = {
        HOME: '/srv/t/home',
        npm_config_fetch_retries: '0',
        npm_config_cache: '/srv/t/home/cache',
      };
      const result = await sandbox().run(START, { env });
      expect(refusal(result)).to.match(
        /^npm start: cannot get the npm packages: npm ci: .*: is there a network\?\n$/,
      );
    });

    it('builds again when a source is newer, and stops there when that fails', async () => {
      await sandbox().sh(`echo 'this is no C' >>${CLONE}/src/init/main.c`);
      expect(refusal(await start())).to.match(
        /^npm start: the build failed \(exit 1\), its reason is above\n$/m,
      );
      expect(await sandbox().sh(`ls ${CLONE}`))
        .to.match(/^dist$/m)
        .and.not.to.include('dist.');
    });
  });
});
