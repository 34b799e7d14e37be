/** Boxes with ENGINE=nspawn on a whole machine with systemd: cut over, taken back, entered, started with the host. */
import { expect } from 'chai';
import { GUEST } from './guest.js';
import { MACHINE_TEST_TIMEOUT_MS, useMachine } from './machine.js';
import { usePackages } from './subhosts.js';

/** Shell: the image `guest`, app-1 and app-2 as small layers upon it, and one whose init never says that it is ready. */
const MAKE_IMAGES = `
  stacko import-image ${GUEST}; rm ${GUEST}
  for app in app-1 app-2 hangs; do
    mkdir -p "/srv/$app/srv"; cd "/srv/$app"
    echo "$app" >srv/version
    if [ "$app" = hangs ]; then
      mkdir -p usr/lib/systemd
      printf '#!/bin/sh\\nexec sleep 1000\\n' >usr/lib/systemd/systemd; chmod 755 usr/lib/systemd/systemd
    fi
    cd /srv; tar -cf "$app.tar" -C "$app" .; stacko import-image "$app.tar" "$app" guest
  done
`;

const CONF = `BASE=/var/lib/overlay-boot/boxes/web
STACK=web
ENGINE=nspawn
CABLES=br0=
SHARE=/srv/shared
MEMORY_MAX=400M
CPU_MAX=100
PIDS_MAX=200
`;

/** Shell: what a box that runs has on the host. */
const BOX_TRACES = `
  ls /run/systemd/transient /var/lib/machines; machinectl --no-legend; ls /sys/class/net
  findmnt -rno TARGET | grep -E 'machines/|unix-export/' || true
`;

describe('boxctl with ENGINE=nspawn on a Debian machine with systemd', function () {
  this.timeout(MACHINE_TEST_TIMEOUT_MS);
  const machine = useMachine('systemd', usePackages('one'));
  const sh = (script: string): Promise<string> => machine().sh(script);
  /** Runs a script in a login shell of the box, through a pipe. */
  const login = (script: string): Promise<string> => sh(`echo '${script}' | boxctl login web`);
  /** The same without a command of ours, which would take the emulator seconds. */
  const inside = (script: string): Promise<string> =>
    sh(`nsenter -m -u -i -n -p -t "$(machinectl show web --property=Leader --value)" sh -euc '${script}'`);

  it('makes a box that is a container, with its cable, shares and limits', async () => {
    await machine().boot();
    await sh('dpkg -i /srv/files/overlay-boot_*.deb');
    await sh(MAKE_IMAGES);
    await sh(`
      ip link add br0 type bridge; ip link set br0 up
      mkdir -p /etc/overlay-boot/boxes /var/lib/overlay-boot/boxes/web /srv/shared; echo shared >/srv/shared/file
      cat >/etc/overlay-boot/boxes/web.conf <<'END'\n${CONF}END`);
    expect(await sh('boxctl cutover-instance web app-1')).to.equal('web: app-1, running');
    expect(await sh('machinectl show web --property=State --property=Unit')).to.equal(
      'Unit=box@web.service\nState=running',
    );
    expect(
      await login('cat /srv/version /srv/shared/file /proc/1/comm; ls /sys/class/net; hostname'),
    ).to.equal('app-1\nshared\nsystemd\nhost0\nlo\nweb');
    expect(await sh('basename "$(readlink /sys/class/net/vb-web/master)"')).to.equal('br0');
    const limits = ['MemoryMax', 'CPUQuotaPerSecUSec', 'TasksMax'];
    const shown = await sh(`systemctl show box@web.service ${limits.map((name) => `-p ${name}`).join(' ')}`);
    expect(shown.split('\n').sort()).to.deep.equal([
      'CPUQuotaPerSecUSec=1s',
      `MemoryMax=${400 * 2 ** 20}`,
      'TasksMax=200',
    ]);
  });

  it('shows it, and gives the status of its shell', async () => {
    expect(await sh('boxctl list')).to.match(/^web +running +app-1 +- +- +\d+$/m);
    const [row] = JSON.parse(`[${await sh('boxctl status web --json')}]`);
    expect(row).to.deep.include({ state: 'running', engine: 'nspawn', image: 'app-1' });
    expect(row.processes).to.be.greaterThan(2);
    expect((await machine().run("echo 'exit 7' | boxctl login web")).status).to.equal(7);
    expect(await machine().run('stacko umount-stackpoint web')).to.satisfy(
      ({ status, output }: { status: number; output: string }) =>
        status === 1 && /is busy: in use by systemd-nspawn/.test(output),
    );
  });

  it('cuts it over, and back by itself when the new one does not become ready', async () => {
    await inside('echo kept >/srv/kept');
    expect(await sh('boxctl cutover-instance web app-2')).to.equal('web: app-2, running');
    expect(await inside('cat /srv/version; test ! -e /srv/kept')).to.equal('app-2');
    const { status, output } = await machine().run('boxctl cutover-instance web hangs --timeout 10');
    expect([status, output]).to.deep.equal([
      1,
      'boxctl: web: not ready within 10 s (journalctl --unit=box@web.service): it runs on app-2 again\n',
    ]);
    expect(await inside('cat /srv/version')).to.equal('app-2');
    expect(await sh('ls /var/lib/wafers')).to.not.include('hangs@web');
    const interrupted = await machine().run(`
      boxctl cutover-instance web hangs & pid=$!
      until systemctl is-active box@web | grep -qx activating; do sleep 0.5; done
      kill $pid; wait $pid`);
    expect([interrupted.status, interrupted.output]).to.deep.equal([
      1,
      'boxctl: web: interrupted by SIGTERM (journalctl --unit=box@web.service): it runs on app-2 again\n',
    ]);
    expect(await sh('boxctl fallback-instance web')).to.equal('web: app-1, running');
    expect(await inside('cat /srv/version /srv/kept')).to.equal('app-1\nkept');
  });

  it('stops it, with nothing left', async () => {
    expect(await sh('boxctl poweroff web')).to.equal('web: stopped');
    expect(await sh(BOX_TRACES)).to.not.include('web');
    expect(await sh('boxctl list web')).to.match(/^web +stopped/m);
    expect(await sh('systemctl --failed --no-legend --plain')).to.equal('');
  });

  it('is configured without being booted, and reset', async () => {
    const { status, output } = await machine().run(
      "echo 'cat /srv/kept; echo more >>/srv/kept; ls /proc | grep -c ^1$; exit 4' | boxctl configure web",
    );
    expect([status, output]).to.deep.equal([4, 'kept\n1\n']);
    expect(await sh('cat /var/lib/wafers/app-1@web/data/srv/kept; ls /var/lib/machines')).to.equal(
      'kept\nmore',
    );
    expect(await sh('boxctl reset web app-1')).to.equal('web: its instance of app-1 reset');
    expect(await sh('ls /var/lib/wafers/app-1@web/data')).to.equal('');
  });

  it('starts with the host, reboots and powers itself off, and is ended by terminate', async () => {
    await sh(`
      boxctl enable web >/dev/null
      printf 'auto br0\\niface br0 inet manual\\n\\tpre-up ip link add br0 type bridge\\n' >/etc/network/interfaces.d/br0`);
    await machine().reboot();
    await machine().eventually('it runs', 'systemctl is-active box@web');
    expect(await sh('boxctl list web')).to.match(/^web +running +app-1 /m);
    expect(await inside('cat /srv/version')).to.equal('app-1');
    // After which systemd reads its units again: those of boxes have to be as they were.
    expect(await sh('boxctl disable web')).to.equal('web: disabled');
    await machine().run("echo 'systemctl reboot' | boxctl login web"); // its status is that of a shell that was ended
    await machine().eventually(
      'it has rebooted',
      'systemctl show box@web --property=NRestarts --value | grep -x 1; systemctl is-active box@web',
    );
    const { output } = await machine().run("echo 'cat /srv/version; systemctl poweroff' | boxctl login web");
    expect(output).to.match(/^app-1\b/);
    await machine().eventually('it is off', '! systemctl is-active box@web');
    expect(await sh(BOX_TRACES)).to.not.include('web');
    expect(await sh('boxctl start web')).to.equal('web: running');
    await inside('echo here >/srv/made');
    expect(await sh('boxctl terminate web')).to.equal('web: terminated');
    expect(await sh(BOX_TRACES)).to.not.include('web');
    expect(await sh('systemctl --failed --no-legend --plain')).to.equal('');
  });

  it('is stopped when the package is removed, whose commands would start it again', async () => {
    await sh('boxctl start web; DEBIAN_FRONTEND=noninteractive apt-get remove -q -y overlay-boot');
    expect(await sh(BOX_TRACES)).to.not.include('web');
    expect(await sh('cat /var/lib/wafers/app-1@web/data/srv/made'), 'what was written in it').to.equal(
      'here',
    );
  });
});
