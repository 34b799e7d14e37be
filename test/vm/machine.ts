/**
 * A whole Debian machine in the emulator: boots from a disk of its own that stays over reboots and power cuts, runs
 * what it is told over a serial line, and keeps what its console shows. No network; files come on a second disk.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { run } from './cache.js';
import { type Emulator, findEmulator } from './emulator.js';
import { type Image, type Init, imageFor } from './image.js';

/** Bounds for a machine that hangs; none is for one that is slow. */
const ANSWER_TIMEOUT_MS = 600_000;
const EVENTUALLY_TIMEOUT_MS = 300_000;
export const IMAGES_TIMEOUT_MS = 900_000;
export const MACHINE_TEST_TIMEOUT_MS = 1_500_000;
/**
 * One processor, because three machines side by side keep two of the host busy all the time. The model is an old one:
 * the wide registers of newer ones take longer to emulate than they save.
 */
const PROCESSOR = [
  ...['-machine', 'pc', '-accel', 'tcg,thread=multi,tb-size=512'],
  ...['-cpu', 'Nehalem', '-smp', '1', '-m', '1024'],
];
/** What the kernel would start with that takes a fifth of a boot here, and that no test needs. */
const PASSED_OVER = [
  ...['jent_mod_init', 'load_system_certificate_list', 'bpf_tcp_ca_kfunc_init', 'bpf_dummy_struct_ops_init'],
  ...['trace_eval_init', 'init_kprobe_trace'],
];
/**
 * Without what only protects from other users of the processor, or looks at hardware that is not there; with systemd's
 * time limits for a machine that is as slow as this one.
 */
const KERNEL_OPTIONS = [
  ...['root=/dev/vda', 'rw', 'console=ttyS0', 'net.ifnames=0', 'quiet', 'loglevel=5', 'panic=-1'],
  ...['mitigations=off', 'nokaslr', 'no5lvl', 'cryptomgr.notests=1', 'systemd.show_status=1'],
  ...['systemd.default_timeout_start_sec=600', 'systemd.default_device_timeout_sec=600'],
  ...[`initcall_blacklist=${PASSED_OVER.join(',')}`, 'lsm=landlock,lockdown,yama,loadpin,safesetid,apparmor'],
];

export interface Result {
  readonly status: number;
  /** stdout and stderr, as they came. */
  readonly output: string;
}

export class Machine {
  readonly init: Init;
  readonly #program: Emulator;
  readonly #image: Image;
  readonly #dir: string;
  #emulator: ChildProcess | undefined;
  #agent: Socket | undefined;
  /** Lines from the agent that nobody has taken yet, and who waits for one. */
  #lines: string[] = [];
  #wake: (() => void) | undefined;

  private constructor(init: Init, program: Emulator, image: Image, dir: string) {
    this.init = init;
    this.#program = program;
    this.#image = image;
    this.#dir = dir;
  }

  /** A machine that is off, with a fresh disk, and `files` in its /srv/files from the first boot on. */
  static async make(init: Init, files: readonly string[]): Promise<Machine> {
    const [program, image] = [await findEmulator(), await imageFor(init)];
    const dir = mkdtempSync(join(tmpdir(), `overlay-boot-vm-${init}-`));
    const machine = new Machine(init, program, image, dir);
    const create = ['create', '-q', '-f', 'qcow2', '-b', image.disk, '-F', 'raw', machine.#path('disk')];
    await run(...program.img, ...create);
    for (const file of files) copyFileSync(file, machine.#path(basename(file)));
    await run('tar', '-C', dir, '-cf', machine.#path('files'), ...files.map((file) => basename(file)));
    return machine;
  }

  #path(name: string): string {
    return join(this.#dir, name);
  }

  /** All that the console has shown since the last boot. */
  get console(): string {
    return existsSync(this.#path('console')) ? readFileSync(this.#path('console'), 'latin1') : '';
  }

  get isOn(): boolean {
    return this.#emulator !== undefined;
  }

  /** Switches it on, and waits until everything that starts with the host has started. */
  async boot(): Promise<void> {
    const socket = this.#path('agent');
    rmSync(this.#path('console'), { force: true });
    rmSync(socket, { force: true });
    const kernel = ['-kernel', this.#image.kernel, '-initrd', this.#image.initrd];
    // What the machine has given to its disk outlives it all the same: the host keeps that.
    const drive = (file: string, format: string): string[] => [
      ...['-drive', `file=${this.#path(file)},if=virtio,cache=unsafe,${format}`],
    ];
    const argv = [
      ...PROCESSOR,
      ...['-nodefaults', '-display', 'none', '-no-reboot', '-monitor', 'stdio'],
      ...[...kernel, '-append', KERNEL_OPTIONS.join(' ')],
      ...[...drive('disk', 'format=qcow2'), ...drive('files', 'format=raw,readonly=on')],
      ...['-serial', `file:${this.#path('console')}`, '-serial', `unix:${socket},server=on,wait=on`],
    ];
    // It ends with us, however we end: what reads its monitor ends with its pipe.
    const emulator = spawn(
      'nice',
      ['-n', '10', 'setpriv', '--pdeathsig', 'KILL', ...this.#program.system, ...argv],
      {
        stdio: ['pipe', 'ignore', 'pipe'],
      },
    );
    let complaint = '';
    emulator.stderr?.on('data', (chunk: Buffer) => {
      complaint += chunk.toString();
    });
    emulator.once('exit', () => {
      this.#emulator = undefined;
      this.#agent?.destroy();
      this.#wake?.();
    });
    this.#emulator = emulator;
    await this.#connect(socket);
    const hello = await this.#line(ANSWER_TIMEOUT_MS).catch((cause) => {
      throw new Error(`${this.init}: it did not come up: ${complaint}${this.console.slice(-3000)}`, {
        cause,
      });
    });
    if (hello !== '=hello') throw new Error(`${this.init}: the agent said ${hello}`);
    await this.sh('[ -e /srv/files ] || { mkdir /srv/files && tar -xf /dev/vdb -C /srv/files; }');
  }

  async #connect(socket: string): Promise<void> {
    for (let tries = 0; !existsSync(socket); tries++) {
      if (tries > 200 || !this.isOn) throw new Error('the emulator does not start');
      await delay(50);
    }
    const agent = connect(socket);
    this.#lines = [];
    let partial = '';
    agent.on('data', (chunk: Buffer) => {
      const lines = (partial + chunk.toString('latin1')).split('\n');
      partial = lines.pop() ?? '';
      this.#lines.push(...lines.filter((line) => line.startsWith('=')));
      this.#wake?.();
    });
    agent.on('error', () => undefined); // its end is seen by the emulator's
    this.#agent = agent;
  }

  /** The next line from the agent. @throws Error when it does not come in time, or the machine goes off */
  async #line(timeoutMs: number): Promise<string> {
    const end = Date.now() + timeoutMs;
    for (;;) {
      const line = this.#lines.shift();
      if (line !== undefined) return line;
      if (!this.isOn) throw new Error(`${this.init}: the machine went off`);
      if (Date.now() > end) {
        this.#emulator?.kill('SIGKILL'); // it hangs: what comes after would wait as long
        throw new Error(`${this.init}: no answer within ${timeoutMs / 1000} s`);
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, end - Date.now() + 1);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  /** Sends a shell script and does not wait for its end; only once before a power cut. */
  start(script: string): void {
    this.#agent?.write(`${Buffer.from(script).toString('base64')}\n`);
  }

  /** Runs a shell script, `set -eu` in force. */
  async run(script: string, timeoutMs = ANSWER_TIMEOUT_MS): Promise<Result> {
    this.start(script);
    const [status = '', output = ''] = (await this.#line(timeoutMs)).slice(1).split(' ');
    return { status: Number(status), output: Buffer.from(output, 'base64').toString() };
  }

  /** Runs a shell script that has to succeed; what it prints, without the last newline. */
  async sh(script: string, timeoutMs?: number): Promise<string> {
    const { status, output } = await this.run(script, timeoutMs);
    if (status !== 0) throw new Error(`${this.init}: status ${status} of: ${script}\n${output}`);
    return output.replace(/\n$/, '');
  }

  /**
   * Tries until it succeeds, with pauses longer than the tries: what is waited for has only this processor.
   * @throws Error with the last output when time is up
   */
  async eventually(what: string, script: string, timeoutMs = EVENTUALLY_TIMEOUT_MS): Promise<string> {
    const end = Date.now() + timeoutMs;
    for (;;) {
      const begin = Date.now();
      const { status, output } = await this.run(script);
      if (status === 0) return output.replace(/\n$/, '');
      if (Date.now() > end) throw new Error(`${this.init}: not in time: ${what}: ${output}`);
      await delay(2 * (Date.now() - begin));
    }
  }

  /** Pulls the plug at some moment soon: what the machine has not yet given to its disk is lost. */
  async powerCut(): Promise<void> {
    await delay(Math.random() * 5_000);
    this.#emulator?.stdin?.write('quit\n');
    await this.ended('the power cut');
  }

  /** Waits until it has switched itself off, or asked for a reboot. */
  async ended(what: string, timeoutMs = ANSWER_TIMEOUT_MS): Promise<void> {
    const end = Date.now() + timeoutMs;
    while (this.isOn) {
      if (Date.now() > end)
        throw new Error(
          `${this.init}: still on ${timeoutMs / 1000} s after ${what}: ${this.console.slice(-2000)}`,
        );
      await delay(50);
    }
  }

  /** Shuts it down in good order, and boots it again from the same disk; what the console showed of the going down. */
  async reboot(): Promise<string> {
    this.start('reboot');
    await this.ended('reboot');
    const shown = this.console;
    await this.boot();
    return shown;
  }

  /** Switches it off at once and forgets its disk. */
  async remove(): Promise<void> {
    this.#emulator?.kill('SIGKILL');
    await this.ended('SIGKILL');
    rmSync(this.#dir, { recursive: true, force: true });
  }
}

/** A machine for the tests of a `describe`, off at first; when one fails, its console is shown. */
export function useMachine(init: Init, files: () => readonly string[]): () => Machine {
  let machine: Machine | undefined;
  before(async function () {
    this.timeout(IMAGES_TIMEOUT_MS); // where there is none yet
    machine = await Machine.make(init, files());
  });
  afterEach(function () {
    if (this.currentTest?.state === 'failed' && machine)
      console.error(machine.console.slice(-4000).replace(/^/gm, '    | '));
  });
  after(async () => machine?.remove());
  return () => {
    if (!machine) throw new Error('no machine outside of a test');
    return machine;
  };
}
