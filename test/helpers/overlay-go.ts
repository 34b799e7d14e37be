/** What the tests of overlay-go share: a subhost to enter, and somebody at a terminal. */
import { type IPty, spawn } from 'node-pty';
import { eventually, type RunOptions, type Sandbox } from './namespaces.js';

/**
 * Boots a subhost on an overlay of the whole root: with bash, stty, less, tmux, and a user joe (1000) who is
 * in the group friends (777).
 */
export async function bootCopy(sandbox: Sandbox, name = 'copy', lines = ''): Promise<void> {
  const base = `/opt/subhost/${name}`;
  await sandbox.sh(`
    mkdir -p ${base}/root/etc ${base}/root/home/joe ${base}/work ${base}/live
    (grep -v '^joe:\\|:1000:' /etc/passwd; echo joe:x:1000:1000:Joe:/home/joe:/bin/sh) >${base}/root/etc/passwd
    (grep -v '^joe:\\|:1000:' /etc/group; echo joe:x:1000:; echo friends:x:777:ann,joe) >${base}/root/etc/group
    chown 1000:1000 ${base}/root/home/joe`);
  await sandbox.writeFile(`${base}/${name}.conf`, `BASE=.\nSTART=none\n${lines}`);
  await sandbox.sh(`overlay-boot ${base}/${name}.conf`, { cwd: '/' });
}

/**
 * What the shell on the terminal does: a ^C is for who sets its trap anew, as Node does, not for the nsenter on
 * the way; and it stays after the program, since node-pty may lose the last output of one that exits.
 */
const HOLDER = 'trap "" INT QUIT TSTP; "$@"; printf "[[exit %d]]" $?; read -r _';

/** A program of the sandbox on a terminal of 80 by 24, and what is typed and seen there. */
export class AtTerminal {
  readonly #pty: IPty;
  readonly #pieces: Buffer[] = [];
  #hungUp = false;

  constructor(sandbox: Sandbox, argv: readonly string[], options: RunOptions = {}) {
    const env = { TERM: 'xterm', ...options.env };
    const args = ['-c', HOLDER, 'sh', ...sandbox.enterArgv(argv, { cwd: '/', ...options, env })];
    this.#pty = spawn('/bin/sh', args, { cols: 80, rows: 24, cwd: '/', env: {}, encoding: null });
    this.#pty.onData((bytes: unknown) => this.#pieces.push(bytes as Buffer));
  }

  /** Everything seen so far. */
  get seen(): Buffer {
    return Buffer.from(this.text, 'latin1');
  }

  /** The same, a character for a byte. */
  get text(): string {
    return Buffer.concat(this.#pieces).toString('latin1').split('[[exit ')[0] ?? '';
  }

  /** What the holder said of its exit, once it has. */
  get #status(): number | undefined {
    const status = /\[\[exit (\d+)\]\]/.exec(Buffer.concat(this.#pieces).toString('latin1'));
    return status ? Number(status[1]) : undefined;
  }

  type(keys: string): void {
    this.#pty.write(keys);
  }

  resize(cols: number, rows: number): void {
    this.#pty.resize(cols, rows);
  }

  /** Waits until something is seen that was not seen before `from`; gives where it ends. */
  async sees(pattern: RegExp, from = 0): Promise<number> {
    return await eventually(
      `${pattern} on the terminal`,
      () => {
        const found = pattern.exec(this.text.slice(from));
        if (!found) throw new Error(`seen: ${JSON.stringify(this.text.slice(-2_000))}`);
        return from + found.index + found[0].length;
      },
      10_000,
    );
  }

  /** Types a line, and waits for what it brings. */
  async answers(line: string, pattern: RegExp): Promise<number> {
    const from = this.seen.length;
    this.type(`${line}\r`);
    return await this.sees(pattern, from);
  }

  /** Its exit status, 128+n for a signal. */
  async exits(timeoutMs = 10_000): Promise<number> {
    const status = await eventually('the end of the terminal session', () => this.#status, timeoutMs);
    this.hangUp();
    return status;
  }

  /** Ends the session, as a terminal does that is closed. */
  hangUp(): void {
    if (!this.#hungUp) this.#pty.kill('SIGKILL');
    this.#hungUp = true;
  }
}
