import { expect } from 'chai';
import { eventually, useSandbox } from '../helpers/namespaces.js';
import { AtTerminal, bootCopy } from '../helpers/overlay-go.js';

describe('overlay-go on a terminal', () => {
  const sandbox = useSandbox();
  const sessions: AtTerminal[] = [];
  before(async function () {
    this.timeout(30_000);
    await bootCopy(sandbox());
  });
  afterEach(() => {
    for (const session of sessions.splice(0)) session.hangUp();
  });

  function atTerminal(argv: readonly string[], env: Record<string, string> = {}): AtTerminal {
    const terminal = new AtTerminal(sandbox(), argv, { env });
    sessions.push(terminal);
    return terminal;
  }
  async function login(): Promise<AtTerminal> {
    const terminal = atTerminal(['overlay-go', 'copy']);
    await terminal.answers('PS1=; echo "<$?>"', /<0>/);
    return terminal;
  }

  it('gives the exit status of the shell', async () => {
    const terminal = await login();
    terminal.type('exit 5\r');
    expect(await terminal.exits()).to.equal(5);
  });

  it('shows a new size at once', async () => {
    const terminal = await login();
    await terminal.answers('stty size', /^24 80\r$/m);
    await terminal.answers('trap "echo changed" WINCH; echo se""t', /set/);
    const from = terminal.seen.length;
    terminal.resize(100, 30);
    await terminal.sees(/changed/, from);
    await terminal.answers('stty size', /^30 100\r$/m);
  });

  it('interrupts with ^C', async () => {
    const terminal = await login();
    await terminal.answers('sh -c "echo r\\un; exec sleep 60"', /run/);
    const from = terminal.seen.length;
    terminal.type('\x03');
    await terminal.sees(/\^C/, from);
    await terminal.answers('echo "<$?>"', /<130>/);
  });

  it('stops with ^Z, and goes on with fg', async () => {
    const terminal = await login();
    await terminal.answers('sh -c "echo r\\un; exec sleep 60"', /run/);
    let from = terminal.seen.length;
    terminal.type('\x1a');
    await terminal.sees(/Stopped/, from);
    await terminal.answers('jobs', /\[1\]\+ +Stopped/);
    from = await terminal.answers('fg', /sh -c/);
    terminal.type('\x03');
    await terminal.sees(/\^C/, from);
    await terminal.answers('echo "<$?>"', /<130>/);
  });

  it('has a terminal with a name that exists inside, of its user', async () => {
    const terminal = atTerminal(['overlay-go', '-u', 'joe', 'copy']);
    await terminal.answers(
      'test -c "$(tty)" && tty && stat -c "%U %a" "$(tty)" && : >"$(tty)" && echo o""k',
      /\/dev\/pts\/\d+\r\njoe 620\r\nok/,
    );
  });

  it('starts full-screen programs', async () => {
    const terminal = await login();
    await terminal.answers('less /etc/passwd', /\/etc\/passwd/);
    await terminal.answers('q', /./);
    terminal.type('tmux\r');
    await terminal.sees(/\[0\]/);
    await terminal.answers('stty size', /23 80/);
    terminal.type('exit\r');
    await terminal.sees(/\[exited\]/);
    terminal.type('exit\r');
    expect(await terminal.exits()).to.equal(0);
  });

  it('loses nothing at the end of a long output, and adds nothing', async () => {
    const line = `${'x'.repeat(59)}\r\n`;
    for (let round = 0; round < 6; round++) {
      const script = `yes ${'x'.repeat(59)} | head -n 50000; printf END; exit 4`;
      const terminal = atTerminal(['overlay-go', 'copy', 'sh', '-c', script]);
      expect(await terminal.exits(30_000)).to.equal(4);
      expect(terminal.seen.length).to.equal(50_000 * line.length + 3);
      expect(terminal.text === `${line.repeat(50_000)}END`).to.equal(true);
    }
  }).timeout(120_000);

  it('passes bytes through', async () => {
    const terminal = atTerminal([
      'overlay-go',
      'copy',
      'sh',
      '-c',
      'stty raw -echo; printf "\\002ready\\377"; head -c 256 | od -An -v -tu1 -w256',
    ]);
    await terminal.sees(/ready\xff/);
    terminal.type(Buffer.from(Array.from({ length: 256 }, (_, byte) => byte)).toString('latin1'));
    expect(await terminal.exits()).to.equal(0);
    expect(terminal.text.slice(7).trim().split(/ +/).length).to.be.greaterThan(255);
  });

  it('takes what was typed before it was ready', async () => {
    const terminal = atTerminal(['overlay-go', 'copy', 'sh', '-c', 'read line; echo "<$line>"']);
    terminal.type('early\r');
    await terminal.sees(/<early>/);
    expect(await terminal.exits()).to.equal(0);
  });

  it('passes on TERM, where it is a plain name', async () => {
    for (const [term, inside] of [
      ['xterm-256color', 'xterm-256color'],
      ['x;y', 'linux'],
    ] as const) {
      const terminal = atTerminal(['overlay-go', 'copy', 'sh', '-c', 'echo "<$TERM>"'], { TERM: term });
      expect(await terminal.exits()).to.equal(0);
      expect(terminal.text).to.equal(`<${inside}>\r\n`);
    }
  });

  it('says in one line what it refuses', async () => {
    const terminal = atTerminal(['overlay-go', '-u', 'nosuch', 'copy']);
    expect(await terminal.exits()).to.equal(1);
    expect(terminal.text).to.equal('overlay-go: copy: no such user in its /etc/passwd: nosuch\r\n');
  });

  it('keeps stderr apart where that goes elsewhere', async () => {
    const script = 'overlay-go copy sh -c "echo out; echo err >&2" 2>/srv/t/err';
    const terminal = atTerminal(['sh', '-c', script]);
    expect(await terminal.exits()).to.equal(0);
    expect([terminal.text, await sandbox().readFile('/srv/t/err')]).to.deep.equal(['out\r\n', 'err\n']);
  });

  it("leaves the caller's terminal as it was, however it ends", async () => {
    const endings: readonly (readonly [string, number])[] = [
      ['exit 3', 3],
      ['kill -TERM', 143],
      ['kill -HUP', 129],
      ['kill -KILL', 137],
    ];
    // Only after a SIGKILL the terminal may be set back a moment later.
    const callerScript = `modes=$(stty -g); echo $modes; overlay-go copy; s=$?
      [ $s -ne 137 ] || for i in {1..50}; do [ "$(stty -g)" = "$modes" ] && break; sleep 0.1; done
      echo; stty -g; echo "<$s>"`;
    for (const [ending, status] of endings) {
      const terminal = atTerminal(['bash', '-c', callerScript]);
      await terminal.answers('PS1=; echo in""side', /inside/);
      if (ending.startsWith('kill'))
        await sandbox().sh(`pkill${ending.slice(4)} -f 'node .*/overlay-go copy$'`);
      else terminal.type(`${ending}\r`);
      await terminal.sees(new RegExp(`<${status}>`));
      const modes = terminal.text.match(/^[0-9a-f]+(:[0-9a-f]+){10,}\r$/gm) ?? [];
      expect(modes.length, ending).to.equal(2);
      expect(modes[1], ending).to.equal(modes[0]);
      await eventually('nothing of it is left', async () => {
        return (await sandbox().run(['pgrep', '-f', 'init enter|overlay-go copy$'])).code === 1;
      });
    }
  }).timeout(60_000);

  it('hangs up inside when the terminal goes away', async () => {
    const script = 'trap "echo hup >/tmp/hup; exit" HUP; echo ready; while :; do sleep 0.1; done';
    const terminal = atTerminal(['overlay-go', 'copy', 'sh', '-c', script]);
    await terminal.sees(/ready/);
    terminal.hangUp();
    await eventually('the command was told', async () => {
      return (await sandbox().run(['overlay-go', 'copy', 'cat', '/tmp/hup'])).stdout === 'hup\n';
    });
  });

  it('works in tmux', async () => {
    const tmux = (...words: string[]) =>
      sandbox().run(['tmux', '-L', 'test', ...words], { env: { TERM: 'xterm' } });
    await tmux('-f', '/dev/null', 'new-session', '-d', '-x', '80', '-y', '24', 'overlay-go copy');
    const shows = async (pattern: RegExp): Promise<void> => {
      await eventually(`${pattern} in tmux`, async () => {
        const { stdout } = await tmux('capture-pane', '-p');
        if (!pattern.test(stdout)) throw new Error(`shows ${stdout}`);
        return true;
      });
    };
    try {
      await tmux('send-keys', 'PS1=; hostname; stty size', 'Enter');
      await shows(/^copy\n24 80$/m);
      await tmux('resize-window', '-x', '90', '-y', '20');
      await tmux('send-keys', 'clear; stty size', 'Enter');
      await shows(/^20 90$/m);
      await tmux('send-keys', 'clear; sleep 60', 'Enter');
      await tmux('send-keys', 'C-c', '');
      await tmux('send-keys', 'echo "<$?>"', 'Enter');
      await shows(/^<130>$/m);
    } finally {
      await tmux('kill-server');
    }
  });
});
