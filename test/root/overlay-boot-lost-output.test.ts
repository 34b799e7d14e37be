/** What an administrator meets: output that nobody reads, a damaged record, a habit of umask 077, reasons in the log. */
import { expect } from 'chai';
import { eventually } from '../helpers/namespaces.js';
import { useSubhosts } from '../helpers/subhosts.js';

describe('overlay-boot and overlay-stop in daily life', () => {
  const subhosts = useSubhosts();
  const running = async (): Promise<string[]> => {
    const { stdout } = await subhosts.sandbox.run(['overlay-status', '--json']);
    return (JSON.parse(stdout) as { name: string; state: string }[]).map(
      ({ name, state }) => `${name} ${state}`,
    );
  };

  it('boot and stop all of them when nobody reads what they print', async () => {
    const confs = [await subhosts.make('a'), await subhosts.make('b'), await subhosts.make('c')];
    await subhosts.sandbox.sh(`overlay-boot ${confs.join(' ')} | true`);
    expect(await running()).to.deep.equal(['a running', 'b running', 'c running']);
    await subhosts.sandbox.sh('overlay-stop --all | true');
    expect(await running()).to.deep.equal([]);
  });

  it('stop all of them when stdout is on a full disk, and say so in a line', async () => {
    const confs = [await subhosts.make('a'), await subhosts.make('b')];
    await subhosts.sandbox.run(['overlay-boot', ...confs]);
    const { code, stderr } = await subhosts.sandbox.run(['/bin/sh', '-c', 'overlay-stop --all >/dev/full']);
    expect([code, stderr]).to.deep.equal([
      1,
      'overlay-stop: cannot write to stdout: no space left on device (ENOSPC)\n',
    ]);
    expect(await running()).to.deep.equal([]);
  });

  it('stop a subhost whose record is damaged', async () => {
    await subhosts.up('a', { CABLES: '=' });
    subhosts.write('/run/overlay-boot/a/state.json', '{');
    const { code, stdout, stderr } = await subhosts.sandbox.run(['overlay-stop', 'a']);
    expect([code, stdout]).to.deep.equal([0, 'a: stopped\n']);
    expect(stderr).to.match(
      /^overlay-stop: \S+state\.json is no record of a subhost: overlay-stop a clears it\n$/,
    );
  });

  it('show what runs to anyone, though it was booted with umask 077', async () => {
    const conf = await subhosts.make('a');
    await subhosts.sandbox.sh(`umask 077; overlay-boot ${conf}; overlay-share /srv/t a /new/place`);
    const nobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];
    const { stdout } = await subhosts.sandbox.run([...nobody, 'overlay-status', '--json']);
    expect((JSON.parse(stdout) as { state: string }[]).map(({ state }) => state)).to.deep.equal(['running']);
    expect(await subhosts.inside('a', 'stat -c %a /new')).to.equal('755\n');
  });

  it('stay in the foreground of one that runs already, until it ends', async () => {
    const conf = await subhosts.up('a').then(() => '/opt/subhost/a/a.conf');
    const foreground = subhosts.sandbox.spawn(['overlay-boot', '--foreground', conf]);
    const { stdout } = foreground.child;
    await new Promise((printed) => stdout?.once('data', printed));
    expect(foreground.child.exitCode).to.equal(null);
    await subhosts.sandbox.run(['overlay-stop', 'a']);
    await eventually('the end of the foreground', () => foreground.child.exitCode === 0);
  });

  it('leave the reason of a failed boot as the last line of the log', async () => {
    const conf = await subhosts.make('a', { PREMOUNT: 'hook' }, { hooks: { hook: '#!/bin/sh\nexit 3\n' } });
    await subhosts.refused(conf);
    expect(subhosts.log('a').trimEnd().split('\n').at(-1)).to.match(
      /overlay-boot: a: boot failed: PREMOUNT: \S+hook \S+root: exit status 3$/,
    );
  });

  it('log what a service prints while it stops, and that it failed', async () => {
    const svc = '#!/bin/sh\n[ "$1" = start ] || { echo "cannot let go" >&2; exit 1; }\n';
    await subhosts.up('a', { START: '/svc' }, { services: { svc } });
    const { stderr } = await subhosts.sandbox.run(['overlay-stop', 'a']);
    expect(stderr).to.equal('overlay-stop: a: service /svc failed to stop: cannot let go\n');
    expect(subhosts.log('a')).to.include('cannot let go\noverlay-stop: service /svc failed to stop\n');
  });
});
