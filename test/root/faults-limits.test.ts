/** A host that has no room for one process or descriptor more, whose clock jumps, or where the launcher is stopped. */
import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import { type Completed, eventually } from '../helpers/namespaces.js';
import { useSubhosts } from '../helpers/subhosts.js';
import { bootWrapped, toolFor } from '../helpers/tools.js';

describe('a host at its limits', () => {
  const subhosts = useSubhosts();

  /** A boot that had too little of something: it says so in one line of its own, and has taken everything back. */
  const ended = async (argv: readonly string[]): Promise<'booted' | 'refused'> => {
    const { code, stdout, stderr } = await subhosts.sandbox.run(argv);
    if (code === 0) {
      expect({ stdout, stderr }).to.deep.equal({ stdout: 'short: running\n', stderr: '' });
      // A reaper that had no room for the dummy service has no child that SIGTERM would end.
      expect((await subhosts.stop('short')).stdout).to.match(
        /^short: stopped(, by SIGKILL after the grace period)?\n$/,
      );
      return 'booted';
    }
    expect({ code, stdout }).to.deep.equal({ code: 1, stdout: '' });
    expect(stderr).to.match(/^overlay-boot: [^\n]*Resource temporarily unavailable[^\n]*\n$/);
    expect(subhosts.record('short')).to.equal(undefined);
    return 'refused';
  };

  it('without room for a process more: the boot says what could not be made; with room it boots', async function () {
    // Since Linux 6.14 the limit is the pid namespace's own; before, it would be the whole machine's.
    const before = readFileSync('/proc/sys/kernel/pid_max', 'utf8');
    const inside = await subhosts.sandbox.sh(
      'echo 700 >/proc/sys/kernel/pid_max; cat /proc/sys/kernel/pid_max',
    );
    const ownLimit = readFileSync('/proc/sys/kernel/pid_max', 'utf8') === before;
    await subhosts.sandbox.sh(`echo ${ownLimit ? 4194304 : before.trim()} >/proc/sys/kernel/pid_max`);
    if (!ownLimit) this.skip(); // reason: the kernel is older than that
    expect(inside).to.equal('700\n');
    const conf = await subhosts.make('short', { CABLES: 'br0=' });
    await subhosts.sandbox.sh('ip link add br0 type bridge; echo 700 >/proc/sys/kernel/pid_max');
    // Node itself needs about as many threads; with fewer it waits for them without end.
    const [LEAST, ENOUGH] = [7, 24];
    const outcomes = new Set<string>();
    for (let room = LEAST; room <= ENOUGH; room += room < 12 ? 1 : 6)
      outcomes.add(await ended([toolFor(subhosts.sandbox, 'with-room'), String(room), 'overlay-boot', conf]));
    await subhosts.sandbox.sh('ip link del br0; echo 4194304 >/proc/sys/kernel/pid_max');
    expect([...outcomes]).to.deep.equal(['refused', 'booted']);
  });

  it('with few descriptors: boots, or says how many it needs', async () => {
    const conf = await subhosts.make('short', { CABLES: '=' });
    expect(await ended(['prlimit', '--nofile=32:32', 'overlay-boot', conf])).to.equal('booted');
    for (const command of [
      ['overlay-boot', conf],
      ['overlay-stop', 'short'],
      ['boxctl', 'list'],
    ]) {
      const { code, stderr } = await subhosts.sandbox.run(['prlimit', '--nofile=31:31', ...command]);
      expect({ code, stderr }).to.deep.equal({
        code: 1,
        stderr: 'overlay-boot: needs 32 open files: ulimit -n\n',
      });
    }
  });

  it('with no descriptor left for a hook, or for ifup: says so, and has taken everything back', async () => {
    // All but some are taken at the step that runs it: what the command loads has been loaded then.
    const eat = `const fs = require('node:fs');
const { renameSync } = fs;
fs.renameSync = (from, to) => {
  if (/"step": "(cables|PREMOUNT)"/.test(fs.readFileSync(from, 'utf8'))) {
    fs.renameSync = renameSync;
    const taken = [];
    try { for (;;) taken.push(fs.openSync('/dev/null')); } catch {}
    for (const fd of taken.slice(0, Number(process.env.LEFT))) fs.closeSync(fd);
  }
  return renameSync(from, to);
};
`;
    await subhosts.sandbox.writeFile('/srv/t/eat.cjs', eat);
    const hooks = { hook: '#!/bin/sh\n' };
    const boot = async (conf: string, left: number): Promise<Completed> => {
      const env = { NODE_OPTIONS: '--require=/srv/t/eat.cjs', LEFT: String(left) };
      return await subhosts.sandbox.run(['prlimit', '--nofile=64:64', 'overlay-boot', conf], { env });
    };
    for (const [values, program] of [
      [{ PREMOUNT: '+hook' }, '\\S*nsenter'],
      [{ CABLES: '=' }, '\\S*/ifup'],
    ] as const) {
      const conf = await subhosts.make('short', values, { hooks });
      for (const left of [2, 5, 8]) {
        const { code, stdout, stderr } = await boot(conf, left);
        expect({ code, stdout }, stderr).to.deep.equal({ code: 1, stdout: '' });
        expect(stderr).to.match(
          new RegExp(
            `^overlay-boot: short: cannot run ${program}: too many open files \\(EMFILE\\): raise the limit of them: ulimit -n \\(log: \\S+\\)\\n$`,
          ),
        );
        expect(subhosts.record('short')).to.equal(undefined);
      }
      expect((await boot(conf, 24)).stdout).to.equal('short: running\n');
      await subhosts.stop('--kill', 'short');
    }
  }).timeout(60_000);

  it('with a clock that jumps back and forth: boots and stops, and waits neither too long nor too short', async () => {
    const jump = 'const now = Date.now; let n = 0; Date.now = () => now() + (n++ % 2 ? 1e12 : -1e12);\n';
    await subhosts.sandbox.writeFile('/srv/t/jump.cjs', jump);
    const env = { NODE_OPTIONS: '--require=/srv/t/jump.cjs' };
    const services = { late: '#!/bin/sh\ntrap "" TERM\n[ "$1" = stop ] || { sleep 1001 & }\n' };
    const conf = await subhosts.make('jumpy', { CABLES: '=', START: '/late' }, { services });
    const boot = await subhosts.boot([conf], { env });
    expect([boot.stdout, boot.stderr]).to.deep.equal(['jumpy: running\n', '']);
    const again = await subhosts.boot([conf], { env });
    expect([again.stdout, again.stderr]).to.deep.equal(['jumpy: already running\n', '']);
    const stop = await subhosts.sandbox.run(['overlay-stop', 'jumpy'], { env });
    expect([stop.code, stop.stderr]).to.deep.equal([0, '']);
  });

  describe('where the launcher is stopped (SIGSTOP)', () => {
    it('before it does anything: the boot waits no longer than its limit', async () => {
      const conf = await subhosts.make('still', { CABLES: '=' });
      const stopped = ['/bin/sh', '-c', 'echo $$ >/srv/t/pid; kill -STOP $$; exec "$@"', 'launcher'];
      const args = ['--timeout', '1', conf];
      const boot = subhosts.sandbox.spawn(bootWrapped(subhosts.sandbox, stopped, args));
      await eventually('it has given up', () => boot.child.exitCode !== null, 20_000);
      await subhosts.sandbox.sh('kill -CONT $(cat /srv/t/pid)');
      const { code, stdout, stderr } = await boot.completed();
      expect({ code, stdout }).to.deep.equal({ code: 1, stdout: '' });
      expect(stderr).to.equal(
        'overlay-boot: still: the launcher does not answer within 1 s: is it stopped (SIGSTOP)?\n',
      );
    });

    it('in the middle of a boot: it is named, and once it goes on nothing is left', async () => {
      const slow = '#!/bin/sh\nsleep 1001\n';
      const conf = await subhosts.make('still', { CABLES: '=', PREMOUNT: 'slow' }, { hooks: { slow } });
      const boot = subhosts.sandbox.spawn(['overlay-boot', '--timeout', '2', conf]);
      await eventually('the hook runs', () => subhosts.record('still')?.step === 'PREMOUNT');
      const keeper = subhosts.record('still')?.keeper.pid;
      const launcher = (await subhosts.sandbox.sh(`ps -o ppid= -p ${keeper}`)).trim();
      await subhosts.sandbox.sh(`kill -STOP ${launcher}`);
      await eventually('it has given up', () => boot.child.exitCode !== null, 20_000);
      await subhosts.sandbox.sh(`kill -CONT ${launcher}`);
      const { code, stderr } = await boot.completed();
      expect(code).to.equal(1);
      expect(stderr).to.contain('still: not ready within 2 s: it was at: PREMOUNT');
      expect(stderr).to.contain(
        `still: left behind: the launcher, process ${launcher}, is stopped (SIGSTOP): kill -CONT it`,
      );
      await subhosts.gone('still');
    });
  });
});
