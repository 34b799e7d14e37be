/** boxctl commands that are killed at each of their steps: the box is what it was or what it was to be, and starts. */
import { join } from 'node:path';
import { expect } from 'chai';
import {
  ADDRESS,
  BOX_ENVIRONMENT,
  makeArchive,
  makeBridge,
  boxctl as run,
  writeBoxConf,
} from '../helpers/boxes.js';
import { spread } from '../helpers/kills.js';
import { type Completed, useSandbox } from '../helpers/namespaces.js';

const DIE_AT = join(__dirname, '..', 'helpers', 'die-at.cjs');
const COUNT = '/srv/t/count';
/** Of each command so many steps are tried, evenly spread. */
const STEPS = 6;

interface Listed {
  readonly state: string;
  readonly image: string;
}

describe('boxctl, killed', () => {
  const sandbox = useSandbox();
  const sh = (script: string): Promise<string> => sandbox().sh(script, { env: BOX_ENVIRONMENT });
  const boxctl = async (...args: readonly string[]): Promise<string> => {
    const { code, stdout, stderr } = await run(sandbox(), ...args);
    expect({ code, stderr }, args.join(' ')).to.deep.equal({ code: 0, stderr: '' });
    return stdout;
  };
  const runWith = (env: Readonly<Record<string, string>>, args: readonly string[]): Promise<Completed> =>
    sandbox().run(['boxctl', ...args], {
      env: { ...BOX_ENVIRONMENT, NODE_OPTIONS: `--require=${DIE_AT}`, ...env },
    });
  const listed = async (): Promise<Listed | undefined> =>
    (JSON.parse(await boxctl('list', '--all', '--json')) as Listed[])[0];
  const version = async (): Promise<string> => (await sh(`wget -qO- http://${ADDRESS}/version`)).trim();

  before(async function () {
    this.timeout(60_000);
    for (const [name, start] of [['one'], ['two'], ['hangs', 'sleep 1000']])
      await boxctl('stage-image', await makeArchive(sandbox(), name ?? '', start));
    await makeBridge(sandbox());
    // A process that is told to end does; who is killed before it is asked shall not cost a whole grace period.
    await sandbox().writeFile('/etc/overlay-boot/conf.d/grace.conf', '[timeouts]\ngrace = 0.3\n');
  });

  /** A box that runs on `one`, with a file of its own, and has no other instance. */
  const prepare = async (): Promise<void> => {
    await sh('overlay-stop --kill web; stacko delete-stackpoint web 2>/dev/null || :');
    await writeBoxConf(sandbox(), 'web');
    await boxctl('cutover-instance', 'web', 'one');
    await sh('echo kept >"$WAFERS/one@web/data/kept"');
  };

  const commands: readonly [string, readonly string[], string][] = [
    ['a cutover', ['cutover-instance', 'web', 'two'], 'two'],
    ['a cutover that is taken back', ['cutover-instance', 'web', 'hangs', '--timeout', '0.5'], 'hangs'],
    ['a reset', ['reset', 'web', 'one'], 'one'],
  ];
  for (const [title, args, image] of commands)
    it(`a SIGKILL at each step of ${title} leaves a box that starts, as the old instance or the new one`, async () => {
      await prepare();
      const whole = await runWith({ DIE_COUNT: COUNT }, args);
      expect(whole.code, whole.stderr).to.equal(image === 'hangs' ? 1 : 0);
      const steps = Number(await sandbox().readFile(COUNT));
      expect(steps).to.be.greaterThan(10);
      const seen = new Set<string>();
      let killed = 0;
      await prepare();
      for (const step of spread(1, steps, STEPS)) {
        const { signal, code } = await runWith({ DIE_AT: String(step) }, args);
        // How many steps it takes to wait for an end that comes by itself is not always the same.
        expect(signal ?? code, `step ${step}`).to.be.oneOf(['SIGKILL', 137, whole.code]);
        if (code !== whole.code) killed++;
        const box = await listed();
        expect(box?.image, `step ${step}`).to.be.oneOf(['one', image]);
        seen.add(`${box?.image} ${box?.state === 'running' ? 'running' : 'stopped'}`);
        if (box?.image === 'hangs') {
          await sh('overlay-stop --kill web');
          expect(await boxctl('fallback-instance', 'web')).to.equal('web: one\n');
        }
        expect(await boxctl('start', 'web')).to.match(/^web: (already )?running\n$/);
        expect(await version()).to.equal(box?.image === 'hangs' ? 'one' : box?.image);
        expect(await sh('wafers tree')).not.to.include('broken');
        // As it was, by commands that have to work.
        if ((await listed())?.image !== 'one') await boxctl('fallback-instance', 'web');
        if (args[0] !== 'reset')
          expect(await sh('cat "$WAFERS/one@web/data/kept"'), `step ${step}`).to.equal('kept\n');
        await sh(`stacko delete-stackpoint-instance web ${image} 2>/dev/null || :`);
        expect((await sh('cd "$WAFERS"; ls -d *@web')).trim(), `step ${step}`).to.equal('one@web');
      }
      expect(killed).to.be.greaterThan(STEPS - 3);
      expect(seen.has('one running'), 'the first step is early enough').to.equal(true);
      if (args[0] !== 'reset') expect([...seen].join(), 'one of them is late enough').to.include('stopped');
    }).timeout(120_000);

  it('a SIGKILL while a box is made leaves none, or one that can be started', async () => {
    const args = ['cutover-instance', 'web', 'one'];
    const clear =
      'overlay-stop --kill web; stacko delete-stackpoint web 2>/dev/null || :; rm -f /etc/overlay-boot/boxes/*.conf';
    await sh(clear);
    expect((await runWith({ DIE_COUNT: COUNT }, args)).code).to.equal(0);
    const steps = Number(await sandbox().readFile(COUNT));
    for (const step of spread(1, steps, STEPS)) {
      await sh(clear);
      const { signal, code } = await runWith({ DIE_AT: String(step) }, args);
      expect(signal ?? code, `step ${step}`).to.be.oneOf(['SIGKILL', 137, 0]);
      await boxctl('cutover-instance', 'web', 'one');
      expect(await boxctl('start', 'web')).to.match(/^web: (already )?running\n$/);
      expect(await sh('ls -A /etc/overlay-boot/boxes; cd "$WAFERS"; ls -d *@web'), `step ${step}`).to.equal(
        'web.conf\none@web\n',
      );
    }
  }).timeout(120_000);
});
