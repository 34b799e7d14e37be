/**
 * Tiny subhosts for root tests: busybox roots, confs, the real commands, and what a running subhost looks like
 * from inside, read by nsenter and /proc, never by the project's own code.
 */
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { expect } from 'chai';
import { type HostSnapshot, snapshot } from './host-snapshot.js';
import { type Completed, eventually, type RunOptions, type Sandbox, useSandbox } from './namespaces.js';

/** Where useSubhosts() makes its busybox root: a LOWER for many subhosts. */
export const BASE_ROOT = '/srv/t/base';
/** Where confs are, a directory for each: a tmpfs of the sandbox. */
const CONFS = '/opt/subhost';

/** What a test looks at of RUN/NAME/state.json. */
export interface SubhostRecord {
  readonly phase: string;
  readonly step: string;
  readonly conf: string;
  readonly init: { readonly pid: number };
  readonly keeper: { readonly pid: number };
  readonly degraded: readonly string[];
  readonly start: readonly string[];
  readonly [key: string]: unknown;
}

/**
 * Makes a root file system of busybox and nothing else, by one chroot.
 * @param path  a directory of the sandbox that is not there yet
 */
export async function makeBusyboxRoot(sandbox: Sandbox, path: string): Promise<void> {
  await sandbox.sh(
    `busybox=$(command -v busybox) || { echo "needs busybox-static" >&2; exit 1; }
    mkdir -p "$R"; cd "$R"
    mkdir -m 755 bin dev etc etc/init.d proc root run sbin sys tmp usr usr/bin usr/sbin var srv
    chmod 1777 tmp
    cp "$busybox" bin/busybox
    chroot . /bin/busybox --install -s /bin
    echo root:x:0:0:root:/root:/bin/sh >etc/passwd
    echo root:x:0: >etc/group`,
    { env: { R: path } },
  );
}

/** A start/stop script for a subhost, which writes `NAME start` and the like to /var/calls inside. */
export const recordingService = (name: string, { start = ':', stop = ':' } = {}): string =>
  `#!/bin/sh
echo "${name} $1" >>/var/calls
case $1 in
start) ${start} ;;
stop) ${stop} ;;
esac
`;

/** Values of a conf; undefined leaves out one that makeSubhost() would write, a list writes several lines. */
export type ConfValues = Readonly<Record<string, string | readonly string[] | undefined>>;

export interface SubhostFiles {
  /** Executable files in UPPER: start/stop scripts. */
  readonly services?: Readonly<Record<string, string>>;
  /** Plain files in UPPER. */
  readonly root?: Readonly<Record<string, string>>;
  /** Executable files in BASE: hooks. */
  readonly hooks?: Readonly<Record<string, string>>;
}

/** What useSubhosts() gives; all of it works on its sandbox. */
export class Subhosts {
  readonly #sandbox: () => Sandbox;

  constructor(sandbox: () => Sandbox) {
    this.#sandbox = sandbox;
  }

  get sandbox(): Sandbox {
    return this.#sandbox();
  }

  /** BASE of a subhost that make() made. */
  base(name: string): string {
    return `${CONFS}/${name}`;
  }

  /** A path of the sandbox as the test process reaches it, for reading without a program. */
  outside(path: string): string {
    return `/proc/${this.sandbox.pid}/root${path}`;
  }

  /**
   * Writes a conf in a directory of its own, with root, work and live beside it; without values it is an
   * overlay on BASE_ROOT that starts nothing.
   * @returns the conf's path
   */
  async make(name: string, values: ConfValues = {}, files: SubhostFiles = {}): Promise<string> {
    const base = this.base(name);
    const conf = `${base}/${name}.conf`;
    const all: ConfValues = { BASE: '.', LOWER: BASE_ROOT, START: 'none', ...values };
    const lines = Object.entries(all).flatMap(([variable, value]) =>
      value === undefined ? [] : [value].flat().map((one) => `${variable}=${one}\n`),
    );
    const put: [string, string, number][] = [
      [conf, lines.join(''), 0o644],
      ...entries(files.services, `${base}/root/`, 0o755),
      ...entries(files.root, `${base}/root/`, 0o644),
      ...entries(files.hooks, `${base}/`, 0o755),
    ];
    rmSync(this.outside(base), { recursive: true, force: true });
    for (const name of ['root', 'work', 'live'])
      mkdirSync(this.outside(`${base}/${name}`), { recursive: true });
    for (const [path, text, mode] of put) this.write(path, text, mode);
    return conf;
  }

  /** Writes a file of the sandbox, its directories made where missing, without running a program. */
  write(path: string, text: string, mode = 0o644): void {
    const file = this.outside(path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
    chmodSync(file, mode);
  }

  /** Runs overlay-boot, whatever comes of it. */
  async boot(args: readonly string[], options: RunOptions & { timeoutMs?: number } = {}): Promise<Completed> {
    return await this.sandbox.run(['overlay-boot', ...args], options);
  }

  /** Makes and boots a subhost. @throws AssertionError with the boot's words unless it says that it runs */
  async up(name: string, values: ConfValues = {}, files: SubhostFiles = {}): Promise<string> {
    const conf = await this.make(name, values, files);
    const { code, stdout, stderr } = await this.boot([conf]);
    expect({ code, stdout, stderr }).to.deep.equal({ code: 0, stdout: `${name}: running\n`, stderr: '' });
    return conf;
  }

  /** Boots what has to fail. @returns stderr, a line each */
  async refused(conf: string, { code = 1, options = [] as readonly string[] } = {}): Promise<string[]> {
    const outcome = await this.boot([...options, conf]);
    expect({ code: outcome.code, stdout: outcome.stdout }, outcome.stderr).to.deep.equal({
      code,
      stdout: '',
    });
    return outcome.stderr.trimEnd().split('\n');
  }

  async stop(...args: string[]): Promise<Completed> {
    return await this.sandbox.run(['overlay-stop', ...args]);
  }

  /** The record of a subhost, undefined where there is none. */
  record(name: string): SubhostRecord | undefined {
    const path = this.outside(`/run/overlay-boot/${name}/state.json`);
    return existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as SubhostRecord) : undefined;
  }

  /** pid 1 of a running subhost as the sandbox numbers it. */
  pid1(name: string): number {
    const pid = this.record(name)?.init.pid;
    if (pid === undefined) throw new Error(`${name} has no pid 1 on record`);
    return pid;
  }

  /** Runs a shell script in all the namespaces and the root of a subhost. @returns its stdout */
  async inside(name: string, script: string): Promise<string> {
    const pid = this.pid1(name);
    const enter = ['nsenter', `--target=${pid}`, '--all', '--root', '--wd=/'];
    const { code, stdout, stderr } = await this.sandbox.run([...enter, '/bin/sh', '-euc', script]);
    if (code !== 0) throw new Error(`in ${name}: exit ${code}: ${script}\n${stderr}${stdout}`);
    return stdout;
  }

  /** Writes a line into a pipe of a subhost, from outside: who wrote from inside might end with it. */
  async poke(name: string, pipe: string, line = 'x'): Promise<void> {
    const env = { P: `/proc/${this.pid1(name)}/root${pipe}`, L: line };
    await eventually(`${pipe} in ${name}`, () => existsSync(this.outside(env.P)));
    await this.sandbox.sh('test -p "$P"; echo "$L" >"$P"', { env });
  }

  /** The mount at a path of a subhost's root, the topmost: `TYPE OPTIONS` of /proc/PID/mountinfo, or undefined. */
  mountInside(name: string, path: string): { type: string; options: string[] } | undefined {
    const text = readFileSync(this.outside(`/proc/${this.pid1(name)}/mountinfo`), 'utf8');
    const line = text.split('\n').findLast((one) => one.split(' ')[4] === path);
    if (line === undefined) return undefined;
    const [before = '', after = ''] = line.split(' - ');
    return { type: after.split(' ')[0] ?? '', options: (before.split(' ')[5] ?? '').split(',') };
  }

  /** A file of the sandbox, undefined where there is none. */
  file(path: string): string | undefined {
    const from = this.outside(path);
    return existsSync(from) ? readFileSync(from, 'utf8') : undefined;
  }

  /** The log of a subhost whose conf names none. */
  log(name: string): string {
    return this.file(`/var/log/overlay-boot/${name}.log`) ?? '';
  }

  /** What the recordingService()s of a subhost on an overlay have done, in order. */
  calls(name: string): string[] {
    return (this.file(`${this.base(name)}/root/var/calls`) ?? '').split('\n').filter(Boolean);
  }

  /** Waits until nothing is left of a subhost that ends by itself. */
  async gone(name: string, timeoutMs?: number): Promise<void> {
    const left = `/run/overlay-boot/${name}`;
    await eventually(`${name} is gone`, () => !existsSync(this.outside(left)), timeoutMs);
  }
}

function entries(
  files: Readonly<Record<string, string>> = {},
  prefix: string,
  mode: number,
): [string, string, number][] {
  return Object.entries(files).map(([path, text]) => [`${prefix}${path}`, text, mode]);
}

/**
 * A sandbox for a `describe` with a busybox root at BASE_ROOT. After each test whatever runs is stopped, and the
 * host has to look as it did before the first one: mounts, links, namespaces, records, processes, locks.
 */
export function useSubhosts(): Subhosts {
  const sandbox = useSandbox();
  const subhosts = new Subhosts(sandbox);
  let untouched: HostSnapshot | undefined;
  before(async () => {
    await makeBusyboxRoot(sandbox(), BASE_ROOT);
    // With the first named namespace /run/netns becomes a mount point, and with the first boot there is a run
    // directory and one for logs: all three stay.
    await subhosts.up('first');
    await subhosts.stop('first');
    // Whoever has told its last word may be seen a moment longer: the sandbox's own shell and cat are what is left.
    untouched = await eventually(
      'nothing of the first one is left',
      async () => {
        const taken = await snapshot(sandbox());
        if (taken.processes.length === 2 && taken.locks.length === 0) return taken;
        throw new Error(`there are ${[...taken.processes, ...taken.locks].join('; ')}`);
      },
      15_000,
    );
  });
  afterEach(async () => {
    if (untouched === undefined) return;
    if (readdirSync(subhosts.outside('/run/overlay-boot')).length > 0) {
      const { code, stderr } = await subhosts.stop('--all', '--kill');
      expect(code, stderr).to.equal(0);
    }
    // A keeper lets go of its lock with its last breath: it may be seen a moment longer.
    await eventually('the host is as before', async () => {
      expect(await snapshot(sandbox())).to.deep.equal(untouched);
      return true;
    });
  });
  return subhosts;
}
