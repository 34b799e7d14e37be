/** Values of a conf that commands print. */
import { expect } from 'chai';
import { PROJECT } from '../helpers/namespaces.js';
import { BASE_ROOT, useSubhosts } from '../helpers/subhosts.js';

describe('overlay-boot: !commands', () => {
  const subhosts = useSubhosts();
  const base = '/opt/subhost/a';

  it('run in BASE with CONFIG, NAME and ACTION, in a clean environment with this project on PATH', async () => {
    const conf = await subhosts.make('a', {
      BASE: '../a/',
      LOWER: `!env >seen; pwd >>seen; echo ${BASE_ROOT}`,
    });
    const { code, stderr } = await subhosts.boot([conf], { env: { SECRET: 'of the caller' }, cwd: '/' });
    expect(code, stderr).to.equal(0);
    const seen = (subhosts.file(`${base}/seen`) ?? '').trim().split('\n');
    const directory = seen.pop();
    const names = seen.map((line) => line.split('=')[0]);
    expect(directory).to.equal(base);
    expect(seen).to.include.members([`CONFIG=${conf}`, 'NAME=a', 'ACTION=overlay-boot']);
    expect(names.filter((name) => !['PWD', 'SHLVL', '_', 'OLDPWD'].includes(name ?? ''))).to.have.members([
      ...['PATH', 'HOME', 'LANG', 'CONFIG', 'NAME', 'ACTION'],
    ]);
    const path = seen.find((line) => line.startsWith('PATH='));
    expect(path?.split(':').at(-1)).to.equal(`${PROJECT}/bin`);
  });

  for (const [option, action] of [
    ['--check', 'check'],
    ['--plan', 'plan'],
  ] as const)
    it(`run with ${option} too, with ACTION ${action} and NAME`, async () => {
      const conf = await subhosts.make('a', {
        LOWER: `!echo "$ACTION $NAME $CONFIG" >seen; echo ${BASE_ROOT}`,
      });
      const { code, stderr } = await subhosts.boot([option, conf]);
      expect(code, stderr).to.equal(0);
      expect(subhosts.file(`${base}/seen`)).to.equal(`${action} a ${conf}\n`);
    });

  it('are shown and not run with --no-eval', async () => {
    const conf = await subhosts.make('a', { LOWER: '! touch seen; echo x', NAME: '!echo b' });
    for (const option of ['--check', '--plan']) {
      const { code, stdout, stderr } = await subhosts.boot([option, '--no-eval', conf]);
      expect(code, stderr).to.equal(0);
      expect(stdout).to.include('\nLOWER=! touch seen; echo x\n');
      expect(stdout).to.include('NAME=!echo b\n');
    }
    expect(subhosts.file(`${base}/seen`)).to.equal(undefined);
  });

  it('run once each', async () => {
    const conf = await subhosts.make('a', {
      BASE: '!echo base >>/srv/t/count; echo .',
      NAME: '!echo name >>/srv/t/count; echo a',
      LOWER: `!echo lower >>/srv/t/count; echo ${BASE_ROOT}`,
    });
    const { code, stderr } = await subhosts.boot([conf]);
    expect(code, stderr).to.equal(0);
    expect(await subhosts.sandbox.sh('cat count; rm count')).to.equal('base\nname\nlower\n');
  });

  it("of BASE runs in the conf's directory, one of NAME in BASE", async () => {
    const conf = await subhosts.make('a', {
      BASE: '!pwd >/srv/t/seen; echo sub',
      NAME: '!pwd >>/srv/t/seen; echo b',
    });
    await subhosts.sandbox.sh('mkdir sub; mv root work live sub', { cwd: base });
    const { code, stdout, stderr } = await subhosts.boot([conf], { cwd: '/' });
    expect({ code, stdout, stderr }).to.deep.equal({ code: 0, stdout: 'b: running\n', stderr: '' });
    expect(await subhosts.sandbox.sh('cat seen; rm seen')).to.equal(`${base}\n${base}/sub\n`);
  });

  it('give the first line they print, trimmed of blanks, and it is not evaluated again', async () => {
    const conf = await subhosts.make('a', { LOWER: `!printf ' \\t!echo x  \\r\\nsecond\\n'` });
    await subhosts.sandbox.sh(`ln -s ${BASE_ROOT} '!echo x'`, { cwd: base });
    const { code, stderr } = await subhosts.boot([conf]);
    expect(code, stderr).to.equal(0);
    expect(subhosts.record('a')?.lower).to.deep.equal([`${base}/!echo x`]);
  });

  it('keep a no-break space at the ends of what they print', async () => {
    const conf = await subhosts.make('a', { LOWER: `!printf '\\302\\240\\n'` });
    await subhosts.sandbox.sh(`ln -s ${BASE_ROOT} "$(printf '\\302\\240')"`, { cwd: base });
    const { code, stderr } = await subhosts.boot([conf]);
    expect(code, stderr).to.equal(0);
  });

  it('may mount, which nobody else sees and which is gone after', async () => {
    await subhosts.up('a', {
      LOWER: `!mkdir -p mnt && mount -t tmpfs t mnt && cp -a ${BASE_ROOT}/. mnt && echo here >mnt/proof && echo mnt`,
    });
    expect(await subhosts.inside('a', 'cat /proof')).to.equal('here\n');
    expect(await subhosts.sandbox.sh('ls -A mnt', { cwd: base })).to.equal('');
    await subhosts.stop('a');
    expect(await subhosts.sandbox.sh('ls -A mnt; rmdir mnt', { cwd: base })).to.equal('');
  });

  it('may mount what UPPER and WORK are on', async () => {
    const conf = await subhosts.make('a', {
      UPPER: '!mkdir -p mnt && mount -t tmpfs t mnt && mkdir mnt/u mnt/w && echo mnt/u',
      WORK: '!echo mnt/w',
    });
    const { code, stderr } = await subhosts.boot([conf]);
    expect(code, stderr).to.equal(0);
    await subhosts.inside('a', 'echo x >/proof');
    expect(await subhosts.sandbox.sh('ls -A mnt', { cwd: base })).to.equal('');
  });

  const failures: readonly [string, string, string][] = [
    [
      'that fail',
      '!echo first >&2; echo second >&2; exit 3',
      'LOWER: echo first >&2; echo second >&2; exit 3: exit status 3: first | second',
    ],
    ['that print nothing', '!true', 'LOWER: the command printed nothing: true: its first line is the value'],
    [
      'that print an empty line first',
      '!echo; echo x',
      'LOWER: the command printed nothing: echo; echo x: its first line is the value',
    ],
    ['that do not exist', '!/no/such', 'LOWER: /no/such: exit status 127: /bin/sh: 1: /no/such: not found'],
  ];
  for (const [title, command, message] of failures) {
    it(`${title} fail the boot, with the variable and what they wrote to stderr`, async () => {
      const conf = await subhosts.make('a', { LOWER: command });
      expect(await subhosts.refused(conf, { code: 2 })).to.deep.equal([
        `overlay-boot: ${conf}:2: ${message}`,
      ]);
    });

    it(`${title} fail --check, in the same words`, async () => {
      const conf = await subhosts.make('a', { LOWER: command });
      expect(await subhosts.refused(conf, { code: 2, options: ['--check'] })).to.deep.equal([
        `overlay-boot: ${conf}:2: ${message}`,
      ]);
    });
  }

  it('that do not end are ended with the boot', async () => {
    const conf = await subhosts.make('a', { LOWER: '!sleep 1000' });
    expect(await subhosts.refused(conf, { options: ['--timeout', '0.5'] })).to.deep.equal([
      'overlay-boot: a: not ready within 0.5 s: it was at: commands',
    ]);
  });

  it('leave nothing in the background on the host', async () => {
    await subhosts.up('a', { LOWER: `!sleep 1000 >/dev/null 2>&1 & echo ${BASE_ROOT}` });
    await subhosts.stop('a');
  });

  it('that print a wrong value fail the boot with the mistake', async () => {
    const conf = await subhosts.make('a', { RAM_SIZE: '!echo much' });
    const lines = await subhosts.refused(conf, { code: 2 });
    expect(lines.join('\n')).to.match(/^overlay-boot: \S+a\.conf:4: RAM_SIZE: "much" /);
  });

  it('are none where SHARE begins with an exclamation mark', async () => {
    const conf = await subhosts.make('a', { SHARE: '!share' });
    await subhosts.sandbox.sh("mkdir '!share'; echo x >'!share/file'", { cwd: base });
    const { code, stderr } = await subhosts.boot([conf]);
    expect(code, stderr).to.equal(0);
    expect(await subhosts.inside('a', `cat '${base}/!share/file'`)).to.equal('x\n');
  });

  it('are looked at again when the subhost boots, not when it runs already', async () => {
    const conf = await subhosts.up('a', { LOWER: `!echo ran >>/srv/t/count; echo ${BASE_ROOT}` });
    expect((await subhosts.boot([conf])).stdout).to.equal('a: already running\n');
    expect(await subhosts.sandbox.sh('cat count; rm count')).to.equal('ran\n');
  });
});
