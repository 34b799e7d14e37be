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

/** A program of the sandbox on a terminal of 80 by 24, and what is typed and seen there. */
export class AtTerminal {
  readonly #pty: IPty;
  readonly #pieces: Buffer[] = [];
  #status: number | undefined;

  constructor(sandbox: Sandbox, argv: readonly string[], options: RunOptions = {}) {
    const env = { TERM: 'xterm', ...options.env };
    // A ^C is for who sets its trap anew, as Node does, and not for the nsenter on the way.
    const trap = ['-c', 'trap "" INT QUIT TSTP; exec "$@"', 'sh'];
    const args = [...trap, ...sandbox.enterArgv(argv, { cwd: '/', ...options, env })];
    this.#pty = spawn('/bin/sh', args, { cols: 80, rows: 24, cwd: '/', env: {}, encoding: null });
    this.#pty.onData((bytes: unknown) => this.#pieces.push(bytes as Buffer));
    this.#pty.onExit(({ exitCode, signal }) => {
      this.#status = signal ? 128 + signal : exitCode;
    });
  }

  /** Everything seen so far. */
  get seen(): Buffer {
    return Buffer.concat(this.#pieces);
  }

  get text(): string {
    return this.seen.toString('latin1');
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
    await eventually('the end of the terminal session', () => this.#status !== undefined, timeoutMs);
    return this.#status ?? -1;
  }

  hangUp(): void {
    if (this.#status === undefined) this.#pty.kill('SIGKILL');
  }
}
