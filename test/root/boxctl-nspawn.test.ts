/** Boxes with ENGINE=nspawn where systemd is not the host's init: what is refused. test/vm runs them for real. */
import { expect } from 'chai';
import { BOX_ENVIRONMENT, makeArchive, boxctl as run } from '../helpers/boxes.js';
import { useSandbox } from '../helpers/namespaces.js';

const CONF = '/etc/overlay-boot/boxes/web.conf';
const OWN = 'BASE=/var/lib/overlay-boot/boxes/web\nSTACK=web\n';

describe('boxctl with ENGINE=nspawn', () => {
  const sandbox = useSandbox();
  const sh = (script: string): Promise<string> => sandbox().sh(script, { env: BOX_ENVIRONMENT });
  const boxctl = async (...args: readonly string[]) => {
    const { code, stdout, stderr } = await run(sandbox(), ...args);
    return { code, stdout, stderr };
  };
  const conf = (lines: string): Promise<void> => sandbox().writeFile(CONF, `${OWN}${lines}\n`);

  before(async function () {
    this.timeout(60_000);
    await boxctl('stage-image', await makeArchive(sandbox(), 'web-1'));
    await sh('mkdir -p /var/lib/overlay-boot/boxes/web');
    await conf('START=none');
    expect((await boxctl('cutover-instance', 'web', 'web-1')).code).to.equal(0);
    await boxctl('poweroff', 'web');
  });

  it('says that it needs systemd as the init of the host, and neither starts nor enables anything', async () => {
    await conf('ENGINE=nspawn');
    for (const verb of ['start', 'restart', 'configure', 'enable'])
      expect(await boxctl(verb, 'web'), verb).to.deep.equal({
        code: 2,
        stdout: '',
        stderr: `boxctl: ${CONF}: ENGINE=nspawn needs systemd as the host's init: write ENGINE=subhost\n`,
      });
    expect(await boxctl('poweroff', 'web')).to.include({ code: 0, stdout: 'web: not running\n' });
    expect(await sh('ls /srv/t/m 2>/dev/null || true')).to.equal('');
  });

  const refused: [line: string, complaint: string][] = [
    ['ENGINE=lxc', ':3: ENGINE: "lxc" is no engine: write subhost or nspawn'],
    [
      'START=none',
      ":4: START is not for ENGINE=nspawn: leave it out: the box's own systemd starts its services",
    ],
    ['INIT=/x', ':4: INIT is not for ENGINE=nspawn: leave it out: it starts the systemd of the box'],
    ['PREMOUNT=/x', ':4: PREMOUNT is not for ENGINE=nspawn: leave it out'],
    ['POSTMOUNT=+ /x', ':4: POSTMOUNT is not for ENGINE=nspawn: leave it out'],
    ['LIVE=live', ':4: LIVE is not for ENGINE=nspawn: leave it out: its root is mounted where its point is'],
    ['RAM_SIZE=1M', ':4: RAM_SIZE is not for ENGINE=nspawn: leave it out: it makes /run itself'],
    [
      'LOG=x',
      ':4: LOG is not for ENGINE=nspawn: leave it out: "journalctl --unit=box@web.service" shows what the box prints',
    ],
    [
      'CAPS=+SYS_TIME',
      ':4: CAPS is not for ENGINE=nspawn: write Capability= and DropCapability= in /etc/systemd/nspawn/web.nspawn',
    ],
    ['NAME=!touch /srv/t/ran; echo web', ':4: NAME: a command is not for ENGINE=nspawn: write the value'],
    ['CPU_MAX=!echo 5', ':4: CPU_MAX: a command is not for ENGINE=nspawn: write the value'],
    [
      'CABLES== br0=',
      ':4: CABLES: more than one cable is not for ENGINE=nspawn: write one, and others in its .nspawn file (VirtualEthernetExtra=)',
    ],
    [
      'CABLES=br0=02:00:00:00:00:01',
      ':4: CABLES: a MAC address is not for ENGINE=nspawn: leave it out: that of a container is made of its name, and stays',
    ],
  ];
  for (const [line, complaint] of refused)
    it(`refuses ${line}`, async () => {
      await conf(line.startsWith('ENGINE') ? line : `ENGINE=nspawn\n${line}`);
      expect(await boxctl('start', 'web')).to.deep.equal({
        code: 2,
        stdout: '',
        stderr: `boxctl: ${CONF}${complaint}\n`,
      });
    });

  it('tells all mistakes of a conf at once', async () => {
    await conf('ENGINE=nspawn\nLOG=x\nCAPS=all');
    const { stderr } = await boxctl('start', 'web');
    expect(stderr.match(/is not for ENGINE=nspawn/g)).to.have.lengthOf(2);
  });

  it('runs no command of BASE', async () => {
    const lines = 'BASE=!touch /srv/t/ran; echo /var/lib/overlay-boot/boxes/web\nSTACK=web\nENGINE=nspawn\n';
    await sandbox().writeFile(CONF, lines);
    expect(await boxctl('start', 'web')).to.deep.equal({
      code: 2,
      stdout: '',
      stderr: `boxctl: ${CONF}:1: BASE: a command is not for ENGINE=nspawn: write the value\n`,
    });
    expect(await sh('ls /srv/t')).not.to.match(/^ran$/m);
  });

  it('shows the engine of a box', async () => {
    await conf('ENGINE=nspawn');
    expect((await boxctl('status', 'web')).stdout).to.match(/^ {2}Engine +nspawn$/m);
    expect(JSON.parse((await boxctl('list', '--all', '--json')).stdout)).to.deep.include.members([
      {
        name: 'web',
        state: 'stopped',
        pid: null,
        engine: 'nspawn',
        image: 'web-1',
        instance: 'web-1@web',
        generation: 1,
        fallback: null,
        runsOn: null,
        enabled: false,
      },
    ]);
  });

  it('stops what runs as a subhost still', async () => {
    await conf('START=none');
    await boxctl('start', 'web');
    await conf('ENGINE=nspawn');
    expect(JSON.parse((await boxctl('list', '--json')).stdout)[0]).to.include({
      state: 'running',
      engine: 'subhost',
    });
    expect((await boxctl('restart', 'web')).stderr, 'before it is stopped').to.include('needs systemd');
    expect(await boxctl('poweroff', 'web')).to.include({ code: 0, stdout: 'web: stopped\n' });
  });

  describe('where systemd has a unit of the box', () => {
    const UNIT = '/run/systemd/transient/box@web.service';
    /** In the place of the program. */
    const systemctl = (script: string): Promise<void> =>
      sandbox().writeFile('/usr/local/sbin/systemctl', `#!/bin/sh\n${script}\n`, 0o755);

    beforeEach(async () => {
      await conf('ENGINE=nspawn');
      await sh(`mkdir -p /run/systemd/transient; touch ${UNIT}; mount -t tmpfs tmpfs /usr/local/sbin`);
    });

    afterEach(() => sh('rm -r /run/systemd; umount /usr/local/sbin'));

    it('lists the others when that cannot be asked for, and says so', async () => {
      await systemctl('echo no bus >&2; exit 1');
      const { code, stdout, stderr } = await boxctl('list', '--all');
      expect([code, stdout.includes('web-1')]).to.deep.equal([0, true]);
      expect(stderr).to.match(/^boxctl: .*systemctl show .*box@web.service: exit status 1: no bus\n$/);
    });

    for (const verb of ['poweroff', 'terminate'])
      it(`stops it and then complains of a subhost that has its name: ${verb}`, async () => {
        await systemctl(`[ "$1" != stop ] || rm ${UNIT}`);
        const other = '/srv/t/other/web.conf';
        await sh('mkdir -p /srv/t/other');
        await sandbox().writeFile(other, 'BASE=.\nSTACK=web\nSTART=none\n');
        await sh(`overlay-boot --mkdir ${other}`);
        try {
          expect(await boxctl(verb, 'web')).to.deep.equal({
            code: 1,
            stdout: '',
            stderr: `boxctl: web runs, but is no box: it was booted from ${other}: overlay-stop web, or another name for the box\n`,
          });
          expect(await sh(`ls ${UNIT} 2>/dev/null || echo gone`)).to.equal('gone\n');
        } finally {
          await sh('overlay-stop web');
        }
      });
  });

  it('is refused by overlay-boot, and is no subhost to overlay-status', async () => {
    await conf('ENGINE=nspawn');
    for (const argv of [['--check'], []]) {
      const { code, stderr } = await sandbox().run(['overlay-boot', ...argv, CONF], { env: BOX_ENVIRONMENT });
      expect([code, stderr], argv.join()).to.deep.equal([
        2,
        `overlay-boot: ${CONF}: ENGINE: it is a box that is no subhost: boxctl start web\n`,
      ]);
    }
    await conf('START=none'); // what this host can run
    expect(await boxctl('enable', 'web')).to.include({ code: 0, stdout: 'web: enabled\n' });
    await conf('ENGINE=nspawn');
    expect(await sh('overlay-status')).to.include('no subhost runs');
    expect(await boxctl('disable', 'web')).to.include({ code: 0, stdout: 'web: disabled\n' });
  });
});
