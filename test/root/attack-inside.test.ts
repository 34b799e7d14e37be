/** Root inside works against the host by what our own programs do for it: their pipes, their waits, their clearing up. */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { eventually, PROJECT } from '../helpers/namespaces.js';
import { useSubhosts } from '../helpers/subhosts.js';

describe('root inside a subhost', () => {
  const subhosts = useSubhosts();

  /** Writes into the pipe for failed services for as long as it can. Shells keep it at several numbers. */
  const flood = (line: string): string => `#!/bin/sh
[ "$1" = start ] || exit 0
for pipe in 3 10 11; do
  [ -p /proc/1/fd/$pipe ] || continue
  [ "$(readlink /proc/1/fd/$pipe)" != "$(readlink /proc/1/fd/1)" ] || continue
  setsid sh -c "exec 9>/proc/1/fd/$pipe; while echo ${line} >&9; do :; done" >/dev/null 2>&1 &
done
(trap '' HUP; exec sleep 1000) >/dev/null 2>&1 &
sleep 0.3
`;

  /** A program of test/helpers, put where root inside can run it. */
  const compile = (source: string, place: string): void => {
    const from = join(PROJECT, 'test', 'helpers', source);
    execFileSync('gcc', ['-O1', '-static', '-o', subhosts.outside(place), from]);
  };

  it('that reports failed services without end is booted, told once, and logs no more', async () => {
    const conf = await subhosts.make('a', { START: '/flood' }, { services: { flood: flood('/flood') } });
    const { code, stdout, stderr } = await subhosts.boot(['--timeout', '10', conf], { timeoutMs: 20_000 });
    expect({ code, stdout, stderr }).to.deep.equal({
      code: 0,
      stdout: 'a: running, degraded: /flood failed to start\n',
      stderr: '',
    });
    expect(subhosts.record('a')?.degraded).to.deep.equal(['/flood']);
    const size = statSync(subhosts.outside('/var/log/overlay-boot/a.log')).size;
    expect(size).to.be.lessThan(200_000);
    await subhosts.sandbox.sh('sleep 0.2');
    expect(statSync(subhosts.outside('/var/log/overlay-boot/a.log')).size).to.equal(size);
  });

  it('cannot make the keeper wait for what was announced and is not there: it reads without waiting', async () => {
    await subhosts.up('a');
    const keeper = subhosts.outside(`/proc/${subhosts.record('a')?.keeper.pid}`);
    const flags = readdirSync(`${keeper}/fd`)
      .filter((fd) => /^pipe:|ptmx$/.test(readlinkSync(`${keeper}/fd/${fd}`)))
      .map((fd) => /^flags:\s*([0-7]+)$/m.exec(readFileSync(`${keeper}/fdinfo/${fd}`, 'utf8'))?.[1] ?? '');
    expect(flags).to.have.lengthOf(2);
    const nonBlocking = 0o4000;
    for (const flag of flags) expect(Number.parseInt(flag, 8) & nonBlocking, flag).to.equal(nonBlocking);
  });

  it('that stops (SIGSTOP) whatever comes in is stopped all the same', async function () {
    this.timeout(30_000);
    subhosts.write('/etc/overlay-boot/conf.d/grace.conf', '[timeouts]\ngrace = 0.4\n');
    const conf = await subhosts.make('a', { START: '/stopper' });
    compile('stop-newcomers.c', `${subhosts.base('a')}/root/stopper`);
    expect((await subhosts.boot([conf])).code).to.equal(0);
    const stopping = subhosts.sandbox.spawn(['overlay-stop', '--timeout', '1', 'a']);
    const { code, stdout } = await stopping.completed(12_000);
    expect({ code, stdout }).to.deep.equal({
      code: 0,
      stdout: 'a: stopped, by SIGKILL after the grace period\n',
    });
    await subhosts.sandbox.sh('rm -r /etc/overlay-boot');
  });

  it('that made control groups in its own leaves none of them', async function () {
    if (subhosts.sandbox.cgroup === undefined) this.skip();
    const conf = await subhosts.up('a', { CAPS: 'all' });
    await subhosts.inside('a', 'mount -t cgroup2 none /srv; mkdir -p /srv/x/y/z /srv/x/w');
    const { code, stderr } = await subhosts.stop('--kill', 'a');
    expect(code, stderr).to.equal(0);
    expect((await subhosts.boot([conf])).code).to.equal(0);
  });

  it('may make no user namespace and use no keys, by none of the ways to ask for it', async function () {
    this.timeout(20_000);
    const start = '#!/bin/sh\n[ "$1" = start ] || exit 0\nexec /calls >/var/calls\n';
    const put = (name: string): void => compile('forbidden-calls.c', `${subhosts.base(name)}/root/calls`);
    const conf = await subhosts.make('a', { START: '/start' }, { services: { start } });
    put('a');
    expect((await subhosts.boot([conf])).code).to.equal(0);
    const refused = 'Operation not permitted';
    const expected = [
      `clone of a user namespace: ${refused}`,
      `unshare of a user namespace: ${refused}`,
      'clone3: Function not implemented',
      `keyctl: ${refused}`,
      `add_key: ${refused}`,
      `request_key: ${refused}`,
      'unshare of open files: allowed',
    ];
    const entered = await subhosts.sandbox.run(['overlay-go', 'a', '/calls']);
    const lines = (text: string): string[] => text.trimEnd().split('\n');
    expect(lines(entered.stdout).slice(0, expected.length)).to.deep.equal(expected);
    for (const line of lines(entered.stdout).slice(expected.length)) expect(line).to.contain(refused);
    const started = await eventually('the service has called', () =>
      subhosts.file(`${subhosts.base('a')}/root/var/calls`),
    );
    expect(started).to.equal(entered.stdout);

    // The check can fail: with all capabilities there is no filter.
    await subhosts.up('b', { CAPS: 'all' });
    put('b');
    expect((await subhosts.sandbox.run(['overlay-go', 'b', '/calls'])).stdout).to.contain('keyctl: allowed');
  });
});
