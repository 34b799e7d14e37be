import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import { quoteCommand, runProgram } from '../../../src/sys/run.js';

const failureOf = async (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'no failure',
    (error: Error) => error.message,
  );

describe('runProgram', () => {
  it('gives stdout and stderr without their last newline, and the exit status', async () => {
    const result = await runProgram(['sh', '-c', 'echo out; echo err >&2']);
    expect(result).to.deep.equal({ stdout: 'out', stderr: 'err', exitCode: 0 });
  });

  it('gives the program a clean environment and what was asked for', async () => {
    process.env.OVERLAY_TEST_SECRET = 'x';
    const { stdout } = await runProgram(['env'], { env: { ACTION: 'check' } });
    delete process.env.OVERLAY_TEST_SECRET;
    expect(stdout.split('\n').sort()).to.deep.equal([
      'ACTION=check',
      'HOME=/root',
      'LANG=C.UTF-8',
      'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    ]);
  });

  it('hands input to the program, and /dev/null where there is none', async () => {
    expect((await runProgram(['cat'], { input: 'a\nb' })).stdout).to.equal('a\nb');
    expect((await runProgram(['cat'])).stdout).to.equal('');
  });

  const failures: readonly [string, readonly string[], object, string][] = [
    [
      'names the status and the last line of stderr',
      ['sh', '-c', 'echo a >&2; echo b >&2; exit 3'],
      {},
      "sh -c 'echo a >&2; echo b >&2; exit 3': exit status 3: b",
    ],
    ['names the directory', ['false'], { cwd: '/tmp' }, '(cd /tmp && false): exit status 1'],
    ['puts the context first', ['false'], { context: 'CABLES' }, 'CABLES: false: exit status 1'],
    ['names the signal', ['sh', '-c', 'kill -9 $$'], {}, "sh -c 'kill -9 $$': ended by SIGKILL"],
    [
      'says that there is no such program',
      ['no-such-program-here', 'x'],
      {},
      'no-such-program-here x: no such program or directory',
    ],
    ['says that time is up', ['sleep', '60'], { timeoutMs: 50 }, 'sleep 60: not done within 0.05 s'],
  ];
  for (const [title, argv, options, message] of failures)
    it(`on a failure ${title}`, async () =>
      expect(await failureOf(runProgram(argv, options))).to.equal(message));

  it('takes an exit status that is allowed for no failure', async () => {
    expect((await runProgram(['sh', '-c', 'exit 2'], { okCodes: [0, 2] })).exitCode).to.equal(2);
  });

  it("ends the program's children too when time is up", async () => {
    const script = 'sleep 60 & echo $!; echo $! >&2; wait';
    const message = await failureOf(runProgram(['sh', '-c', script], { timeoutMs: 200 }));
    const pid = Number(message.split(': ').at(-1));
    expect(pid).to.be.greaterThan(1);
    const state = (): string => {
      try {
        return readFileSync(`/proc/${pid}/stat`, 'utf8')
          .replace(/^.*\) /, '')
          .charAt(0);
      } catch {
        return 'gone';
      }
    };
    const deadline = Date.now() + 5000;
    while (!['gone', 'Z'].includes(state()) && Date.now() < deadline)
      await new Promise((done) => setTimeout(done, 5));
    expect(state()).to.be.oneOf(['gone', 'Z']);
  });

  it('does not wait for a daemon that keeps the output open', async () => {
    const started = Date.now();
    const { stdout } = await runProgram(['sh', '-c', 'sleep 5 & echo $!']);
    process.kill(Number(stdout));
    expect(Date.now() - started).to.be.lessThan(3000);
  });
});

describe('quoteCommand', () => {
  const cases: readonly [readonly string[], string][] = [
    [['mount', '-o', 'loop,offset=512', '/a/b.img'], 'mount -o loop,offset=512 /a/b.img'],
    [['echo', 'a b', ''], "echo 'a b' ''"],
    [['echo', "it's"], "echo 'it'\\''s'"],
    [['echo', '$x;`id`'], "echo '$x;`id`'"],
    [['echo', 'a\nb'], "echo 'a'$'\\n''b'"],
  ];
  for (const [argv, line] of cases) it(`writes ${line}`, () => expect(quoteCommand(argv)).to.equal(line));
});
