/** DESIGN.md, invariant 9: no descriptor of the caller or of the host crosses into a subhost. */
import { existsSync, readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { expect } from 'chai';
import { eventually } from '../helpers/namespaces.js';
import { useSubhosts } from '../helpers/subhosts.js';

describe('descriptors', () => {
  const subhosts = useSubhosts();

  const service = '#!/bin/sh\n[ "$1" = start ] || exit 0\nsetsid sleep 1001 &\necho started\n';
  const hooks = { hook: '#!/bin/sh\nsetsid sleep 1002 &\n' };

  /** With descriptors of the host open, also beyond those that Node looks after by itself. */
  async function bootWithOpenFiles(conf: string): Promise<void> {
    await subhosts.sandbox.writeFile('/srv/t/secret', 'secret\n');
    const script =
      'exec 9</srv/t/secret 55<>/srv/t/secret 200>>/srv/t/lock; flock 200; exec overlay-boot "$0"';
    const { code, stderr } = await subhosts.sandbox.run(['bash', '-c', script, conf]);
    expect({ code, stderr }).to.deep.equal({ code: 0, stderr: '' });
  }

  /** Processes of a pid namespace, as the sandbox numbers them. */
  function processesWith(pid: number): string[] {
    const namespace = statSync(subhosts.outside(`/proc/${pid}/ns/pid`)).ino;
    return readdirSync(subhosts.outside('/proc')).filter(
      (name) => /^\d+$/.test(name) && namespaceOf(name) === namespace,
    );
  }

  function namespaceOf(pid: string): number | undefined {
    const path = subhosts.outside(`/proc/${pid}/ns/pid`);
    return existsSync(path) ? statSync(path).ino : undefined;
  }

  /** `PID FD PATH` of what processes have open on a mount of the host. */
  function openOnTheHost(pids: readonly string[]): string[] {
    const mounts = readFileSync(subhosts.outside('/proc/1/mountinfo'), 'utf8').split('\n');
    const ids = new Set(mounts.map((line) => line.split(' ')[0]));
    return pids.flatMap((pid) => {
      const directory = subhosts.outside(`/proc/${pid}`);
      return readdirSync(`${directory}/fd`).flatMap((fd) => {
        const [, id] = /^mnt_id:\s*(\d+)$/m.exec(readFileSync(`${directory}/fdinfo/${fd}`, 'utf8')) ?? [];
        return ids.has(id) ? `${pid} ${fd} ${readlinkSync(`${directory}/fd/${fd}`)}` : [];
      });
    });
  }

  it('of the host are in no process of a subhost: not in pid 1, a service, or what a hook left', async () => {
    const values = { CABLES: '=', START: '/service', PREMOUNT: '+hook', POSTMOUNT: '+hook' };
    const conf = await subhosts.make('sealed', values, { services: { service }, hooks });
    await bootWithOpenFiles(conf);
    const pids = processesWith(subhosts.pid1('sealed'));
    expect(pids.length, String(pids)).to.be.at.least(4);
    const started = pids.filter(
      (pid) => !/1002/.test(readFileSync(subhosts.outside(`/proc/${pid}/cmdline`), 'utf8')),
    );
    expect(openOnTheHost(started)).to.deep.equal([]);
    // What a hook started has the hook's output, and nothing else.
    const left = pids.filter((pid) => !started.includes(pid));
    expect(left).to.have.length(2);
    expect(
      left.flatMap((pid) => readdirSync(subhosts.outside(`/proc/${pid}/fd`))).filter((fd) => Number(fd) > 2),
    ).to.deep.equal([]);
    const seen = await subhosts.inside(
      'sealed',
      'ls -l /proc/1/fd /proc/1/cwd /proc/1/root; ls -l /proc/[0-9]*/fd',
    );
    expect(seen).not.to.contain('/srv/t').and.not.to.contain('/opt/subhost');
  });

  it('of a caller that holds a lock: it is free when the caller has ended', async () => {
    const conf = await subhosts.make('sealed', { START: '/service' }, { services: { service } });
    await bootWithOpenFiles(conf);
    expect(await subhosts.sandbox.sh('flock -n /srv/t/lock echo free')).to.equal('free\n');
    const { keeper } = subhosts.record('sealed') ?? {};
    const directory = subhosts.outside(`/proc/${keeper?.pid}/fd`);
    const links = readdirSync(directory).map((fd) => readlinkSync(`${directory}/${fd}`));
    expect(links.filter((link) => link.startsWith('/srv'))).to.deep.equal([]);
  });

  it('number 3, on which the start script reports, is closed in what it starts', async () => {
    await subhosts.up('sealed', { START: '/service' }, { services: { service } });
    const directories = processesWith(subhosts.pid1('sealed')).map((pid) =>
      subhosts.outside(`/proc/${pid}/fd`),
    );
    expect(
      directories
        .flatMap((directory) => readdirSync(directory))
        .filter((fd) => Number(fd) === 3 || Number(fd) > 9),
    ).to.deep.equal([]);
  });

  it('that do cross would be found', async () => {
    await subhosts.up('leaky');
    await subhosts.sandbox.writeFile('/srv/t/secret', 'secret\n');
    const pid = subhosts.pid1('leaky');
    const leak = subhosts.sandbox.spawn([
      'bash',
      '-c',
      `exec 9</srv/t/secret; exec nsenter --target=${pid} --pid --mount -- sleep 1003`,
    ]);
    const pids = await eventually('it is inside', () => {
      const found = processesWith(pid).filter((one) =>
        readFileSync(subhosts.outside(`/proc/${one}/cmdline`), 'utf8').startsWith('sleep'),
      );
      return found.length > 0 && found;
    });
    expect(openOnTheHost(pids).join()).to.contain('9 ').and.to.contain('secret');
    await subhosts.stop('leaky');
    await leak.completed();
  });
});
