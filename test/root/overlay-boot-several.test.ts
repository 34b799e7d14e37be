/** Several confs in one call, lists of them, two calls at once, and the options of overlay-boot. */
import { statSync } from 'node:fs';
import { expect } from 'chai';
import { snapshot } from '../helpers/host-snapshot.js';
import { eventually } from '../helpers/namespaces.js';
import { BASE_ROOT, recordingService, useSubhosts } from '../helpers/subhosts.js';

describe('overlay-boot: calls and options', () => {
  const subhosts = useSubhosts();
  const base = '/opt/subhost/a';
  const linesOf = (text: string): string[] => text.trimEnd().split('\n').sort();

  it('boots several confs side by side, with a line each', async () => {
    const confs = await Promise.all(['a', 'b', 'c'].map((name) => subhosts.make(name, { CABLES: '=' })));
    const { code, stdout, stderr } = await subhosts.boot(confs);
    expect({ code, stderr }).to.deep.equal({ code: 0, stderr: '' });
    expect(linesOf(stdout)).to.deep.equal(['a: running', 'b: running', 'c: running']);
    for (const name of ['a', 'b', 'c']) expect(await subhosts.inside(name, 'hostname')).to.equal(`${name}\n`);
  });

  it('boots the others when one fails, and the exit status tells', async () => {
    const a = await subhosts.make('a');
    const bad = await subhosts.make('b', { SHARE: 'work:/etc/passwd' });
    const c = await subhosts.make('c');
    const { code, stdout, stderr } = await subhosts.boot([a, bad, c]);
    expect(code).to.equal(1);
    expect(linesOf(stdout)).to.deep.equal(['a: running', 'c: running']);
    expect(linesOf(stderr)).to.have.lengthOf(1);
    expect(stderr).to.match(/^overlay-boot: b: cannot share /);
  });

  it('exits with 2 when a mistake in a conf is among several failures', async () => {
    const bad = await subhosts.make('b', { SHARE: 'work:/etc/passwd' });
    const wrong = await subhosts.make('c', { CABLES: 'nobridge=' });
    expect((await subhosts.boot([bad, wrong, wrong])).code).to.equal(2);
  });

  it('takes a conf that is named twice once', async () => {
    const conf = await subhosts.make('a');
    expect((await subhosts.boot([conf, conf])).stdout).to.equal('a: running\n');
  });

  it('says that a subhost runs already, and succeeds', async () => {
    const conf = await subhosts.up('a');
    const before = subhosts.pid1('a');
    const { code, stdout, stderr } = await subhosts.boot([conf]);
    expect({ code, stdout, stderr }).to.deep.equal({ code: 0, stdout: 'a: already running\n', stderr: '' });
    expect(subhosts.pid1('a')).to.equal(before);
  });

  it('fails when a subhost of that name runs from another conf', async () => {
    const first = await subhosts.up('a');
    const other = await subhosts.make('b', { NAME: 'a' });
    expect(await subhosts.refused(other)).to.deep.equal([
      `overlay-boot: a runs already, from another conf: ${first}: overlay-stop a, or choose another NAME`,
    ]);
  });

  it('of two calls at once for one name one boots, the other says that it runs', async () => {
    const conf = await subhosts.make(
      'a',
      { CABLES: '=', START: '/svc' },
      { services: { svc: '#!/bin/sh\n[ $1 = stop ] || sleep 0.2\n' } },
    );
    for (let round = 0; round < 3; round++) {
      const both = await Promise.all([subhosts.boot([conf]), subhosts.boot([conf])]);
      expect(both.map(({ code, stdout, stderr }) => `${code} ${stdout}${stderr}`).sort()).to.deep.equal([
        '0 a: already running\n',
        '0 a: running\n',
      ]);
      await subhosts.stop('a');
    }
  });

  it('of two confs of one name in one call one boots, the other fails', async () => {
    const confs = [await subhosts.make('a'), await subhosts.make('b', { NAME: 'a' })];
    const { code, stdout, stderr } = await subhosts.boot(confs);
    expect([code, stdout]).to.deep.equal([1, 'a: running\n']);
    expect(stderr).to.match(/^overlay-boot: a runs already, from another conf: /);
  });

  it('a boot that waits for another one that fails boots it itself', async () => {
    const failing = await subhosts.make(
      'a',
      { START: '/svc' },
      { services: { svc: '#!/bin/sh\nsleep 1000\n' } },
    );
    const first = subhosts.sandbox.spawn(['overlay-boot', failing]);
    await eventually('it starts', () => subhosts.record('a')?.step === 'start');
    const second = subhosts.sandbox.spawn(['overlay-boot', failing]);
    await subhosts.sandbox.sh(`printf '#!/bin/sh\\n' >root/svc`, { cwd: base });
    first.kill('SIGKILL');
    expect((await second.completed(10_000)).stdout).to.equal('a: running\n');
    await first.completed();
  });

  it('when it is killed while it boots the subhost ends and nothing is left', async () => {
    const conf = await subhosts.make(
      'a',
      { START: '/svc', CABLES: '=' },
      { services: { svc: '#!/bin/sh\nsleep 1000\n' } },
    );
    const booting = subhosts.sandbox.spawn(['overlay-boot', conf]);
    await eventually('it starts', () => subhosts.record('a')?.step === 'start');
    booting.kill('SIGKILL');
    await booting.completed(10_000);
    await subhosts.gone('a');
  });

  describe('--all and --listed', () => {
    afterEach(async () => {
      await subhosts.sandbox.sh('rm -f /etc/subhosts.conf');
    });

    it('--all boots every conf of /etc/subhosts.conf, and overlay-stop --all stops them in the reverse order', async () => {
      const [a, b] = [await subhosts.make('a'), await subhosts.make('b')];
      subhosts.write('/etc/subhosts.conf', `# the hosts\n\n  ${a} \n${b}\n`);
      expect(linesOf((await subhosts.boot(['--all'])).stdout)).to.deep.equal(['a: running', 'b: running']);
      expect((await subhosts.stop('--all')).stdout).to.equal('b: stopped\na: stopped\n');
    });

    it('--all boots the others when one is wrong', async () => {
      const a = await subhosts.make('a');
      subhosts.write('/etc/subhosts.conf', `/no/such.conf\n${a}\n`);
      const { code, stdout, stderr } = await subhosts.boot(['--all']);
      expect({ code, stdout, stderr }).to.deep.equal({
        code: 2,
        stdout: 'a: running\n',
        stderr: 'overlay-boot: /no/such.conf: there is no such file\n',
      });
    });

    it('--all with an empty list, or without one, does nothing', async () => {
      expect((await subhosts.boot(['--all'])).code).to.equal(0);
      subhosts.write('/etc/subhosts.conf', '# none\n');
      expect((await subhosts.boot(['--all'])).code).to.equal(0);
    });

    it('--all refuses a list that others can write', async () => {
      subhosts.write('/etc/subhosts.conf', '', 0o666);
      expect((await subhosts.boot(['--all'])).code).to.equal(2);
    });

    it('--listed boots by name, and names what is listed otherwise', async () => {
      const a = await subhosts.make('a');
      const b = await subhosts.make('b', { NAME: 'bee' });
      subhosts.write('/etc/subhosts.conf', `${a}\n${b}\n`);
      expect((await subhosts.boot(['--listed', 'bee'])).stdout).to.equal('bee: running\n');
      const { code, stderr } = await subhosts.boot(['--listed', 'c']);
      expect([code, stderr]).to.deep.equal([
        2,
        'overlay-boot: /etc/subhosts.conf lists no subhost c: it lists a, bee\n',
      ]);
    });
  });

  describe('--check and --plan', () => {
    it('make nothing, whatever they find', async () => {
      const conf = await subhosts.make(
        'a',
        { CABLES: '=', PREMOUNT: 'hook' },
        { hooks: { hook: '#!/bin/sh\ntouch "$BASE/ran"\n' } },
      );
      const seen = async () => [
        await snapshot(subhosts.sandbox),
        await subhosts.sandbox.sh(`find /opt /var/log /run -not -path '/proc/*' | sort`),
      ];
      const before = await seen();
      for (const options of [['--check'], ['--check', '--json'], ['--plan'], ['--plan', '--json']]) {
        const { code, stderr } = await subhosts.boot([...options, conf]);
        expect([code, stderr]).to.deep.equal([0, '']);
      }
      expect(await seen()).to.deep.equal(before);
    });

    it('--check looks for directories and hooks and tells all mistakes in one go', async () => {
      const conf = await subhosts.make('a', {
        LIVE: 'no',
        WORK: 'nowork',
        LOWER: 'nolower',
        POSTMOUNT: 'nohook',
        SHARE: 'noshare',
        LOG: 'nolog/x',
      });
      const lines = await subhosts.refused(conf, { code: 2, options: ['--check'] });
      expect(lines.map((line) => line.split(': ')[2])).to.have.members([
        'LIVE',
        'WORK',
        'LOWER',
        'POSTMOUNT',
        'SHARE',
        'LOG',
      ]);
      for (const line of lines) expect(line.startsWith(`overlay-boot: ${conf}: `)).to.equal(true);
    });

    it('--plan lists what the boot does, in its order', async () => {
      const conf = await subhosts.make(
        'a',
        { CABLES: '=', START: 'one', POSTMOUNT: '+hook x' },
        { hooks: { hook: '#!/bin/sh\n' } },
      );
      const { stdout } = await subhosts.boot(['--plan', conf]);
      const order = [
        'subhost a, from',
        'root: an overlay',
        '/run/netns/a',
        'cable: a0 - eth0',
        'seed ',
        'overlay ',
        'system dev',
        `POSTMOUNT: ${base}/hook x`,
        'reaper ',
        'pivot',
        'hostname a',
        'start script:',
        '  start one',
        '  exec "$1"',
      ];
      const places = order.map((words) => stdout.indexOf(words));
      expect(places, stdout).not.to.include(-1);
      expect(places, stdout).to.deep.equal([...places].sort((x, y) => x - y));
    });
  });

  describe('--mkdir', () => {
    it('makes root, work, live and the directory of LOG, for everybody to read whatever the umask', async () => {
      const conf = await subhosts.make('a', { LOG: 'logs/deep/own.log' });
      await subhosts.sandbox.sh('rm -r root work live', { cwd: base });
      const { code, stderr } = await subhosts.sandbox.run([
        '/bin/sh',
        '-c',
        `umask 077; exec overlay-boot --mkdir ${conf}`,
      ]);
      expect(code, stderr).to.equal(0);
      const modeOf = (path: string): string => (statSync(subhosts.outside(path)).mode & 0o777).toString(8);
      for (const name of ['root', 'live', 'logs/deep'])
        expect([name, modeOf(`${base}/${name}`)]).to.deep.equal([name, '755']);
      expect(modeOf('/run/overlay-boot/a/state.json')).to.equal('644');
      expect(await subhosts.inside('a', 'stat -c %a /')).to.equal('755\n');
    });

    it('makes nothing for a conf that is wrong', async () => {
      const conf = await subhosts.make('a', { LOWER: 'nolower' });
      await subhosts.sandbox.sh('rm -r root work live', { cwd: base });
      await subhosts.refused(conf, { code: 2, options: ['--mkdir'] });
      expect(await subhosts.sandbox.sh('ls', { cwd: base })).to.equal('a.conf\n');
    });
  });

  it('warns of lines that are ignored, with file and line, and boots', async () => {
    const conf = await subhosts.make('a');
    subhosts.write(conf, `BASE=.\nLOWER=${BASE_ROOT}\nSTART=none\nSTRAT=x\n LOG=y\nBASE=/z\n`);
    const { code, stderr } = await subhosts.boot([conf]);
    expect(code).to.equal(0);
    expect(
      stderr
        .trimEnd()
        .split('\n')
        .map((line) => line.slice(0, `overlay-boot: ${conf}:0`.length)),
    ).to.deep.equal([4, 5, 6].map((line) => `overlay-boot: ${conf}:${line}`));
  });

  it('a time limit is checked before anything is done, and 0 is none', async () => {
    const confs = [await subhosts.make('a'), await subhosts.make('b')];
    for (const value of ['x', '-1', '1e3', '99999999', '9999999'])
      expect([value, (await subhosts.boot([`--timeout=${value}`, ...confs])).stderr]).to.deep.equal([
        value,
        `overlay-boot: --timeout "${value}" is no number of seconds: write 0 or more, 0 for no limit\n`,
      ]);
    expect((await subhosts.boot(['--timeout', '0', ...confs])).code).to.equal(0);
  });

  it('leaves no Node process behind', async () => {
    await subhosts.up('a', { START: '/svc', CABLES: '=' }, { services: { svc: recordingService('svc') } });
    expect(await subhosts.sandbox.sh('ps -e -o comm= | sort | uniq -c')).not.to.match(/node/);
  });
});
