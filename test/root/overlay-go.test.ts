import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { expect } from 'chai';
import { eventually, PROJECT, useSandbox } from '../helpers/namespaces.js';
import { AtTerminal, bootCopy } from '../helpers/overlay-go.js';

describe('overlay-go in a pipe', () => {
  const sandbox = useSandbox();
  before(async function () {
    this.timeout(30_000);
    await bootCopy(sandbox());
  });
  const go = async (argv: readonly string[], input?: string | Uint8Array) =>
    await sandbox().run(['overlay-go', ...argv], input === undefined ? {} : { input });

  it('lists the running subhosts, a line each', async () => {
    const { stdout, code } = await go([]);
    expect(stdout).to.match(/^copy +\d+ {2}\/opt\/subhost\/copy\/copy\.conf\n$/);
    expect(code).to.equal(0);
    const [row] = JSON.parse((await go(['--json'])).stdout) as [
      { name: string; state: string; conf: string },
    ];
    expect(row).to.include({ name: 'copy', state: 'running', conf: '/opt/subhost/copy/copy.conf' });
  });

  it('lists for anyone, and enters for root only', async () => {
    const asNobody = ['setpriv', '--reuid=65534', '--clear-groups', 'overlay-go'];
    expect((await sandbox().run(asNobody)).stdout).to.match(/^copy /);
    const { code, stderr } = await sandbox().run([...asNobody, 'copy', 'true']);
    expect([code, stderr]).to.deep.equal([1, 'overlay-go: copy: entering a subhost: must be root\n']);
  });

  it('passes random bytes through unchanged', async () => {
    const bytes = randomBytes(1 << 20);
    const { stdoutBytes, code } = await go(['copy', 'cat'], bytes);
    expect(code).to.equal(0);
    expect(stdoutBytes.equals(bytes)).to.equal(true);
  });

  it('loses nothing at the end of a long output', async () => {
    const script = 'head -c 3000000 /dev/zero | tr "\\0" x; printf END; printf "err END" >&2';
    for (let round = 0; round < 5; round++) {
      const { stdout, stderr } = await go(['copy', 'sh', '-c', script]);
      expect([stdout.length, stdout.slice(-4), stderr]).to.deep.equal([3_000_003, 'xEND', 'err END']);
    }
  }).timeout(30_000);

  const statuses: readonly (readonly [string, readonly string[], number, string])[] = [
    ['an exit status', ['sh', '-c', 'exit 3'], 3, ''],
    ['128+n for a signal', ['sh', '-c', 'kill -TERM $$'], 143, ''],
    ['137 for SIGKILL', ['sh', '-c', 'kill -KILL $$'], 137, ''],
    ['127 for a command that is not there', ['nosuch'], 127, 'overlay-go: copy: nosuch: command not found\n'],
    [
      '126 for what cannot be executed',
      ['/etc/passwd'],
      126,
      'overlay-go: copy: /etc/passwd: Permission denied\n',
    ],
    ['126 for a directory', ['/etc'], 126, 'overlay-go: copy: /etc: Permission denied\n'],
  ];
  for (const [title, argv, expected, message] of statuses)
    it(`gives ${title}`, async () => {
      const { code, stderr } = await go(['copy', ...argv]);
      expect([code, stderr]).to.deep.equal([expected, message]);
    });

  it('passes on the end of input', async () => {
    const { stdout } = await go(['copy', 'wc', '-c'], 'four');
    expect(stdout.trim()).to.equal('4');
  });

  it('ends with its command, although a daemon of it still holds the output', async () => {
    const { stdout, code } = await go(['copy', 'sh', '-c', 'sleep 60 & echo started']);
    expect([stdout, code]).to.deep.equal(['started\n', 0]);
    await go(['copy', 'pkill', '-x', 'sleep']);
  });

  it('lets the command see SIGPIPE when nobody reads its output', async () => {
    const script = 'overlay-go copy sh -c "yes; kill -l \\$? >&2" | head -n 1';
    const { stdout, stderr } = await sandbox().run(['sh', '-c', script]);
    expect([stdout, stderr.trim()]).to.deep.equal(['y\n', 'PIPE']);
  });

  it('goes on when its command closes its input', async () => {
    const script = 'yes | overlay-go copy sh -c "exec <&-; sleep 0.1; echo done"';
    expect((await sandbox().run(['sh', '-c', script])).stdout).to.equal('done\n');
  });

  it('fails when the output cannot be passed on', async () => {
    const { code, stderr } = await sandbox().run(['sh', '-c', 'overlay-go copy echo x >/dev/full']);
    expect(code).to.equal(1);
    expect(stderr).to.equal('overlay-go: cannot pass on output: No space left on device\n');
  });

  for (const signal of ['INT', 'TERM', 'HUP', 'QUIT'] as const)
    it(`passes on SIG${signal}`, async () => {
      const script = `trap 'echo got; exit 9' ${signal}; echo ready; while :; do sleep 0.05; done`;
      const running = sandbox().spawn(['overlay-go', 'copy', 'sh', '-c', script]);
      await eventually('ready', () => running.stdout.includes('ready'));
      running.kill(`SIG${signal}`);
      expect(await running.completed()).to.include({ code: 9, stdout: 'ready\ngot\n' });
    });

  it('is a lost connection for its command when it is killed', async () => {
    const script = 'trap "echo hup; exit" HUP; echo ready; while :; do sleep 0.05; done';
    const running = sandbox().spawn(['overlay-go', 'copy', 'sh', '-c', script]);
    await eventually('ready', () => running.stdout.includes('ready'));
    running.kill('SIGKILL');
    expect(await running.completed()).to.include({ signal: 'SIGKILL', stdout: 'ready\nhup\n' });
  });

  it('passes on one SIGINT for one ^C, when only its output is a pipe', async () => {
    const script = `trap "echo int" INT; echo ready; while ! test -e /tmp/enough; do sleep 0.05; done; echo end`;
    const terminal = new AtTerminal(sandbox(), ['sh', '-c', `overlay-go copy bash -c '${script}' | cat`]);
    let seen = await terminal.sees(/ready/);
    for (let times = 0; times < 10; times++) {
      terminal.type('\x03');
      seen = await terminal.sees(/int/, seen);
    }
    await go(['copy', 'touch', '/tmp/enough']);
    await terminal.sees(/end/, seen);
    expect(terminal.text.match(/int/g)).to.have.length(10);
    expect(await terminal.exits()).to.equal(0);
  });

  it('does not keep a stop waiting while nobody reads its output', async () => {
    await bootCopy(sandbox(), 'stuck');
    const running = sandbox().spawn(['sh', '-c', 'overlay-go stuck yes | (echo reading >&2; exec sleep 60)']);
    await eventually('the reader is there', () => running.stderr.includes('reading'));
    const { code } = await sandbox().run(['overlay-stop', 'stuck'], { timeoutMs: 20_000 });
    expect(code).to.equal(0);
    await sandbox().run(['pkill', '-x', 'sleep']);
    await running.completed();
  }).timeout(40_000);

  it('does not keep a stop waiting while it is stopped itself (^Z)', async () => {
    await bootCopy(sandbox(), 'stuck');
    const group = "echo $$; exec overlay-go stuck sh -c 'echo ready; exec sleep 1000'";
    // Not as nsenter's child, which stops with that.
    const running = sandbox().spawn(['sh', '-c', 'setsid sh -c "$G"; true'], { env: { G: group } });
    await eventually('it is inside', () => running.stdout.includes('ready'), 15_000);
    const leader = running.stdout.split('\n')[0];
    await sandbox().sh(`kill -STOP -${leader}`);
    const { code, stderr } = await sandbox().run(['overlay-stop', '--kill', 'stuck'], { timeoutMs: 20_000 });
    await sandbox().sh(`kill -KILL -${leader}`);
    expect({ code, stderr }).to.deep.equal({ code: 0, stderr: '' });
    await running.completed();
  }).timeout(40_000);

  it('gives a clean environment', async () => {
    const { stdout } = await sandbox().run(['overlay-go', 'copy', '/usr/bin/env'], {
      env: { TERM: 'x;y', SECRET: 'caller', LD_PRELOAD: '' },
    });
    expect(stdout.trim().split('\n').sort()).to.deep.equal([
      'HOME=/root',
      'LANG=C.UTF-8',
      'LOGNAME=root',
      'NAME=copy',
      'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
      'SHELL=/bin/bash',
      'TERM=dumb',
      'USER=root',
      'container=overlay-boot',
    ]);
  });

  it('runs a login shell when there is no command', async () => {
    const { stdout } = await go(['copy'], 'shopt -q login_shell && echo "$0 in $PWD"\n');
    expect(stdout).to.equal('-bash in /root\n');
  });

  it('enters all namespaces of the subhost, its control group, and its root', async () => {
    const kinds = 'mnt net pid uts ipc cgroup'.split(' ');
    const pid = (JSON.parse((await go(['--json'])).stdout) as [{ pid: number }])[0].pid;
    const links = kinds.map((kind) => `/proc/1/ns/${kind} /proc/self/ns/${kind}`).join(' ');
    const inside = await go(['copy', 'sh', '-c', 'hostname; cat /proc/self/cgroup']);
    expect(inside.stdout).to.match(/^copy\n/);
    const wanted = kinds.map((kind) => `/proc/${pid}/ns/${kind}`).join(' ');
    const outer = (await sandbox().sh(`readlink ${wanted}`)).split('\n');
    const entered = (
      await go(['copy', 'sh', '-c', `readlink ${links.replaceAll('/proc/1/ns', '/proc/self/ns')}`])
    ).stdout
      .split('\n')
      .filter((_, index) => index % 2 === 1);
    expect(entered).to.deep.equal(outer.slice(0, kinds.length));
    const record = JSON.parse(await sandbox().readFile('/run/overlay-boot/copy/state.json')) as {
      cgroup?: string;
    };
    if (record.cgroup !== undefined) {
      const running = sandbox().spawn(['overlay-go', 'copy', 'sh', '-c', 'echo ready; exec sleep 60']);
      await eventually('ready', () => running.stdout.includes('ready'));
      const sleeper = (await sandbox().sh('pgrep -x sleep')).trim();
      expect((await sandbox().readFile(`${record.cgroup}/cgroup.procs`)).split('\n')).to.include(sleeper);
      await sandbox().sh(`kill ${sleeper}`);
      expect((await running.completed()).code).to.equal(143);
    }
  });

  it('has the confinement of pid 1, and is no child of it', async () => {
    const { stdout } = await go([
      'copy',
      'sh',
      '-c',
      'grep Cap /proc/1/status; grep Cap /proc/self/status; echo $PPID',
    ]);
    const lines = stdout.trim().split('\n');
    expect(lines.slice(5, 10)).to.deep.equal(lines.slice(0, 5));
    expect(lines[10]).to.equal('0');
  });

  it('becomes another user, with its groups and without capabilities', async () => {
    const script = 'id; pwd; echo $HOME $USER $SHELL; grep CapEff /proc/self/status; echo err >/dev/stderr';
    const { stdout, stderr } = await go(['-u', 'joe', 'copy', 'sh', '-c', script]);
    expect(stdout).to.equal(
      'uid=1000(joe) gid=1000(joe) groups=1000(joe),777(friends)\n/home/joe\n/home/joe joe /bin/sh\nCapEff:\t0000000000000000\n',
    );
    expect(stderr).to.equal('err\n');
    expect((await go(['-u', '1000', 'copy', 'id', '-un'])).stdout).to.equal('joe\n');
  });

  const refusals: readonly (readonly [string, readonly string[], number, string])[] = [
    ['no such user', ['-u', 'nosuch', 'copy', 'id'], 1, 'copy: no such user in its /etc/passwd: nosuch'],
    [
      'a directory that is missing',
      ['-w', '/nosuch', 'copy', 'id'],
      1,
      'copy: cannot change to directory /nosuch: No such file or directory',
    ],
    [
      'a directory that is closed to the user',
      ['-u', 'joe', '-w', '/root', 'copy', 'id'],
      1,
      'copy: cannot change to directory /root: Permission denied',
    ],
    [
      'a relative directory',
      ['-w', 'x', 'copy', 'id'],
      2,
      '-w "x" is not absolute: it is a directory of the subhost',
    ],
    [
      'a subhost that does not run',
      ['nosuch', 'id'],
      1,
      'nosuch: no such subhost is running: running: copy; overlay-boot CONF boots one',
    ],
    [
      'what is no name',
      ['../copy', 'id'],
      1,
      '../copy: no such subhost is running: running: copy; overlay-boot CONF boots one',
    ],
  ];
  for (const [title, argv, expected, message] of refusals)
    it(`refuses ${title}`, async () => {
      const { code, stderr, stdout } = await go(argv);
      expect([code, stderr, stdout]).to.deep.equal([expected, `overlay-go: ${message}\n`, '']);
    });

  it('says so when the subhost has no reaper yet', async () => {
    const path = '/run/overlay-boot/copy/state.json';
    const record = await sandbox().readFile(path);
    await sandbox().writeFile(
      path,
      record.replace('"running"', '"starting"').replace('"ready"', '"services"'),
    );
    const { code, stderr } = await go(['copy', 'id']).finally(() => sandbox().writeFile(path, record));
    expect(code).to.equal(1);
    expect(stderr).to.equal(
      'overlay-go: copy: is starting (services), and its pid 1 has not executed its reaper yet: ' +
        'try again when overlay-boot has ended, or see /var/log/overlay-boot/copy.log\n',
    );
  });

  it('ends with the subhost', async () => {
    await bootCopy(sandbox(), 'short');
    const running = sandbox().spawn(['overlay-go', 'short', 'sh', '-c', 'echo ready; exec sleep 60']);
    await eventually('ready', () => running.stdout.includes('ready'));
    await sandbox().sh('overlay-stop --kill short');
    expect((await running.completed(10_000)).code).to.be.oneOf([137, 143]);
  }).timeout(30_000);

  it('enters no other process that has the pid of pid 1', async () => {
    const init = ['enter', '--name', 'copy', '--pid', '1', '--start', '1', '--', 'id'];
    const { code, stdout, stderr } = await sandbox().run([join(PROJECT, 'dist/init'), ...init]);
    expect([code, stdout, stderr]).to.deep.equal([
      1,
      '',
      'overlay-go: copy: its pid 1 is gone: it has just ended\n',
    ]);
  });

  it('starts in the directory it is told', async () => {
    expect((await go(['-w', '/usr/bin', 'copy', 'pwd'])).stdout).to.equal('/usr/bin\n');
    expect((await go(['copy', '--', 'pwd'])).stdout).to.equal('/root\n');
  });
});

describe('what a subhost can reach of who enters it', () => {
  const sandbox = useSandbox();
  before(async function () {
    this.timeout(30_000);
    await bootCopy(sandbox());
    // The worst case: root inside may look at every process it sees.
    await bootCopy(sandbox(), 'open', 'CAPS=all\n');
    await sandbox().writeFile('/srv/t/secret', 'secret');
  });
  const go = async (name: string, script: string) =>
    await sandbox().run(['sh', '-c', `exec 9</srv/t/secret; exec overlay-go ${name} sh -c '${script}' <&9`]);

  it('is nothing but pipes', async () => {
    const { stdout } = await go('copy', 'cd /proc/self/fd; for fd in *; do readlink $fd; done');
    const links = stdout.trim().split('\n');
    expect(links.slice(0, 3).map((link) => link.replace(/\d+/, 'N'))).to.deep.equal(
      Array(3).fill('pipe:[N]'),
    );
    // What is left is the shell's own directory listing, gone when it was looked at.
    expect(links.length).to.be.at.most(4);
  });

  it('is the same in every process, in copy and in one with all capabilities', async () => {
    for (const name of ['copy', 'open']) {
      const { stdout } = await go(
        name,
        // No pipe: what starts beside it opens its libraries and its locale meanwhile.
        'readlink /proc/[0-9]*/fd/* /proc/[0-9]*/cwd /proc/[0-9]*/root',
      );
      const foreign = stdout
        .trim()
        .split('\n')
        .filter(
          (link) =>
            !/^(pipe:|socket:|anon_inode:|\/dev\/|\/run\/dummy_service|\/root$|\/$|\/proc\/)/.test(link),
        );
      expect(foreign, name).to.deep.equal([]);
    }
  });

  it('is never more, not even for a moment', async () => {
    const watch =
      'end=$((SECONDS+3)); echo ready; while ((SECONDS<end)); do for p in /proc/[1-9]*; do readlink $p/exe $p/fd/*; tr "\\0" "\\n" <$p/environ; done; done 2>/dev/null';
    const running = sandbox().spawn(['overlay-go', 'open', 'bash', '-c', watch]);
    await eventually('the watcher looks', () => running.stdout.includes('ready'));
    for (let round = 0; round < 15; round++)
      await sandbox().run(['sh', '-c', 'exec 9</srv/t/secret; SECRET=caller overlay-go open true']);
    const { stdout } = await running.completed();
    const lines = [...new Set(stdout.split('\n'))];
    expect(lines).to.include('/usr/bin/bash');
    expect(lines.filter((line) => /secret|SECRET|overlay-boot-test/.test(line))).to.deep.equal([]);
  }).timeout(30_000);
});
