/**
 * Disk images of whole Debian machines for the emulator, one for each init system, made once and kept. Nothing is
 * mounted for it: mmdebstrap makes a root, mke2fs puts it into a file. A change of anything in this file makes new ones.
 */
import {
  appendFileSync,
  chmodSync,
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { debootstrap, kept, run } from './cache.js';
import { GUEST_RECIPE, makeGuest } from './guest.js';
import { KERNEL_RECIPE, uncompressedKernel } from './kernel.js';

export type Init = 'systemd' | 'sysvinit';

export interface Image {
  /** The root file system, raw; never written to. */
  readonly disk: string;
  readonly kernel: string;
  readonly initrd: string;
}

/** What a machine has besides Debian's essential packages: what the package depends on and recommends, and tools. */
const PACKAGES = [
  ...['linux-image-amd64', 'udev', 'kmod', 'busybox-static'],
  ...['nodejs', 'iproute2', 'ifupdown', 'fdisk', 'bzip2', 'xz-utils', 'zstd', 'bash-completion'],
  ...['iputils-ping', 'procps', 'openssh-server'],
];
const INIT_PACKAGES: Readonly<Record<Init, readonly string[]>> = {
  systemd: ['systemd-sysv', 'systemd-container', 'dbus'],
  // udev wants one of systemd's small tools in the place of systemd; its own script is with the orphans.
  sysvinit: ['sysvinit-core', 'orphan-sysvinit-scripts', 'systemd-standalone-sysusers'],
};

/** Drivers of hardware that is not there: an emulated processor loads none of it for nothing. */
const NO_MODULES = [
  ...[
    'arch/x86/crypto',
    'arch/x86/kvm',
    'arch/x86/events',
    'net/vmw_vsock',
    'net/bluetooth',
    'net/wireless',
    'sound',
  ],
  ...[
    ...[
      'accel',
      'acpi',
      'ata',
      'bluetooth',
      'cpufreq',
      'crypto',
      'edac',
      'gpu',
      'hid',
      'hwmon',
      'i2c',
      'iio',
    ],
    ...['infiniband', 'input', 'media', 'message', 'mfd', 'misc', 'net/ethernet', 'net/wireless', 'nvme'],
    ...['parport', 'platform', 'pinctrl', 'scsi', 'staging', 'thunderbolt', 'usb', 'video'],
  ].map((name) => `drivers/${name}`),
];

/** What the kernel has not built in of what it needs to read its root. */
const ROOT_MODULES = ['virtio_blk', 'crc32c_generic', 'ext4'];

/** Takes scripts from the second serial port, base64 on a line each; gives back `=STATUS OUTPUT`, in base64 too. */
const AGENT = `#!/bin/sh
exec <>/dev/ttyS1 >&0
stty raw -echo
export HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
cd /root
echo "=hello"
while read -r line; do
	echo "$line" | base64 -d >/run/agent-script
	sh -eu /run/agent-script </dev/null >/run/agent-output 2>&1
	echo "=$? $(base64 -w0 /run/agent-output)"
done
`;

const AGENT_UNIT = `[Unit]
Description=Runs what the tests send
After=multi-user.target

[Service]
ExecStart=/usr/local/sbin/test-agent
SendSIGHUP=yes
KillMode=process

[Install]
WantedBy=graphical.target multi-user.target
`;

const FIRST_PROGRAM = `#!/bin/sh
mount -t devtmpfs dev /dev
for module in /modules/*; do insmod "$module"; done
mount -t ext4 -o rw /dev/vda /root || exit
exec switch_root /root /sbin/init
`;

/** The files that make a root a machine of its own, by path. */
const FILES: Readonly<Record<string, string>> = {
  'etc/hostname': 'vm\n',
  'etc/hosts': '127.0.0.1 localhost vm\n',
  // A machine without an id is at its first boot for systemd, and takes a while for that.
  'etc/machine-id': `${'0123456789abcdef'.repeat(2)}\n`,
  'etc/fstab': '/dev/vda / ext4 defaults 0 0\n',
};

/** Of systemd: what is of no use here, and would only take the emulator's time. */
const MASKED = [
  ...['apt-daily', 'apt-daily-upgrade', 'dpkg-db-backup', 'fstrim', 'e2scrub_all'].map(
    (name) => `${name}.timer`,
  ),
  ...[
    ...[
      'e2scrub_reap',
      'systemd-pstore',
      'systemd-random-seed',
      'systemd-tpm2-setup',
      'systemd-tpm2-setup-early',
    ],
    ...['getty@tty1', 'serial-getty@ttyS0', 'systemd-logind', 'systemd-user-sessions', 'systemd-update-utmp'],
    ...[
      'systemd-udev-load-credentials',
      'systemd-hibernate-clear',
      'systemd-modules-load',
      'kmod-static-nodes',
    ],
    ...['modprobe@configfs', 'modprobe@drm', 'modprobe@efi_pstore', 'modprobe@fuse', 'ssh'],
  ].map((name) => `${name}.service`),
  ...['dev-hugepages', 'dev-mqueue', 'sys-fs-fuse-connections', 'sys-kernel-config', 'sys-kernel-debug'].map(
    (name) => `${name}.mount`,
  ),
  ...[
    'sys-kernel-tracing.mount',
    'proc-sys-fs-binfmt_misc.automount',
    'getty.target',
    'systemd-creds.socket',
  ],
];
/** The only generator of systemd's that finds anything here. */
const GENERATOR = 'systemd-fstab-generator';
/** udev is asked about disks and interfaces; there is nothing else that it could load a driver for. */
const UDEV_DEVICES = '--action=add --subsystem-match=block --subsystem-match=net';
const UDEV_TRIGGER = `[Service]
ExecStart=
ExecStart=-udevadm trigger ${UDEV_DEVICES}
`;
/** Of sysvinit: the same of its scripts. */
const IDLE_SCRIPTS = [
  ...['bootlogs', 'brightness', 'checkfs.sh', 'hwclock.sh', 'kmod', 'mount-configfs', 'mountnfs.sh'],
  ...['mountnfs-bootclean.sh', 'urandom'],
];

/** The image for an init system; made where there is none yet, in a minute or two. */
export async function imageFor(init: Init): Promise<Image> {
  const dir = await kept(init, [__filename, GUEST_RECIPE, KERNEL_RECIPE], (fresh) => make(init, fresh));
  return { disk: join(dir, 'disk'), kernel: join(dir, 'kernel'), initrd: join(dir, 'initrd') };
}

async function make(init: Init, dir: string): Promise<void> {
  const root = join(dir, 'root');
  // dpkg's own file, and not an option of mmdebstrap: that would read each archive by itself then, which takes a while.
  const small = NO_MODULES.map((path) => `path-exclude=/usr/lib/modules/*/kernel/${path}/*\\n`);
  const setUp = `mkdir -p "$1/etc/dpkg/dpkg.cfg.d"; printf '${small.join('')}' >"$1/etc/dpkg/dpkg.cfg.d/small"`;
  const options = ['--variant=minbase', `--setup-hook=${setUp}`];
  await debootstrap(root, [...PACKAGES, ...INIT_PACKAGES[init]], options);
  for (const [path, text] of Object.entries(FILES)) put(root, path, text);
  put(root, 'usr/local/sbin/test-agent', AGENT, 0o755);
  if (init === 'sysvinit') useSysvinit(root);
  else {
    useSystemd(root);
    await makeGuest(root);
  }
  await makeInitrd(root, join(dir, 'initrd'));
  writeFileSync(join(dir, 'kernel'), uncompressedKernel(only(join(root, 'boot'), /^vmlinuz-/)));
  const lazily = 'lazy_itable_init=1,lazy_journal_init=1';
  await run('mke2fs', '-q', '-t', 'ext4', '-L', 'root', '-E', lazily, '-d', root, join(dir, 'disk'), '4G');
  rmSync(root, { recursive: true });
}

function useSysvinit(root: string): void {
  edit(join(root, 'etc/inittab'), (text) => text.replace(/^.*getty.*\n/gm, ''));
  appendFileSync(join(root, 'etc/inittab'), 'ts:2345:respawn:/usr/local/sbin/test-agent\n');
  edit(join(root, 'etc/init.d/udev'), (text) => text.replace('--type=devices --action=add', UDEV_DEVICES));
  for (const script of IDLE_SCRIPTS)
    edit(join(root, 'etc/init.d', script), (text) => text.replace(/^### END INIT INFO$/m, '$&\nexit 0'));
  // It is for the subhosts.
  for (const level of [2, 3, 4, 5]) rmSync(only(join(root, `etc/rc${level}.d`), /^S\d+ssh$/));
}

function useSystemd(root: string): void {
  put(root, 'etc/systemd/system/test-agent.service', AGENT_UNIT);
  const units = join(root, 'etc/systemd/system');
  mkdirSync(join(units, 'multi-user.target.wants'), { recursive: true });
  symlinkSync('../test-agent.service', join(units, 'multi-user.target.wants/test-agent.service'));
  for (const unit of MASKED) symlinkSync('/dev/null', join(units, unit));
  put(root, 'etc/systemd/system/systemd-udev-trigger.service.d/few.conf', UDEV_TRIGGER);
  const generators = 'systemd/system-generators';
  mkdirSync(join(root, 'etc', generators), { recursive: true });
  for (const name of readdirSync(join(root, 'usr/lib', generators)))
    if (name !== GENERATOR) symlinkSync('/dev/null', join(root, 'etc', generators, name));
  // They are new: nothing has to be brought up to date, systemd-update-done.service(8).
  for (const path of ['etc/.updated', 'var/.updated']) put(root, path, '');
  symlinkSync('/lib/systemd/system/multi-user.target', join(units, 'default.target'));
}

/** A first root that knows this disk and nothing else: Debian's own looks at all hardware, which takes 10 s here. */
async function makeInitrd(root: string, file: string): Promise<void> {
  const modules = only(join(root, 'usr/lib/modules'));
  const needed = ROOT_MODULES.flatMap((name) => inOrder(modules, name));
  const top = `${file}.root`;
  for (const dir of ['bin', 'dev', 'modules', 'root']) mkdirSync(join(top, dir), { recursive: true });
  for (const [number, path] of [...new Set(needed)].entries()) {
    const name = `${String(number).padStart(2, '0')}-${basename(path).replace(/\.xz$/, '')}`;
    writeFileSync(join(top, 'modules', name), await run('xz', '-dc', join(modules, path)));
  }
  const busybox = join(root, 'usr/bin/busybox');
  copyFileSync(busybox, join(top, 'bin/busybox'));
  for (const name of ['sh', 'mount', 'insmod', 'switch_root']) symlinkSync('busybox', join(top, 'bin', name));
  put(top, 'init', FIRST_PROGRAM, 0o755);
  const pack = 'cd "$1" && find . | "$2" cpio -o -H newc';
  writeFileSync(file, await run('sh', '-c', pack, 'sh', top, busybox));
  rmSync(top, { recursive: true });
}

/** A module after those that it depends on, modules.dep(5). */
function inOrder(modules: string, name: string): string[] {
  const lines = readFileSync(join(modules, 'modules.dep'), 'utf8').split('\n');
  const line = lines.find((text) => new RegExp(`/${name}\\.ko[.\\w]*:`).test(text)) ?? '';
  const [path, dependencies = ''] = line.split(':');
  return path ? [...dependencies.split(' ').filter(Boolean).reverse(), path] : []; // none: it is built in
}

/** The one file of a folder whose name is such. */
function only(folder: string, pattern = /./): string {
  const names = readdirSync(folder).filter((name) => pattern.test(name));
  if (names.length !== 1) throw new Error(`${folder}: not one ${pattern}: ${names.join(' ')}`);
  return join(folder, ...names);
}

function edit(path: string, change: (text: string) => string): void {
  const before = readFileSync(path, 'utf8');
  const after = change(before);
  if (after === before) throw new Error(`${path}: is not as it was`);
  writeFileSync(path, after);
}

function put(root: string, path: string, text: string, mode = 0o644): void {
  mkdirSync(join(root, dirname(path)), { recursive: true });
  rmSync(join(root, path), { force: true });
  writeFileSync(join(root, path), text);
  chmodSync(join(root, path), mode);
}
