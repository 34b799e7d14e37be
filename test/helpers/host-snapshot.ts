/**
 * What a sandbox holds that a subhost could leave behind, as plain data for "equal before and after".
 * Read by the kernel's files and by ip, losetup and find, never by the project's own code.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { eventually, type Sandbox } from './namespaces.js';

export interface HostSnapshot {
  /** `MOUNT_POINT TYPE SOURCE ROOT OPTIONS`, in the order of /proc/self/mountinfo. */
  readonly mounts: readonly string[];
  /** `NAME KIND MASTER ALIAS up|down MAC`, sorted. */
  readonly links: readonly string[];
  /** Names in /run/netns. */
  readonly netns: readonly string[];
  /** Paths below /run/overlay-boot. */
  readonly run: readonly string[];
  /** `DEVICE FILE` of loop devices on a file of the sandbox. */
  readonly loopDevices: readonly string[];
  /** Command lines, sorted; a zombie is `COMMAND (zombie)`. */
  readonly processes: readonly string[];
  /** Control groups below the sandbox's own. */
  readonly cgroups: readonly string[];
  /** `FLOCK WRITE MAJOR:MINOR:INODE` and the like: /proc/locks, sorted. */
  readonly locks: readonly string[];
}

/** Takes a snapshot; nothing of taking it is in it. */
export async function snapshot(sandbox: Sandbox): Promise<HostSnapshot> {
  // First of all, and from outside: the programs started below would be seen.
  const processes = processesOf(sandbox);
  const [links, netns, run, loopDevices] = await Promise.all([
    linksOf(sandbox),
    pathsBelow(sandbox, '/run/netns'),
    pathsBelow(sandbox, '/run/overlay-boot'),
    loopDevicesOf(sandbox),
  ]);
  return {
    mounts: mountsOf(sandbox),
    links,
    netns,
    run,
    loopDevices,
    processes,
    cgroups: sandbox.cgroup === undefined ? [] : directoriesBelow(sandbox.cgroup).sort(),
    // Locks of open file descriptions (OFDLCK) have no process: those of the whole machine are listed.
    locks: linesOf(join(sandboxProc(sandbox), 'locks'))
      .filter((line) => !line.includes(' OFDLCK '))
      .map((line) => {
        const [, kind, , mode, , file] = line.replace(' -> ', ' ').split(/ +/);
        return `${kind} ${mode} ${file}`;
      })
      .sort(),
  };
}

/**
 * What subhosts could have left in the sandbox. Set aside is what is kept for the next one: the mount that holds
 * /run/netns, as of ip-netns(8), and the control group above those of the subhosts.
 */
export async function leftOvers(sandbox: Sandbox): Promise<HostSnapshot> {
  // The sandbox's own last process starts after it said that it is ready.
  const all = await eventually('the sandbox is whole', async () => {
    const taken = await snapshot(sandbox);
    return taken.processes.includes('cat') && taken;
  });
  return {
    ...all,
    mounts: all.mounts.filter((mount) => !mount.startsWith('/run/netns ')),
    cgroups: all.cgroups.filter((group) => group !== 'overlay-boot'),
  };
}

/** The sandbox's own /proc: the processes of its pid namespace and of those below it. */
const sandboxProc = (sandbox: Sandbox): string => `/proc/${sandbox.pid}/root/proc`;

const linesOf = (path: string): string[] => readFileSync(path, 'utf8').split('\n').filter(Boolean);

function mountsOf(sandbox: Sandbox): string[] {
  return linesOf(`/proc/${sandbox.pid}/mountinfo`).map((line) => {
    const [before = '', after = ''] = line.split(' - ');
    const [, , , root, mountPoint, options] = before.split(' ');
    const [type, source] = after.split(' ');
    return [mountPoint, type, source, root, options].join(' ');
  });
}

interface IpLink {
  readonly ifname: string;
  readonly flags: readonly string[];
  readonly address?: string;
  readonly master?: string;
  readonly ifalias?: string;
  readonly linkinfo?: { readonly info_kind?: string };
}

async function linksOf(sandbox: Sandbox): Promise<string[]> {
  const links = JSON.parse(await sandbox.sh('ip -j -d link')) as IpLink[];
  return links
    .map((link) =>
      [
        link.ifname,
        link.linkinfo?.info_kind ?? '-',
        link.master ?? '-',
        link.ifalias ?? '-',
        link.flags.includes('UP') ? 'up' : 'down',
        link.address ?? '-',
      ].join(' '),
    )
    .sort();
}

async function pathsBelow(sandbox: Sandbox, directory: string): Promise<string[]> {
  const { stdout } = await sandbox.run(['find', directory, '-mindepth', '1']);
  return stdout.split('\n').filter(Boolean).sort();
}

interface LoopDevice {
  readonly name: string;
  readonly 'back-file': string | null;
  readonly 'back-maj:min': string | null;
}

/** Loop devices are the whole machine's: only those on a file system of the sandbox's own are looked at. */
async function loopDevicesOf(sandbox: Sandbox): Promise<string[]> {
  const own = new Set(
    linesOf(`/proc/${sandbox.pid}/mountinfo`)
      .filter((line) => line.includes(' - tmpfs '))
      .map((line) => line.split(' ')[2]),
  );
  const { stdout } = await sandbox.run(['losetup', '-J', '-O', 'NAME,BACK-FILE,BACK-MAJ:MIN']);
  const { loopdevices } = JSON.parse(stdout.trim() || '{"loopdevices":[]}') as { loopdevices: LoopDevice[] };
  return loopdevices
    .filter(
      (device) =>
        own.has(device['back-maj:min']?.trim()) || device['back-file']?.startsWith(`${sandbox.diskdir}/`),
    )
    .map((device) => `${device.name} ${device['back-file']}`)
    .sort();
}

function processesOf(sandbox: Sandbox): string[] {
  const proc = sandboxProc(sandbox);
  return readdirSync(proc)
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => describeProcess(join(proc, pid)))
    .sort();
}

function describeProcess(directory: string): string[] {
  try {
    const stat = readFileSync(join(directory, 'stat'), 'utf8');
    const command = stat.slice(stat.indexOf('(') + 1, stat.lastIndexOf(')'));
    const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    // A zombie whose parent is pid 1 is just being reaped.
    if (state === 'Z') return parent === '1' ? [] : [`${command} (zombie)`];
    return [readFileSync(join(directory, 'cmdline'), 'utf8').split('\0').join(' ').trim() || command];
  } catch {
    return []; // it ended while it was read
  }
}

function directoriesBelow(directory: string, prefix = ''): string[] {
  return readdirSync(join(directory, prefix), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .flatMap((entry) => {
      const path = join(prefix, entry.name);
      return [path, ...directoriesBelow(directory, path)];
    });
}
