/** Signals to overlay-boot, and hooks that never end, leave daemons behind or print without end. */
import { join } from 'node:path';
import { expect } from 'chai';
import { eventually } from '../helpers/namespaces.js';
import { useSubhosts } from '../helpers/subhosts.js';

describe('overlay-boot, interrupted', () => {
  const subhosts = useSubhosts();
  const HOOKS = {
    /** Tells that it runs, leaves a daemon of another session behind, and never ends. */
    endless: '#!/bin/sh\nsetsid sleep 1001 </dev/null >/dev/null 2>&1 &\ntouch "$BASE/begun"\nsleep 1002\n',
  };

  const begun = (name: string): Promise<unknown> =>
    eventually('the hook runs', () => subhosts.file(`${subhosts.base(name)}/begun`) !== undefined);

  const sleepers = (): Promise<string> => subhosts.sandbox.sh('pgrep -x -a sleep || :');

  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    for (const variable of ['PREMOUNT', 'POSTMOUNT', 'INIT'])
      it(`by ${signal} in ${variable}: takes everything back and says so`, async () => {
        const conf = await subhosts.make('cut', { CABLES: '=', [variable]: 'endless' }, { hooks: HOOKS });
        const boot = subhosts.sandbox.spawn(['overlay-boot', conf]);
        await begun('cut');
        boot.kill(signal);
        const { code, stdout, stderr } = await boot.completed(10_000);
        expect({ code, stdout, stderr }).to.deep.equal({
          code: 1,
          stdout: '',
          stderr: `overlay-boot: cut: interrupted by ${signal} (log: /var/log/overlay-boot/cut.log)\n`,
        });
        expect(await sleepers()).to.equal('');
      });

  it('by two signals: the second does not stop the taking back', async () => {
    const conf = await subhosts.make('cut', { CABLES: '=', PREMOUNT: 'endless' }, { hooks: HOOKS });
    const boot = subhosts.sandbox.spawn(['overlay-boot', conf]);
    await begun('cut');
    boot.kill('SIGINT');
    boot.kill('SIGTERM');
    boot.kill('SIGINT');
    expect((await boot.completed(10_000)).code).to.equal(1);
  });

  it('by SIGINT while a !command runs: takes everything back', async () => {
    const conf = await subhosts.make('cut', {
      CABLES: '=',
      RAM_SIZE: '!touch begun; setsid sleep 1003 & sleep 1004',
    });
    const boot = subhosts.sandbox.spawn(['overlay-boot', conf]);
    await begun('cut');
    boot.kill('SIGINT');
    const { code, stderr } = await boot.completed(10_000);
    expect({ code, stderr }).to.deep.equal({ code: 1, stderr: 'overlay-boot: cut: interrupted by SIGINT\n' });
    expect(await sleepers()).to.equal('');
  });

  it('by SIGTERM while a start script runs: takes everything back', async () => {
    const services = { slow: '#!/bin/sh\ntouch /begun\nsleep 1005\n' };
    const conf = await subhosts.make('cut', { CABLES: '=', START: '/slow' }, { services });
    const boot = subhosts.sandbox.spawn(['overlay-boot', conf]);
    await eventually('it runs', () => subhosts.file(`${subhosts.base('cut')}/root/begun`) !== undefined);
    boot.kill('SIGTERM');
    const { code, stderr } = await boot.completed(10_000);
    expect(code).to.equal(1);
    expect(stderr).to.equal(
      'overlay-boot: cut: interrupted by SIGTERM (log: /var/log/overlay-boot/cut.log)\n',
    );
    expect(await sleepers()).to.equal('');
  });

  for (const variable of ['PREMOUNT', 'POSTMOUNT', 'INIT'])
    it(`by its time limit in ${variable}: the hook and its daemon are gone`, async () => {
      const conf = await subhosts.make('late', { CABLES: '=', [variable]: 'endless' }, { hooks: HOOKS });
      const { code, stderr } = await subhosts.boot(['--timeout', '1', conf]);
      expect({ code, stderr }).to.deep.equal({
        code: 1,
        stderr: `overlay-boot: late: not ready within 1 s: it was at: ${variable} (log: /var/log/overlay-boot/late.log)\n`,
      });
      expect(await sleepers()).to.equal('');
    });

  for (const stream of ['1', '2'])
    it(`not by a hook that writes 100 MB to descriptor ${stream}, for which it takes no more memory`, async function () {
      this.timeout(60_000);
      const hooks = { flood: `#!/bin/sh\ndd if=/dev/zero bs=1M count=100 2>/dev/null >&${stream}\n` };
      const conf = await subhosts.make('flood', { POSTMOUNT: '+flood' }, { hooks });
      const preload = join(__dirname, '..', 'helpers', 'tell-memory.cjs');
      const { code, stdout, stderr } = await subhosts.boot([conf], {
        env: { NODE_OPTIONS: `--require=${preload}` },
      });
      expect({ code, stdout }, stderr).to.deep.equal({ code: 0, stdout: 'flood: running\n' });
      expect(Number(stderr), 'KiB resident at most').to.be.below(110_000);
    });

  it('not by a hook that leaves a daemon behind: that one ends with the subhost', async () => {
    const hooks = { daemon: '#!/bin/sh\nsetsid sleep 1006 &\n' };
    await subhosts.up('tail', { PREMOUNT: '+daemon' }, { hooks });
    expect(await sleepers()).to.contain('sleep 1006');
    await subhosts.stop('tail');
    expect(await sleepers()).to.equal('');
  });
});
