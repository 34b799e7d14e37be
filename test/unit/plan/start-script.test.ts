import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { startScript } from '../../../src/plan/start-script.js';

describe('startScript', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'overlay-boot-script-'));
  });
  afterEach(() => {
    rmSync(dir, { recursive: true });
  });

  const program = (name: string, body: string): string => {
    const path = join(dir, name);
    writeFileSync(path, `#!/bin/sh\n${body}\n`);
    chmodSync(path, 0o755);
    return path;
  };
  /** Runs a script as pid 1 would, with /bin/sh, an "init" as $1 and a file as descriptor 3. */
  const run = (script: string): { calls: string; reports: string; status: number | null } => {
    const init = program('init', `echo "init $#" >>${dir}/calls; (echo leaked >&3) 2>/dev/null; exit 9`);
    const reports = join(dir, 'reports');
    const { status } = spawnSync(
      '/bin/sh',
      ['-c', `exec 3>${reports}; exec /bin/sh -c "$S" overlay-boot ${init}`],
      {
        env: { S: script, PATH: `${dir}:/usr/bin:/bin` },
      },
    );
    const read = (path: string): string => readFileSync(path, { encoding: 'utf8', flag: 'a+' });
    return { calls: read(join(dir, 'calls')), reports: read(reports), status };
  };

  it('without services is an exec of the reaper and nothing else', () => {
    expect(startScript({ services: [], passOverMissing: false })).to.equal('exec "$1" 3>&-\n');
    expect(startScript({ services: [], passOverMissing: false }, 'echo x')).to.equal(
      'echo x\nexec "$1" 3>&-\n',
    );
  });

  it('starts services in order, reports those that fail, and becomes the reaper', () => {
    program('service', `echo "service $*" >>${dir}/calls; [ "$1" != bad ]`);
    const own = program('own', `echo "own $*" >>${dir}/calls`);
    const services = ['good', own, 'bad', '/no/such', 'last'];
    expect(run(startScript({ services, passOverMissing: false }))).to.deep.equal({
      calls: 'service good start\nown start\nservice bad start\nservice last start\ninit 0\n',
      reports: 'bad\n/no/such\n',
      status: 9,
    });
  });

  it('closes the descriptor of the reports for every service and the reaper', () => {
    const own = program('own', '(echo leaked >&3) 2>/dev/null; true');
    expect(run(startScript({ services: [own], passOverMissing: false })).reports).to.equal('');
  });

  it('passes over what the default START names and the root does not have', () => {
    program('service', `echo "service $*" >>${dir}/calls`);
    expect(run(startScript({ services: ['no-such-1'], passOverMissing: true })).calls).to.equal('init 0\n');
  });
});
