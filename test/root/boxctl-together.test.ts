/** boxctl while somebody else is at the same box: another boxctl, stacko, overlay-stop. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import {
  ADDRESS,
  BOX_ENVIRONMENT,
  BOX_WAFERS,
  makeArchive,
  makeBridge,
  boxctl as run,
  writeBoxConf,
} from '../helpers/boxes.js';
import { type Running, useSandbox, eventually as within } from '../helpers/namespaces.js';
import { Subhosts } from '../helpers/subhosts.js';

const AFTER_CALL = join(__dirname, '..', 'helpers', 'after-call.cjs');
/** A machine may have more to do than this. */
const eventually = <T>(what: string, probe: () => T | Promise<T>) => within(what, probe, 30_000);
/** Who reads it is held until somebody writes to it. */
const GATE = '/srv/t/gate';
/** The lines on stderr of who waits for another command on the box. */
const waited = (command: string) =>
  new RegExp(`^boxctl: waiting for ${command.replaceAll('.', '\\.')} \\(pid \\d+\\)\n$`);

describe('boxctl, with others at the same box', () => {
  const sandbox = useSandbox();
  const subhosts = new Subhosts(sandbox);
  const sh = (script: string): Promise<string> => sandbox().sh(script, { env: BOX_ENVIRONMENT });
  const start = (...args: readonly string[]): Running =>
    sandbox().spawn(['boxctl', ...args], { env: BOX_ENVIRONMENT });
  /** Starts a command that has a script run once, right after it has called `call` on what ends in `path`. */
  const startWith = (
    after: { call: string; path: string; run: string },
    ...args: readonly string[]
  ): Running =>
    sandbox().spawn(['boxctl', ...args], {
      env: {
        ...BOX_ENVIRONMENT,
        NODE_OPTIONS: `--require=${AFTER_CALL}`,
        AFTER_CALL: after.call,
        AFTER_PATH: after.path,
        AFTER_RUN: after.run,
      },
    });
  const ended = async (running: Running) => {
    const { code, stdout, stderr } = await running.completed();
    return { code, stdout, stderr };
  };
  const printed = (line: string, stderr = '') => ({ code: 0, stdout: `${line}\n`, stderr });
  const version = async (): Promise<string> => (await sh(`wget -qO- http://${ADDRESS}/version`)).trim();
  const image = async (): Promise<string> => {
    const { stdout } = await run(sandbox(), 'list', '--all', '--json');
    return (JSON.parse(stdout) as [{ image: string }])[0].image;
  };
  const instances = async (): Promise<string> => (await sh('cd "$WAFERS"; ls -d *@*')).trim();
  const up = async (): Promise<void> => {
    const { stdout, stderr } = await run(sandbox(), 'cutover-instance', 'web', 'one');
    expect({ stdout, stderr }).to.deep.equal({ stdout: 'web: one, running\n', stderr: '' });
  };

  before(async function () {
    this.timeout(60_000);
    for (const [name, startup] of [
      ['one'],
      ['two'],
      ['three'],
      ['hangs', 'echo started >/begun; sleep 1000'],
    ]) {
      const archive = await makeArchive(sandbox(), name ?? '', startup);
      expect((await run(sandbox(), 'stage-image', archive)).code).to.equal(0);
    }
    await makeBridge(sandbox());
    await sh(`mkfifo ${GATE}`);
    // A process that is told to end does; who does not shall not cost a whole grace period.
    await sandbox().writeFile('/etc/overlay-boot/conf.d/grace.conf', '[timeouts]\ngrace = 0.3\n');
  });

  beforeEach(async () => {
    await writeBoxConf(sandbox(), 'web');
  });

  afterEach(async () => {
    await sh('overlay-stop --all --kill; stacko delete-stackpoint web 2>/dev/null || :');
  });

  describe('of two first cutovers of one box', () => {
    /** Begins the first one, and holds it at the moment from which on others can see the box. */
    const makeAndPause = async (...args: readonly string[]): Promise<Running> => {
      const pause = { call: 'renameSync', path: '/points/web', run: `cat ${GATE}` };
      const first = startWith(pause, 'cutover-instance', 'web', ...args);
      await eventually('the point is there', () => existsSync(subhosts.outside(`${BOX_WAFERS}/points/web`)));
      return first;
    };
    const goOn = () => sh(`echo >${GATE}`);

    it('the second waits for the first, and each tells what is so when it ends', async () => {
      const first = await makeAndPause('one');
      const second = start('cutover-instance', 'web', 'two');
      await eventually('the second waits', () =>
        waited('boxctl cutover-instance web one').test(second.stderr),
      );
      await goOn();
      expect(await ended(first)).to.deep.equal(printed('web: one, running'));
      expect(await ended(second)).to.deep.equal(printed('web: two, running', second.stderr));
      expect(second.stderr).to.match(waited('boxctl cutover-instance web one'));
      expect([await version(), await image()]).to.deep.equal(['two', 'two']);
    });

    it('the second makes the box where the first does not come up', async () => {
      const first = await makeAndPause('hangs', '--timeout', '0.5');
      const second = start('cutover-instance', 'web', 'two');
      await eventually('the second waits', () => second.stderr.includes('waiting for'));
      await goOn();
      const { code, stdout, stderr } = await ended(first);
      expect([code, stdout]).to.deep.equal([1, '']);
      expect(stderr).to.match(/^boxctl: web: not ready within 0\.5 s: it was at: [a-z]+ \(log: .*\)\n$/);
      expect((await ended(second)).stdout).to.equal('web: two, running\n');
      expect([await version(), await instances()]).to.deep.equal(['two', 'two@web']);
    });
  });

  it('says what runs where stacko has cut the box over while it started', async () => {
    await up();
    await sh('stacko new-stackpoint-instance web three');
    // Between the moment at which boxctl has made it `two`, and the one at which the boot looks what it is.
    const isTwo = '[ "$(readlink $WAFERS/points/web/current)" = 2 ]';
    const meanwhile = {
      call: 'openSync',
      path: '/web.conf',
      run: `${isTwo} && stacko cutover-stackpoint web three`,
    };
    const cutover = startWith(meanwhile, 'cutover-instance', 'web', 'two');
    expect(await ended(cutover)).to.deep.equal({
      code: 1,
      stdout: '',
      stderr:
        'boxctl: web runs, but on three: somebody else has cut it over meanwhile: boxctl cutover-instance web two once more\n',
    });
    expect(await version()).to.equal('three');
    expect((await run(sandbox(), 'cutover-instance', 'web', 'two')).stdout).to.equal('web: two, running\n');
  });

  it('reads a point well that is cut over between two looks', async () => {
    await sh('stacko new-stackpoint web one');
    // Its numbers have been read, and not yet which of them is current.
    const meanwhile = {
      call: 'readdirSync',
      path: '/points/web',
      run: 'stacko cutover-stackpoint web two',
    };
    const { code, stdout, stderr } = await ended(startWith(meanwhile, 'list', 'web'));
    expect([code, stderr]).to.deep.equal([0, '']);
    expect(stdout).to.match(/^web +stopped +two +one /m);
  });

  describe('of an overlay-stop while the box starts', () => {
    /** Begins a command on a box, and once `hangs` is being started stops it by overlay-stop. */
    const stopWhile = async (...args: readonly string[]): Promise<Running> => {
      const begun = subhosts.outside(`${BOX_WAFERS}/hangs@web/data/begun`);
      const running = start(...args);
      await eventually('the new one starts', () => existsSync(begun));
      expect(await sh('overlay-stop web')).to.match(/^web: stopped/);
      return running;
    };
    const STOPPED = 'boxctl: web: stopped by overlay-stop web \\(pid \\d+\\) before it was ready \\(log: ';

    it('a cutover fails, and the box is back on the old generation', async () => {
      await up();
      const { code, stdout, stderr } = await ended(await stopWhile('cutover-instance', 'web', 'hangs'));
      expect([code, stdout]).to.deep.equal([1, '']);
      expect(stderr).to.match(new RegExp(`^${STOPPED}.*/web\\.log\\.1\\): it runs on one again\n$`));
      expect([await version(), await image(), await instances()]).to.deep.equal(['one', 'one', 'one@web']);
    });

    it('a start fails, and the box is stopped', async () => {
      await sh('stacko new-stackpoint web hangs');
      const { code, stderr } = await ended(await stopWhile('start', 'web'));
      expect(code).to.equal(1);
      expect(stderr).to.match(new RegExp(`^${STOPPED}.*/web\\.log\\)\n$`));
      expect((await run(sandbox(), 'list', 'web')).stdout).to.match(/^web +stopped /m);
    });
  });

  it('names who is at the box though nobody is to be seen', async () => {
    await up();
    // From outside of the sandbox, whose /proc it is not in.
    const holder = spawn('flock', [subhosts.outside(`${BOX_WAFERS}/points/web`), 'cat']);
    const restart = start('restart', 'web');
    await eventually('it waits', () => restart.stderr !== '');
    holder.stdin.end();
    expect(await ended(restart)).to.deep.equal(
      printed('web: running', 'boxctl: waiting for a process that cannot be seen from here\n'),
    );
  });
});
