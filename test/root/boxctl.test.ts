/** boxctl with real boxes: its document's walk-through, cutovers that fail, and everything else that it does. */
import { existsSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { expect } from 'chai';
import { expectAnswers } from '../helpers/answers.js';
import {
  ADDRESS,
  AskingClient,
  BOX_ENVIRONMENT,
  BOX_WAFERS,
  makeArchive,
  makeBridge,
  boxctl as run,
  type Seen,
  writeBoxConf,
} from '../helpers/boxes.js';
import { type HostSnapshot, snapshot } from '../helpers/host-snapshot.js';
import { useSandbox, eventually as within } from '../helpers/namespaces.js';
import { Subhosts } from '../helpers/subhosts.js';

/** A machine may have more to do than this. */
const eventually = <T>(what: string, probe: () => T | Promise<T>) => within(what, probe, 30_000);
const CONF = '/etc/overlay-boot/boxes/system1.conf';

describe('boxctl', () => {
  const sandbox = useSandbox();
  const subhosts = new Subhosts(sandbox);
  let untouched: HostSnapshot | undefined;
  const sh = (script: string): Promise<string> => sandbox().sh(script, { env: BOX_ENVIRONMENT });
  const boxctl = async (...args: readonly string[]) => {
    const { code, stdout, stderr } = await run(sandbox(), ...args);
    return { code, stdout, stderr };
  };
  const printed = (...lines: readonly string[]) => ({
    code: 0,
    stdout: lines.map((line) => `${line}\n`).join(''),
    stderr: '',
  });
  const refused = (line: string, code = 1) => ({ code, stdout: '', stderr: `boxctl: ${line}\n` });
  const version = async (): Promise<string> => (await sh(`wget -qO- http://${ADDRESS}/version`)).trim();
  /** Everything of the store but times, and what the kernel has in work directories. */
  const store = (): Promise<string> =>
    sh(
      'cd "$WAFERS"; find . -path "./*work/*" -o -path ./points -o -printf "%y %p %l %m %U\\n" | sort; find *@* -type f | sort | xargs -r grep -H ""',
    );
  /** A box on a bridge, running on foo-0.1. */
  const up = async (more = ''): Promise<void> => {
    await writeBoxConf(sandbox(), 'system1', more);
    expect(await boxctl('cutover-instance', 'system1', 'foo-0.1')).to.deep.equal(
      printed('system1: foo-0.1, running'),
    );
  };

  before(async function () {
    this.timeout(60_000);
    const archives = [
      await makeArchive(sandbox(), 'foo-0.1'),
      await makeArchive(sandbox(), 'foo-0.2'),
      await makeArchive(sandbox(), 'hangs', 'echo started >/begun; sleep 1000'),
      await makeArchive(sandbox(), 'fails', 'exit 3'),
    ];
    await sh('mkdir -p /srv/t/data/only; tar -C /srv/t/data -cf /srv/t/data.tar .');
    for (const archive of [...archives, '/srv/t/data.tar'])
      expect((await boxctl('stage-image', archive)).code).to.equal(0);
    await sh(`cp -a ${BOX_WAFERS} /srv/t/saved`);
    await makeBridge(sandbox());
    await up();
    await boxctl('terminate', 'system1');
    await restore();
    untouched = await snapshot(sandbox());
  });

  const restore = async (): Promise<void> => {
    await sh(`rm -rf ${BOX_WAFERS} /etc/overlay-boot/boxes /var/lib/overlay-boot /etc/subhosts.conf
      cp -a /srv/t/saved ${BOX_WAFERS}`);
  };

  afterEach(async () => {
    if (untouched === undefined) return;
    await sh('overlay-stop --all --kill');
    await restore();
    await eventually('the host is as before', async () => {
      expect(await snapshot(sandbox())).to.deep.equal(untouched);
      return true;
    });
  });

  it('does what its document walks through', async () => {
    await sh(`rm -rf ${BOX_WAFERS}`);
    expect((await boxctl('stage-image', '/srv/t/foo-0.1.tar.gz')).stdout).to.match(
      /^image foo-0.1 staged: \d+ members/,
    );
    expect(await boxctl('cutover-instance', 'system1', 'foo-0.1')).to.deep.equal(
      printed('system1: foo-0.1, running'),
    );
    expect((await boxctl('list')).stdout).to.match(/^system1 +running +foo-0\.1 +- +- +\d+$/m);
    await subhosts.inside('system1', 'echo kept >/var/kept');
    expect(await boxctl('poweroff', 'system1')).to.deep.equal(printed('system1: stopped'));
    expect(await boxctl('start', 'system1')).to.deep.equal(printed('system1: running'));
    await boxctl('stage-image', '/srv/t/foo-0.2.tar.gz');
    expect(await boxctl('cutover-instance', 'system1', 'foo-0.2')).to.deep.equal(
      printed('system1: foo-0.2, running'),
    );
    expect(await subhosts.inside('system1', 'cat /srv/version; ls /var')).to.equal('foo-0.2\n');
    await subhosts.inside('system1', 'echo new >/var/new');
    expect(await boxctl('fallback-instance', 'system1')).to.deep.equal(printed('system1: foo-0.1, running'));
    expect(await subhosts.inside('system1', 'cat /srv/version /var/*')).to.equal('foo-0.1\nkept\n');
    expect(await boxctl('cutover-instance', 'system1', 'foo-0.2')).to.deep.equal(
      printed('system1: foo-0.2, running'),
    );
    expect(await subhosts.inside('system1', 'cat /var/*')).to.equal('new\n');
  });

  describe('cutover-instance', () => {
    it('has a client that asks all the time answered by the old version, then by the new one', async () => {
      await up();
      const client = new AskingClient(sandbox());
      let seen: Seen | undefined;
      try {
        await eventually('it is answered', () => client.answered);
        expect(await boxctl('cutover-instance', 'system1', 'foo-0.2')).to.deep.equal(
          printed('system1: foo-0.2, running'),
        );
        await eventually('the new one answers', () => client.last === 'foo-0.2');
        expect(await boxctl('fallback-instance', 'system1')).to.deep.equal(
          printed('system1: foo-0.1, running'),
        );
        await eventually('the old one answers', () => client.last === 'foo-0.1');
      } finally {
        seen = await client.end();
      }
      expect(seen.answers).to.deep.equal(['foo-0.1', 'foo-0.2', 'foo-0.1']);
      expect(seen.failed).to.be.lessThan(seen.asked);
    });

    it('is taken back when the new one does not become ready: the old one runs again, and nothing is left', async () => {
      await up();
      await subhosts.inside('system1', 'echo kept >/var/kept');
      const before = await store();
      const { code, stdout, stderr } = await boxctl('cutover-instance', 'system1', 'hangs', '--timeout', '1');
      expect([code, stdout]).to.deep.equal([1, '']);
      expect(stderr).to.match(
        /^boxctl: system1: not ready within 1 s: it was at: [a-z]+ \(log: \/var\/log\/overlay-boot\/system1\.log\.1\): it runs on foo-0\.1 again\n$/,
      );
      expect(await version()).to.equal('foo-0.1');
      expect(await subhosts.inside('system1', 'cat /var/kept')).to.equal('kept\n');
      expect(await store()).to.equal(before);
    });

    it('is taken back when whoever called it does not want to wait', async () => {
      await up();
      const before = await store();
      const cutover = sandbox().spawn(['boxctl', 'cutover-instance', 'system1', 'hangs'], {
        env: BOX_ENVIRONMENT,
      });
      const begun = subhosts.outside(`${BOX_WAFERS}/hangs@system1/data/begun`);
      await eventually('the new one starts', () => existsSync(begun));
      cutover.kill('SIGTERM');
      const { code, stderr } = await cutover.completed();
      expect([code, stderr]).to.deep.equal([
        1,
        'boxctl: system1: interrupted by SIGTERM (log: /var/log/overlay-boot/system1.log.1): it runs on foo-0.1 again\n',
      ]);
      expect(await version()).to.equal('foo-0.1');
      expect(await store()).to.equal(before);
    });

    it('finds out while the old one runs what would keep the new one from starting', async () => {
      await up();
      const pid1 = subhosts.pid1('system1');
      const before = await store();
      for (const [image, line, code] of [
        ['data', 'image "data" has no /bin/sh: an image of a box is a whole root file system', 1],
        ['gone', 'no image "gone": stacko list-images shows those that there are', 2],
        [
          'a/b',
          '"a/b" is no name of a wafer: write one path component of up to 255 bytes, without / and :',
          2,
        ],
      ] as const)
        expect(await boxctl('cutover-instance', 'system1', image)).to.deep.equal(refused(line, code));
      await sh(`echo SHARE=/nowhere >>${CONF}; echo RAM_SIZE=x >>${CONF}`);
      expect((await boxctl('cutover-instance', 'system1', 'foo-0.2')).stderr).to.equal(
        `boxctl: ${CONF}:6: RAM_SIZE: "x" is no size: write a positive number of bytes, or with K, M or G: 50M\n`,
      );
      await sh(`sed -i /RAM/d ${CONF}`);
      expect((await boxctl('restart', 'system1')).stderr).to.include('SHARE: /nowhere: there is no such');
      await sh(`sed -i "/SHARE/d; s/br0/br7/" ${CONF}`);
      expect((await boxctl('cutover-instance', 'system1', 'foo-0.2')).stderr).to.include(
        'there is no bridge br7',
      );
      expect(subhosts.pid1('system1')).to.equal(pid1);
      expect(await store()).to.equal(before);
    });

    it('only switches a box that does not run', async () => {
      await up();
      await boxctl('poweroff', 'system1');
      expect(await boxctl('cutover-instance', 'system1', 'foo-0.2')).to.deep.equal(
        printed('system1: foo-0.2'),
      );
      expect(subhosts.record('system1')).to.equal(undefined);
      expect(await boxctl('fallback-instance', 'system1')).to.deep.equal(printed('system1: foo-0.1'));
      expect(await boxctl('start', 'system1')).to.deep.equal(printed('system1: running'));
      expect(await version()).to.equal('foo-0.1');
    });

    it('leaves alone what is so already, and makes a box that was cut over by stacko what it is to be', async () => {
      await up();
      const pid1 = subhosts.pid1('system1');
      expect(await boxctl('cutover-instance', 'system1', 'foo-0.1')).to.deep.equal(
        printed('system1: already foo-0.1'),
      );
      expect(subhosts.pid1('system1')).to.equal(pid1);
      await sh('stacko cutover-stackpoint system1 foo-0.2');
      expect((await boxctl('list')).stdout).to.include(' foo-0.1 (next foo-0.2) ');
      expect(await boxctl('cutover-instance', 'system1', 'foo-0.2')).to.deep.equal(
        printed('system1: foo-0.2, running'),
      );
      expect(await version()).to.equal('foo-0.2');
    });

    it('tells of a service that fails, which is no failure to become ready', async () => {
      await up();
      expect(await boxctl('cutover-instance', 'system1', 'fails')).to.deep.equal(
        printed('system1: fails, running, degraded: /startup failed to start'),
      );
    });

    it('of a box that there is not makes nothing when it does not start', async () => {
      const before = await store();
      const { code, stderr } = await boxctl('cutover-instance', 'system1', 'hangs', '--timeout', '1');
      expect(code).to.equal(1);
      expect(stderr).to.match(
        /^boxctl: system1: not ready within 1 s: it was at: [a-z]+ \(log: \/var\/log\/overlay-boot\/system1\.log\)\n$/,
      );
      expect(await store()).to.equal(before);
      expect(await sh('find /etc/overlay-boot/boxes /var/lib/overlay-boot/boxes -mindepth 1')).to.equal('');
      expect((await boxctl('start', 'system1')).stderr).to.equal(
        'boxctl: no box "system1": boxctl cutover-instance system1 IMAGE makes one; boxctl list --all shows those that there are\n',
      );
    });

    it('of a box that is not what the caller thinks names what it is', async () => {
      await subhosts.make('system1', { LOWER: '/' });
      await subhosts.boot(['/opt/subhost/system1/system1.conf']);
      const line =
        'system1 runs, but is no box: it was booted from /opt/subhost/system1/system1.conf: overlay-stop system1, or another name for the box';
      expect(await boxctl('cutover-instance', 'system1', 'foo-0.1')).to.deep.equal(refused(line));
      await sh('stacko new-stackpoint system1 foo-0.1');
      for (const verb of ['start', 'poweroff', 'terminate', 'restart', 'configure'])
        expect(await boxctl(verb, 'system1'), verb).to.deep.equal(refused(line));
      expect((await boxctl('login', 'system1')).stderr).to.equal(
        'boxctl: box system1 does not run: boxctl start system1 starts it\n',
      );
    });
  });

  it('falls back by itself only to what there is, and says so where there is nothing', async () => {
    await up();
    expect(await boxctl('fallback-instance', 'system1')).to.deep.equal(
      refused('box "system1" has nothing to fall back to: foo-0.1 replaced no other image'),
    );
    await boxctl('cutover-instance', 'system1', 'foo-0.2');
    await sh(
      `printf '#!/bin/sh\\nsleep 1000\\n' >"$WAFERS/foo-0.1@system1/data/startup"; chmod 755 "$WAFERS/foo-0.1@system1/data/startup"`,
    );
    const { code, stderr } = await boxctl('fallback-instance', 'system1', '--timeout', '1');
    expect(code).to.equal(1);
    expect(stderr).to.match(/^boxctl: system1: not ready within 1 s: .*: it runs on foo-0\.2 again\n$/);
    expect(await version()).to.equal('foo-0.2');
  });

  describe('a conf', () => {
    it('is made for a box that has none, and never written again', async () => {
      await boxctl('cutover-instance', 'system1', 'foo-0.1');
      const text = readFileSync(subhosts.outside(CONF), 'utf8');
      expect(text).to.match(/^BASE=\/var\/lib\/overlay-boot\/boxes\/system1$/m);
      expect(text).to.match(/^STACK=system1$/m);
      expect(text).not.to.match(/^START=/m);
      expect(await sh(`stat -c '%a %U' ${CONF} /etc/overlay-boot/boxes`)).to.equal('644 root\n755 root\n');
      expect(await sh('ls -A /etc/overlay-boot/boxes')).to.equal('system1.conf\n');
      await sh(`echo 'LOG=/var/log/mine.log' >>${CONF}`);
      await boxctl('cutover-instance', 'system1', 'foo-0.2');
      await boxctl('restart', 'system1');
      expect(readFileSync(subhosts.outside(CONF), 'utf8')).to.equal(`${text}LOG=/var/log/mine.log\n`);
      expect(await sh('ls /var/log/mine.log')).to.equal('/var/log/mine.log\n');
    });

    it('has to be the one of its box', async () => {
      await up();
      for (const [change, line] of [
        [
          's/^STACK=.*/STACK=other/',
          `${CONF}:2: STACK: the stack of a box is its own current instance: write STACK=system1`,
        ],
        ['/^STACK=/d', `${CONF}: STACK: the stack of a box is its own current instance: write STACK=system1`],
        [
          's/^STACK=.*/NAME=other\\nSTACK=system1/',
          `${CONF}: NAME is other: a box has its own: leave NAME out`,
        ],
      ]) {
        await writeBoxConf(sandbox(), 'system1');
        await sh(
          `stacko list-stackpoints >/dev/null; sed -i '${change}' ${CONF}; stacko new-stackpoint other foo-0.1 || :`,
        );
        expect(await boxctl('restart', 'system1')).to.deep.equal(refused(line ?? '', 2));
      }
      await writeBoxConf(sandbox(), 'system1', 'NAME=\n');
      expect(await boxctl('restart', 'system1'), 'the default').to.deep.equal(printed('system1: running'));
    });

    it('is alone in its place, whenever the command that made it was killed', async () => {
      await writeBoxConf(sandbox(), 'system1');
      // Its process has ended: no pid is as large.
      await sh(`cp -l ${CONF} /etc/overlay-boot/boxes/.system1.conf.99999999`);
      await boxctl('cutover-instance', 'system1', 'foo-0.1');
      expect(await sh('ls -A /etc/overlay-boot/boxes')).to.equal('system1.conf\n');
    });

    it('that was written beforehand is all that has to be: what it names is made', async () => {
      await writeBoxConf(sandbox(), 'system1');
      await sh('rm -r /var/lib/overlay-boot');
      expect(await boxctl('cutover-instance', 'system1', 'foo-0.1')).to.deep.equal(
        printed('system1: foo-0.1, running'),
      );
    });

    it('without a box is none yet, for every command', async () => {
      await writeBoxConf(sandbox(), 'system1');
      expect(await boxctl('list', '--all')).to.deep.equal(printed('there is no box'));
      for (const verb of ['list', 'status', 'start', 'enable', 'poweroff', 'configure'])
        expect(await boxctl(verb, 'system1'), verb).to.deep.equal(
          refused(
            'no box "system1": boxctl cutover-instance system1 IMAGE makes one; boxctl list --all shows those that there are',
            2,
          ),
        );
      await sh('stacko new-stackpoint system1 foo-0.1; rm /etc/overlay-boot/boxes/*');
      expect((await boxctl('list', '--all')).stdout, 'the other way round').to.match(/^system1 +stopped /m);
    });

    it('that says nothing of START has each image bring its own services', async () => {
      await sh('cd /srv/t; tar -xzf foo-0.1.tar.gz -C data; rm data/startup; tar -C data -cf none.tar .');
      expect((await boxctl('stage-image', '/srv/t/none.tar')).code).to.equal(0);
      const started = async (): Promise<readonly string[]> => subhosts.record('system1')?.start ?? [];
      for (const [image, services] of [
        ['none', ['networking', 'ssh']],
        ['foo-0.2', ['/startup']],
      ] as const) {
        expect(await boxctl('cutover-instance', 'system1', image)).to.deep.equal(
          printed(`system1: ${image}, running`),
        );
        expect(await started(), image).to.deep.equal(services);
      }
      await boxctl('fallback-instance', 'system1');
      expect(await started()).to.deep.equal(['networking', 'ssh']);
      await sh('chmod 644 "$WAFERS/foo-0.2/data/startup"');
      await boxctl('cutover-instance', 'system1', 'foo-0.2');
      expect(await started(), 'not executable').to.deep.equal(['networking', 'ssh']);
    });
  });

  it('resets an instance to its image, with the box stopped meanwhile if it runs on it', async () => {
    await up();
    await subhosts.inside('system1', 'echo x >/var/changed; rm /srv/version');
    expect(await boxctl('reset', 'system1', 'foo-0.1')).to.deep.equal(
      printed('system1: its instance of foo-0.1 reset, running'),
    );
    expect(await subhosts.inside('system1', 'ls /var; cat /srv/version')).to.equal('foo-0.1\n');
    await sh('stacko cutover-stackpoint system1 foo-0.2');
    expect(await boxctl('reset', 'system1', 'foo-0.1'), 'cut over without boxctl').to.deep.equal(
      printed('system1: its instance of foo-0.1 reset, running as foo-0.2'),
    );
    expect(await version()).to.equal('foo-0.2');
    const pid1 = subhosts.pid1('system1');
    await sh('touch "$WAFERS/foo-0.1@system1/data/changed"');
    expect(await boxctl('reset', 'system1', 'foo-0.1')).to.deep.equal(
      printed('system1: its instance of foo-0.1 reset'),
    );
    expect(await sh('ls "$WAFERS/foo-0.1@system1/data"')).to.equal('');
    expect(subhosts.pid1('system1')).to.equal(pid1);
    expect(await boxctl('reset', 'system1', 'hangs')).to.deep.equal(
      refused('box "system1" has no instance of "hangs": boxctl list-images shows of which images it has', 2),
    );
  });

  it('says that a box is stopped when it does not start again', async () => {
    await up();
    await subhosts.inside('system1', "printf '#!/bin/sh\\nsleep 1000\\n' >/startup");
    // The script that hangs is the one to stop it, too.
    await sandbox().writeFile('/etc/overlay-boot/conf.d/service.conf', '[timeouts]\nservice = 0.3\n');
    const { code, stderr } = await boxctl('restart', 'system1', '--timeout', '1');
    await sh('rm /etc/overlay-boot/conf.d/service.conf');
    expect(code).to.equal(1);
    expect(stderr).to.match(/^boxctl: system1: not ready within 1 s: .*\.log\): it is stopped$/m);
    expect((await boxctl('list', 'system1')).stdout).to.match(/^system1 +stopped /m);
    expect(await boxctl('reset', 'system1', 'foo-0.1')).to.deep.equal(
      printed('system1: its instance of foo-0.1 reset'),
    );
    expect(await boxctl('start', 'system1')).to.deep.equal(printed('system1: running'));
  });

  it('deletes an instance that is not the current one', async () => {
    await up();
    await boxctl('cutover-instance', 'system1', 'foo-0.2');
    const current =
      'box "system1" is foo-0.2 now: boxctl cutover-instance system1 to another image first, or fallback-instance';
    await expectAnswers(boxctl, [
      ['delete-instance system1 foo-0.2', refused(current)],
      ['delete-instance system1 foo-0.1', printed('system1: its instance of foo-0.1 deleted')],
    ]);
    expect((await boxctl('fallback-instance', 'system1')).stderr).to.include('nothing to fall back to');
  });

  describe('configure', () => {
    const configure = (script: string) =>
      sandbox().run(['boxctl', 'configure', 'system1'], { env: BOX_ENVIRONMENT, input: script });

    it('is a shell in the mounted stack, with nothing of the box started', async () => {
      await up('SHARE=/srv/t:/mnt/share\nCAPS=-CHOWN\n');
      await boxctl('poweroff', 'system1');
      const script =
        'hostname; pidof httpd; ip link | grep eth0; ls /mnt/share; chown 1:1 /etc/passwd; echo mine >/var/made; exit 7\n';
      const { code, stdout, stderr } = await configure(script);
      expect([code, stdout]).to.deep.equal([7, 'system1\n']);
      expect(stderr).to.equal('chown: /etc/passwd: Operation not permitted\n');
      expect(await boxctl('start', 'system1')).to.deep.equal(printed('system1: running'));
      expect(await subhosts.inside('system1', 'cat /var/made')).to.equal('mine\n');
    });

    it('is for a box that does not run, and says while it lasts who has it', async () => {
      await up();
      expect(await boxctl('configure', 'system1')).to.deep.equal(
        refused(
          'box "system1" runs: boxctl login system1 enters it as it is, boxctl poweroff system1 stops it',
        ),
      );
      await boxctl('poweroff', 'system1');
      const shell = sandbox().spawn(['boxctl', 'configure', 'system1'], { env: BOX_ENVIRONMENT });
      shell.child.stdin?.write('echo in\n');
      await eventually('the shell runs', () => shell.stdout === 'in\n');
      expect((await boxctl('list')).stdout).to.match(/^system1 +configuring +foo-0\.1 /m);
      expect((await boxctl('status', 'system1')).stdout).to.include(
        '  State      configuring: a shell of boxctl configure system1 is in it\n',
      );
      const start = sandbox().spawn(['boxctl', 'start', 'system1'], { env: BOX_ENVIRONMENT });
      await eventually('it waits', () =>
        /^boxctl: waiting for boxctl configure system1 \(pid \d+\)\n$/.test(start.stderr),
      );
      shell.child.stdin?.end();
      expect((await shell.completed()).code).to.equal(0);
      expect(await start.completed()).to.include({ code: 0, stdout: 'system1: running\n' });
    });

    it('that was killed is in nobody’s way', async () => {
      await up();
      await boxctl('poweroff', 'system1');
      const shell = sandbox().spawn(['boxctl', 'configure', 'system1'], { env: BOX_ENVIRONMENT });
      shell.child.stdin?.write('echo in\n');
      await eventually('the shell runs', () => shell.stdout === 'in\n');
      shell.kill('SIGKILL');
      await shell.completed();
      expect((await configure('echo again\n')).stdout).to.equal('again\n');
      expect(await boxctl('start', 'system1')).to.deep.equal(printed('system1: running'));
      expect(await version()).to.equal('foo-0.1');
    });
  });

  it('starts, stops, restarts, enters and terminates a box', async () => {
    await up();
    const first = subhosts.pid1('system1');
    expect(await boxctl('start', 'system1')).to.deep.equal(printed('system1: already running'));
    const { stdout } = await sandbox().run(['boxctl', 'login', 'system1'], {
      env: BOX_ENVIRONMENT,
      input: 'hostname; cat /srv/version; exit 3\n',
    });
    expect(stdout).to.equal('system1\nfoo-0.1\n');
    expect(await boxctl('restart', 'system1')).to.deep.equal(printed('system1: running'));
    expect(subhosts.pid1('system1')).not.to.equal(first);
    expect(await boxctl('terminate', 'system1')).to.deep.equal(printed('system1: terminated'));
    for (const verb of ['terminate', 'poweroff'])
      expect(await boxctl(verb, 'system1')).to.deep.equal(printed('system1: not running'));
    expect(await boxctl('login', 'system1')).to.deep.equal(
      refused('box system1 does not run: boxctl start system1 starts it'),
    );
    expect(await boxctl('restart', 'system1')).to.deep.equal(printed('system1: running'));
    expect(await version()).to.equal('foo-0.1');
  });

  it('terminates a box whose start hangs', async () => {
    await writeBoxConf(sandbox(), 'system1');
    await sh('stacko new-stackpoint system1 hangs');
    const start = sandbox().spawn(['boxctl', 'start', 'system1'], { env: BOX_ENVIRONMENT });
    await eventually('it starts', () =>
      existsSync(subhosts.outside(`${BOX_WAFERS}/hangs@system1/data/begun`)),
    );
    expect((await boxctl('terminate', 'system1')).code).to.equal(0);
    expect((await start.completed()).stderr).to.match(
      /^boxctl: system1: stopped by boxctl terminate system1 \(pid \d+\) before it was ready \(log: .*\)\n$/,
    );
  });

  it('enables and disables a box by a line of subhosts.conf, and leaves the others as they are', async () => {
    await up();
    const list =
      '# mine, \\351\n\n/opt/subhost/mta/mta.conf\n  #/etc/overlay-boot/boxes/system1.conf\n/opt/last.conf';
    await sh(`printf '${list.replaceAll('\n', '\\n')}' >/etc/subhosts.conf; chmod 600 /etc/subhosts.conf`);
    const before = await sh('base64 /etc/subhosts.conf');
    const others = ['.system1.conf.swp', '.system1.conf.conf.1'].map((name) => `${dirname(CONF)}/${name}`);
    await sh(`touch ${others.join(' ')}`);
    expect(await boxctl('enable', 'system1')).to.deep.equal(printed('system1: enabled'));
    expect(await boxctl('enable', 'system1')).to.deep.equal(printed('system1: is enabled already'));
    expect(
      await sh('tail -n 2 /etc/subhosts.conf; stat -c %a /etc/subhosts.conf; ls /etc/subhosts.conf*'),
    ).to.equal(`/opt/last.conf\n${CONF}\n600\n/etc/subhosts.conf\n`);
    expect(await sh(`rm -v ${others.join(' ')} | wc -l`), "an editor's file, and another box's").to.equal(
      '2\n',
    );
    expect((await boxctl('list')).stdout).to.match(/^system1 .* yes /m);
    await boxctl('poweroff', 'system1');
    await sh('sed -i /opt/d /etc/subhosts.conf; overlay-boot --all');
    expect(await version()).to.equal('foo-0.1');
    await sh(
      `printf '${list.replaceAll('\n', '\\n')}' >/etc/subhosts.conf; echo >>/etc/subhosts.conf; echo '  ${CONF}\t' >>/etc/subhosts.conf`,
    );
    expect(await boxctl('disable', 'system1')).to.deep.equal(printed('system1: disabled'));
    expect(await boxctl('disable', 'system1')).to.deep.equal(printed('system1: is not enabled'));
    await sh('echo /etc/overlay-boot/boxes/gone.conf >>/etc/subhosts.conf');
    expect(await boxctl('disable', 'gone'), 'a box that is gone').to.deep.equal(printed('gone: disabled'));
    expect((await boxctl('disable', 'gone')).stderr).to.match(/^boxctl: no box "gone"/);
    expect(await sh('head -c -1 /etc/subhosts.conf | base64')).to.equal(before);
  });

  it('enables a box that was never started: it starts with the host', async () => {
    await sh('stacko new-stackpoint system1 foo-0.1');
    await boxctl('enable', 'system1');
    expect(await sh('overlay-boot --all')).to.equal('system1: running\n');
  });

  it('enables many at once', async () => {
    const names = ['a', 'b', 'c', 'd'];
    await sh(`for i in ${names.join(' ')}; do stacko new-stackpoint $i foo-0.1; done`);
    const all = await Promise.all(names.map((name) => boxctl('enable', name)));
    expect(all.map(({ code }) => code)).to.deep.equal([0, 0, 0, 0]);
    expect((await sh('sort /etc/subhosts.conf')).split('\n').filter(Boolean)).to.deep.equal(
      names.map((name) => `/etc/overlay-boot/boxes/${name}.conf`),
    );
    expect(await sh('ls -A /etc/overlay-boot/boxes')).to.equal('a.conf\nb.conf\nc.conf\nd.conf\n');
  });

  it('enables the unit of a box where systemd runs', async () => {
    await sh(`stacko new-stackpoint system1 foo-0.1; mkdir -p /run/systemd/system /srv/t/bin
      mount --bind /srv/t/bin /usr/local/sbin
      printf '#!/bin/sh\\necho "$*" >>/srv/t/systemctl\\nexit \${FAILS:-0}\\n' >/srv/t/bin/systemctl; chmod 755 /srv/t/bin/systemctl`);
    try {
      await boxctl('enable', 'system1');
      await boxctl('disable', 'system1');
      expect(await sh('cat /srv/t/systemctl')).to.equal(
        '--quiet enable subhosts@system1.service\n--quiet disable subhosts@system1.service\n',
      );
      await sh("printf '#!/bin/sh\\necho no such unit >&2\\nexit 1\\n' >/srv/t/bin/systemctl");
      const { code, stderr } = await boxctl('enable', 'system1');
      expect([code, stderr]).to.deep.equal([
        1,
        'boxctl: systemctl --quiet enable subhosts@system1.service: exit status 1: no such unit\n',
      ]);
      expect(await sh('cat /etc/subhosts.conf')).to.equal('');
    } finally {
      await sh('umount /usr/local/sbin; rm -rf /run/systemd /srv/t/bin /srv/t/systemctl');
    }
  });

  it('lists boxes and images for anyone, as tables and as JSON', async () => {
    expect(await boxctl('list')).to.deep.equal(printed('there is no box'));
    expect(await sandbox().run(['boxctl', 'list-images'], { env: { WAFERS: '/srv/t/none' } })).to.include({
      code: 0,
      stdout: 'there is no image\n',
    });
    await up();
    await boxctl('cutover-instance', 'system1', 'foo-0.2');
    await sh('stacko new-stackpoint other foo-0.1');
    await boxctl('start', 'other');
    await boxctl('poweroff', 'other');
    await sh('chmod 755 /srv /srv/t "$WAFERS"');
    const anyone = async (...args: readonly string[]) => {
      const argv = ['setpriv', '--reuid=1000', '--regid=1000', '--clear-groups', 'boxctl', ...args];
      const { code, stdout, stderr } = await sandbox().run(argv, { env: BOX_ENVIRONMENT });
      return {
        code,
        stdout: stdout.replace(/ +/g, ' ').replaceAll(` ${subhosts.pid1('system1')}`, ' PID'),
        stderr,
      };
    };
    expect(await anyone('list')).to.deep.equal(
      printed('NAME STATE IMAGE FALLBACK ENABLED PID', 'system1 running foo-0.2 foo-0.1 - PID'),
    );
    expect((await anyone('list', '--all')).stdout).to.match(/^other +stopped +foo-0\.1 +- +- +-$/m);
    expect((await anyone('list', 'other')).stdout).to.match(/^other +stopped/m);
    expect(await anyone('list-images')).to.deep.equal(
      printed(
        'IMAGE STATE CURRENT FALLBACK OTHERS',
        'data sealed - - -',
        'fails sealed - - -',
        'foo-0.1 sealed other system1 -',
        'foo-0.2 sealed system1 - -',
        'hangs sealed - - -',
      ),
    );
    expect(JSON.parse((await boxctl('list-images', '--json')).stdout)[2]).to.deep.equal({
      name: 'foo-0.1',
      parent: null,
      state: 'sealed',
      current: ['other'],
      fallback: ['system1'],
      others: [],
    });
    expect(JSON.parse((await boxctl('list', '--json')).stdout)).to.deep.equal([
      {
        name: 'system1',
        state: 'running',
        pid: subhosts.pid1('system1'),
        engine: 'subhost',
        image: 'foo-0.2',
        instance: 'foo-0.2@system1',
        generation: 2,
        fallback: 'foo-0.1',
        runsOn: null,
        enabled: false,
      },
    ]);
    const { stdout } = await anyone('status', 'system1');
    expect(stdout).to.match(
      /^system1\n State running\n Image foo-0\.2 \(generation 2\)\n Instance foo-0\.2@system1\n Fallback foo-0\.1\n/,
    );
    expect(JSON.parse((await boxctl('status', 'system1', '--json')).stdout)).to.include({
      image: 'foo-0.2',
      state: 'running',
    });
    expect((await anyone('status', 'other')).stdout).to.include(
      'State stopped: boxctl start other starts it\n Image foo-0.1 (generation 1)\n Instance foo-0.1@other\n',
    );
    expect((await anyone('status', 'gone')).stderr).to.include('boxctl: no box "gone"');
    expect(await anyone('start', 'system1')).to.deep.equal(refused('must be root'));
    await sh(`mv ${CONF} /srv/t/conf`);
    expect((await boxctl('list')).stdout).to.match(/^system1 +running +foo-0\.2 /m);
    await sh(`mv /srv/t/conf ${CONF}`);
    await sh('chmod 700 "$WAFERS"');
    expect((await anyone('list')).stdout).to.match(/^system1 +running +- +- +- +PID$/m);
    expect(await anyone('list-images')).to.deep.equal(refused(`${BOX_WAFERS}: cannot be read: be root`));
  });

  it('of two that make a box at once has both succeed', async () => {
    await writeBoxConf(sandbox(), 'system1');
    const both = await Promise.all([1, 2].map(() => boxctl('cutover-instance', 'system1', 'foo-0.1')));
    expect(both.map(({ code }) => code)).to.deep.equal([0, 0]);
    expect(await version()).to.equal('foo-0.1');
  });

  it('of two commands at once on a box has one wait for the other', async () => {
    await up();
    const both = await Promise.all([
      boxctl('cutover-instance', 'system1', 'foo-0.2'),
      boxctl('restart', 'system1'),
      boxctl('fallback-instance', 'system1'),
    ]);
    for (const { stderr } of both)
      expect(stderr).to.match(
        /^(boxctl: waiting for .*\n)*(boxctl: box "system1" has nothing to fall back to: .*\n)?$/,
      );
    const [{ image }] = JSON.parse((await boxctl('list', '--json')).stdout) as [{ image: string }];
    expect(await version()).to.equal(image);
  });
});
