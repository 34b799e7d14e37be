/** Other programs that boot the same root: how each is called, and what it lacks of what a subhost has. */
import type { Sandbox } from '../helpers/namespaces.js';
import { SIGNAL_DIRECTORY, timeToEffect } from './stopwatch.js';

export interface Contestant {
  readonly name: string;
  readonly argv: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** What is not the same as in a subhost's boot. */
  readonly unlike: string;
}

const ROOT = '/srv/t/other/live';
const BUNDLE = '/srv/t/other/bundle';

const NSPAWN = [
  ...['systemd-nspawn', '--quiet', '--machine=bench', `--directory=${ROOT}`, '--network-veth'],
  // Without a systemd that runs: no scope or registration is asked for, and nothing of the host's is linked.
  ...[
    '--register=no',
    '--keep-unit',
    '--link-journal=no',
    '--settings=no',
    '--resolv-conf=off',
    '--timezone=off',
  ],
  ...[`--bind=${SIGNAL_DIRECTORY}:/bench`, '/startup', 'start'],
];

const BWRAP = [
  ...['bwrap', '--unshare-all', '--bind', ROOT, '/', '--dev', '/dev', '--proc', '/proc', '--tmpfs', '/run'],
  ...['--bind', SIGNAL_DIRECTORY, '/bench', '/startup', 'start'],
];

export const CONTESTANTS: readonly Contestant[] = [
  { name: 'systemd-nspawn', argv: NSPAWN, unlike: 'overlay mounted beforehand' },
  {
    name: 'systemd-nspawn, no seccomp',
    argv: NSPAWN,
    env: { SYSTEMD_SECCOMP: '0' },
    unlike: 'overlay mounted beforehand; SYSTEMD_SECCOMP=0',
  },
  { name: 'bubblewrap', argv: BWRAP, unlike: 'overlay mounted beforehand; makes no veth, no control group' },
  {
    name: 'crun',
    argv: ['crun', '--cgroup-manager=cgroupfs', 'run', `--bundle=${BUNDLE}`, 'bench'],
    unlike: 'overlay mounted beforehand; makes no veth',
  },
];

/** An overlay of the host's root with the start script in it, and a bundle for crun. */
export async function prepareContestants(sandbox: Sandbox): Promise<void> {
  await sandbox.sh(`
    mkdir -p /srv/t/other/upper /srv/t/other/work ${ROOT} ${BUNDLE}
    mount -t overlay -o lowerdir=/,upperdir=/srv/t/other/upper,workdir=/srv/t/other/work overlay ${ROOT}
    mkdir ${ROOT}/bench`);
  await sandbox.writeFile(`${ROOT}/startup`, START_SCRIPT, 0o755);
  await sandbox.writeFile(`${BUNDLE}/config.json`, JSON.stringify(ociConfig()));
}

/** What every guest runs first, as \`/startup start\`. */
export const START_SCRIPT = '#!/bin/sh\necho >/bench/fifo\n';

/** Why a contestant cannot be measured here, or undefined: it is tried. */
export async function obstacleTo(sandbox: Sandbox, { argv, env }: Contestant): Promise<string | undefined> {
  const [program = ''] = argv;
  const { code } = await sandbox.run(['which', program]);
  if (code !== 0) return `there is no ${program} here`;
  try {
    await timeToEffect(sandbox, argv, env && { env });
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** As \`crun spec\` makes it, with this root, the fifo's directory and a /run. */
function ociConfig(): object {
  const capabilities = ['CAP_AUDIT_WRITE', 'CAP_KILL', 'CAP_NET_BIND_SERVICE'];
  const plain = ['nosuid', 'noexec', 'nodev'];
  const mount = (destination: string, type: string, options: readonly string[], source = type): object => ({
    ...{ destination, type, source, options },
  });
  return {
    ociVersion: '1.0.0',
    process: {
      ...{
        terminal: false,
        user: { uid: 0, gid: 0 },
        args: ['/startup', 'start'],
        cwd: '/',
        noNewPrivileges: true,
      },
      env: ['PATH=/usr/sbin:/usr/bin:/sbin:/bin'],
      capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
    },
    root: { path: ROOT, readonly: false },
    hostname: 'bench',
    mounts: [
      mount('/proc', 'proc', []),
      mount('/dev', 'tmpfs', ['nosuid', 'strictatime', 'mode=755', 'size=65536k']),
      mount('/dev/pts', 'devpts', ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5']),
      mount('/dev/shm', 'tmpfs', [...plain, 'mode=1777']),
      mount('/dev/mqueue', 'mqueue', plain),
      mount('/sys', 'sysfs', [...plain, 'ro']),
      mount('/run', 'tmpfs', ['nosuid', 'nodev']),
      mount('/bench', 'bind', ['bind', 'rw'], SIGNAL_DIRECTORY),
    ],
    linux: {
      namespaces: ['pid', 'network', 'ipc', 'uts', 'mount'].map((type) => ({ type })),
      maskedPaths: [
        '/proc/acpi',
        '/proc/kcore',
        '/proc/keys',
        '/proc/timer_list',
        '/sys/firmware',
        '/proc/scsi',
      ],
      readonlyPaths: ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'],
    },
  };
}
