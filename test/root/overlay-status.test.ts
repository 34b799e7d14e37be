import { expect } from 'chai';
import { spawn as spawnTerminal } from 'node-pty';
import { eventually, useSandbox } from '../helpers/namespaces.js';

const KEYS = [
  'base',
  'cables',
  'cgroup',
  'conf',
  'cpuPercent',
  'failedServices',
  'live',
  'log',
  'logTail',
  'lower',
  'memoryBytes',
  'mounts',
  'name',
  'netns',
  'pid',
  'processes',
  'services',
  'shares',
  'state',
  'step',
  'upper',
  'uptimeSeconds',
];

describe('overlay-status', function () {
  this.timeout(60_000);
  const sandbox = useSandbox();
  const status = (...args: readonly string[]) => sandbox().run(['overlay-status', ...args]);
  const asNobody = (...args: readonly string[]) =>
    sandbox().run(['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', 'overlay-status', ...args]);
  const json = async (...args: readonly string[]): Promise<Record<string, unknown>[]> =>
    JSON.parse((await status('--json', ...args)).stdout) as Record<string, unknown>[];

  describe('with nothing to show', () => {
    it('says so, and prints an empty array as JSON', async () => {
      const { code, stdout } = await status();
      expect({ code, stdout }).to.deep.equal({
        code: 0,
        stdout: 'no subhost runs, and none is listed in /etc/subhosts.conf\n',
      });
      expect((await status('--json')).stdout).to.equal('[]\n');
    });
  });

  describe('with subhosts', () => {
    before(async () => {
      await sandbox().sh(`
        for name in web bad; do
          mkdir -p /opt/subhost/$name/root /opt/subhost/$name/work /opt/subhost/$name/live
        done
        printf '%s\\n' BASE=. START=none CABLES==02:00:00:00:00:07 SHARE=/srv/t/s >/opt/subhost/web/web.conf
        mkdir s
        mkdir -p /opt/subhost/bad/root/etc
        printf '#!/bin/sh\\nexit 1\\n' >/opt/subhost/bad/root/etc/start
        chmod 755 /opt/subhost/bad/root/etc/start
        printf '%s\\n' BASE=. NAME=worse START=/etc/start >/opt/subhost/bad/bad.conf
        printf '%s\\n' BASE=. NAME=idle >/opt/subhost/idle.conf
        printf '%s\\n' /opt/subhost/web/web.conf /opt/subhost/idle.conf >/etc/subhosts.conf
        overlay-boot /opt/subhost/web/web.conf /opt/subhost/bad/bad.conf || true
        ip netns exec web ip address add 192.0.2.7/24 dev eth0
        mkdir -p /run/overlay-boot/dead /run/overlay-boot/broken
        sed -e 's/"web"/"dead"/' -e 's/"bootId": "[^"]*"/"bootId": "of another boot"/' \\
          /run/overlay-boot/web/state.json >/run/overlay-boot/dead/state.json
        echo '{' >/run/overlay-boot/broken/state.json
        printf 'line %s\\n' 1 2 3 4 5 6 7 8 9 10 11 >/var/log/overlay-boot/web.log
        printf 'bell \\007 and \\033[31mred\\n' >>/var/log/overlay-boot/web.log`);
    });

    it('tells running, degraded, failed and stopped subhosts apart', async () => {
      const { code, stdout, stderr } = await status();
      const states = stdout.split('\n').map((line) => line.split(/ +/).slice(0, 2).join(' '));
      expect(states).to.deep.equal([
        'NAME STATE',
        'broken failed',
        'dead failed',
        'web running',
        'worse degraded',
        'idle stopped',
        '',
      ]);
      expect(code).to.equal(0);
      expect(stderr).to.equal(
        'overlay-status: /run/overlay-boot/broken/state.json is no record of a subhost: overlay-stop broken clears it\n',
      );
    });

    it('shows pid, uptime, cpu, memory, processes and the addresses inside in one line', async () => {
      const { stdout } = await status();
      const line = stdout.split('\n').find((text) => text.startsWith('web '));
      expect(line).to.match(/^web +running +\d+ +[\dmins ]+s +\d+\.\d% +\d+\.\dK +2 +web0 192\.0\.2\.7\/24$/);
    });

    it('has no colours in a pipe', async () => expect((await status()).stdout).to.not.include('\u001b'));

    it('prints JSON with the same keys for every subhost, null for what there is not', async () => {
      const all = await json();
      for (const one of all) expect(Object.keys(one).sort()).to.deep.equal(KEYS);
      const idle = all.find(({ name }) => name === 'idle');
      expect(idle).to.deep.include({
        state: 'stopped',
        conf: '/opt/subhost/idle.conf',
        pid: null,
        memoryBytes: null,
        cables: [],
        shares: null,
      });
      const [web] = await json('web');
      expect(web).to.deep.include({
        name: 'web',
        state: 'running',
        processes: 2,
        shares: [{ host: '/srv/t/s', inside: '/srv/t/s', readOnly: false }],
        cables: [
          {
            kind: 'veth',
            host: 'web0',
            inside: 'eth0',
            bridge: null,
            mac: '02:00:00:00:00:07',
            vlanId: null,
            addresses: ['192.0.2.7/24'],
          },
        ],
      });
    });

    it("measures what the subhost's processes take", async () => {
      await sandbox().sh("overlay-go web sh -c 'exec sleep 300 >/dev/null 2>&1 &'");
      await eventually('three processes', async () => (await json('web'))[0]?.processes === 3);
      const [web] = await json('web');
      expect(web?.memoryBytes).to.be.greaterThan(100 * 1024);
      expect(web?.uptimeSeconds).to.be.greaterThan(0).and.lessThan(300);
    });

    it('shows one subhost in detail: conf, mounts, the last ten lines of its log, control characters escaped', async () => {
      const { stdout } = await status('web');
      expect(stdout).to.match(/^web\n {2}State +running\n {2}Conf +\/opt\/subhost\/web\/web\.conf\n/);
      expect(stdout).to.match(/^ {2}Cable +web0 - eth0 02:00:00:00:00:07 192\.0\.2\.7\/24$/m);
      expect(stdout).to.match(/^ {2}\/ +overlay /m);
      const tail = stdout.slice(stdout.indexOf('\nLog\n')).trimEnd().split('\n').slice(2);
      expect(tail).to.have.length(10);
      expect(tail[0]).to.equal('  line 3');
      expect(tail[9]).to.equal('  bell \\x07 and \\x1b[31mred');
    });

    it('names the services that failed', async () =>
      expect((await status('worse')).stdout).to.match(/^ {2}Failed +\/etc\/start$/m));

    it('shows several names as a table', async () =>
      expect(
        (await status('idle', 'web')).stdout.split('\n').map((line) => line.split(' ')[0]),
      ).to.deep.equal(['NAME', 'idle', 'web', '']));

    it('fails for a name that nobody knows, and names those there are', async () => {
      await sandbox().sh('mv /run/overlay-boot/broken broken');
      const { code, stdout, stderr } = await status('web', 'nope');
      await sandbox().sh('mv broken /run/overlay-boot/broken');
      expect({ code, stdout, stderr }).to.deep.equal({
        code: 1,
        stdout: '',
        stderr: 'overlay-status: "nope": no such subhost: known are dead, web, worse, idle\n',
      });
    });

    it("has a lock that is nobody else's to take", async () => {
      const { code } = await sandbox().run([
        'setpriv',
        '--reuid=65534',
        '--regid=65534',
        '--clear-groups',
        'flock',
        '-n',
        '/run/overlay-boot/bad',
        'true',
      ]);
      expect(code).to.equal(66); // EX_NOINPUT of sysexits.h: it cannot even be opened
    });

    it('works for anyone, without what only root can read', async () => {
      const { code, stdout } = await asNobody('--json', 'web');
      expect(code).to.equal(0);
      const [web] = JSON.parse(stdout) as { cables: { addresses: unknown }[] }[];
      expect(web).to.deep.include({ state: 'running', processes: 3, logTail: null });
      expect(web?.cables[0]?.addresses).to.equal(null);
    });

    it('keeps printing a new table in a pipe with --watch, and ends cleanly on SIGINT', async () => {
      const running = sandbox().spawn(['overlay-status', '--watch', 'web', 'idle']);
      await eventually('two tables', () => running.stdout.split('NAME ').length > 2);
      running.kill('SIGINT');
      const { code, stdout, stderr } = await running.completed(5_000);
      expect({ code, notes: stderr.split('\n').length - 1 }).to.deep.equal({ code: 0, notes: 1 }); // of `broken`, once
      expect(stdout).to.not.include('\u001b');
    });

    it('refreshes in place on a terminal, in colour, and ends on ^C', async () => {
      const [file = '', ...args] = sandbox().enterArgv(['overlay-status', '--watch', 'web', 'idle'], {
        env: { TERM: 'xterm' },
      });
      const terminal = spawnTerminal(file, args, { cols: 120, rows: 30 });
      let output = '';
      terminal.onData((text) => {
        output += text;
      });
      const ended = new Promise<number>((done) => terminal.onExit(({ exitCode }) => done(exitCode)));
      await eventually('two rounds', () => output.split('\u001b[H').length > 2);
      terminal.write('\u0003');
      expect(await ended).to.equal(0);
      expect(output).to.include('\u001b[32mrunning\u001b[0m');
    });
  });
});
