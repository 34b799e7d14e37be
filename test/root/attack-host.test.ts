/**
 * Root inside against the host, attack by attack, run for real: refused inside a default subhost; with CAPS=all, or on
 * the host itself, the same program gets through, so that it is known to bite. test/helpers/attacks.c has them.
 */
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import { eventually, useSandbox } from '../helpers/namespaces.js';
import { makeBusyboxRoot, Subhosts } from '../helpers/subhosts.js';
import { toolFor } from '../helpers/tools.js';

const BASE_ROOT = '/srv/t/base';
const HOST_LINK = 'host-bridge';

/** What came of each attack: `done`, or the errno it was refused with. */
type Results = ReadonlyMap<string, string>;

const parse = (text: string): Results =>
  new Map(
    text
      .trimEnd()
      .split('\n')
      .map((line) => line.split(' ') as [string, string]),
  );

/** Title, attack, how it is refused by default, how it ends with CAPS=all. ENOSYS and ENOENT: what this kernel lacks. */
const ATTACKS: readonly [title: string, attack: string, byDefault: string, withAll: string][] = [
  ['a device node made in the root', 'make_node', 'EPERM', 'done'],
  ['a device node made in /dev', 'make_node_in_dev', 'EPERM', 'done'],
  ['a device node made in /run', 'make_node_in_run', 'EPERM', 'EACCES'],
  ['a device node made in /dev/shm', 'make_node_in_shm', 'EPERM', 'EACCES'],
  ['a device node made in a share', 'make_node_in_share', 'EPERM', 'done'],
  ['reading by a device node that a layer has', 'read_node_of_layer', 'EACCES', 'done'],
  ['writing by a device node that a layer has', 'write_node_of_layer', 'EACCES', 'done'],
  ['reading by a device node that a share has', 'read_node_of_share', 'EACCES', 'done'],
  ['open_by_handle_at on a file system of the host', 'open_by_handle', 'EPERM', 'done EOPNOTSUPP ESTALE'],
  ['mounting proc anew', 'mount_proc', 'EPERM', 'done'],
  ['mounting sysfs anew', 'mount_sysfs', 'EPERM', 'done'],
  ['mounting control groups, for a release_agent', 'mount_cgroup', 'EPERM', 'EINVAL ENODEV'],
  ['mounting control groups, for its own limits', 'mount_cgroup2', 'EPERM', 'done'],
  ['mounting binfmt_misc', 'mount_binfmt', 'EPERM', 'done ENODEV'],
  ['mounting debugfs', 'mount_debugfs', 'EPERM', 'done ENODEV'],
  ['mounting a disk', 'mount_disk', 'EPERM', 'EINVAL ENOTBLK ENODEV'],
  ['the new mount API', 'fsopen_proc', 'EPERM', 'done'],
  ['a copy of a mount', 'clone_mount', 'EPERM', 'done'],
  ['/sys made writable again', 'remount_sys', 'EPERM', 'done'],
  ['devices allowed on the root again', 'remount_root_dev', 'EPERM', 'done'],
  ['a mask taken away', 'unmask', 'EPERM', 'EINVAL'],
  ['another pivot', 'pivot', 'EPERM', 'EBUSY'],
  ["marks of overlays, which lead to other files of a layer's", 'set_trusted', 'EPERM', 'done'],
  ["writing to /.reaper, the host's program", 'write_reaper', 'EROFS ETXTBSY', 'EROFS ETXTBSY'],
  ['replacing /.reaper', 'replace_reaper', 'EBUSY', 'EBUSY'],
  ['unmounting /.reaper', 'unmount_reaper', 'EPERM', 'done'],
  ['core_pattern', 'core_pattern', 'EROFS', 'done'],
  ["the kernel's program for modules", 'modprobe_path', 'EROFS ENOENT', 'done ENOENT'],
  ['a setting of the memory management', 'overcommit', 'EROFS', 'done'],
  ['sysrq', 'sysrq', 'EROFS ENOENT', 'done ENOENT'],
  ['uevent_helper', 'uevent_helper', 'EROFS ENOENT', 'done ENOENT'],
  ['a setting in /sys/kernel', 'kernel_sysfs', 'EROFS ENOENT', 'done ENOENT'],
  ["the kernel's memory", 'kernel_memory', 'ENODATA ENOENT', 'done ENOENT EPERM'],
  ['setns to a mount namespace', 'enter_mounts', 'EPERM', 'done'],
  ['setns to a network namespace', 'enter_network', 'EPERM', 'done'],
  ['a mount namespace', 'new_mounts', 'EPERM', 'done'],
  ['a user namespace', 'new_user', 'EPERM', 'done'],
  ['loading a module', 'load_module', 'EPERM ENOSYS', 'EBADF ENOSYS'],
  ['unloading a module', 'delete_module', 'EPERM ENOSYS', 'ENOENT ENOSYS'],
  ['kexec', 'kexec', 'EPERM ENOSYS', 'EINVAL EPERM ENOSYS'],
  ['a reboot', 'reboot_host', 'EPERM', 'EINVAL'],
  ['the clock', 'set_clock', 'EPERM', 'done'],
  ["reading the kernel's log", 'read_log', 'EPERM', 'done'],
  ["opening the kernel's log", 'open_log', 'EPERM', 'done'],
  ["writing to the kernel's log", 'write_log', 'ENOENT', 'ENOENT'],
  // Root of a machine may lack SYS_RESOURCE itself.
  ['limits above the set ones', 'raise_limit', 'EPERM', 'done EPERM'],
  ['a better priority', 'raise_priority', 'EACCES', 'done'],
  ['swapping', 'swap_on', 'EPERM', 'ENOENT'],
  ['process accounting', 'account', 'EPERM', 'ENOENT ENOSYS'],
  ['the host name of the subhost', 'host_name', 'EPERM', 'done'],
  ['ports of the machine', 'ports', 'EPERM ENOSYS', 'done ENOSYS'],
  ['bpf', 'bpf_map', 'EPERM', 'done ENOSYS'],
  ['performance events', 'perf_event', 'EPERM', 'done ENOSYS'],
  ['handling page faults', 'fault_handler', 'EPERM', 'done ENOSYS'],
  ['io_uring', 'io_rings', 'EPERM', 'EFAULT EPERM ENOSYS'],
  ["listing the host's interfaces over a cable", 'see_host_link', 'EPERM EACCES', 'done'],
  ["deleting an interface of the host's over a cable", 'delete_host_link', 'EPERM EACCES', 'done'],
];

/** What no capability opens either; there the host itself shows that the attack finds what is there. */
const UNREACHABLE: readonly [title: string, attack: string, how: string][] = [
  ['seeing a process of the host', 'see_keeper', 'ESRCH'],
  ['tracing a process of the host', 'trace_keeper', 'ESRCH'],
  ['a file of the host by the root of any process', 'by_root', 'ENOENT'],
  ['a file of the host by the working directory of any process', 'by_cwd', 'ENOENT'],
  ['a file of the host by a descriptor of any process', 'by_descriptors', 'ENOENT'],
  ['a file of the host by .. from a chroot', 'out_of_chroot', 'ENOENT'],
  ["an abstract socket of the host's", 'abstract_socket', 'ECONNREFUSED'],
  ['the work directory', 'work_directory', 'ENOENT'],
];

/** The same, where the host has nothing to show. */
const HIDDEN: readonly [title: string, attack: string, how: string][] = [
  ['signalling a process that it does not see', 'signal_unseen', 'ESRCH'],
  ['a file of the host by .. from a share', 'out_of_share', 'ENOENT'],
];

describe('root inside attacks the host', () => {
  const sandbox = useSandbox();
  const subhosts = new Subhosts(sandbox);
  const results: Record<'victim' | 'all' | 'host', Results> = {
    victim: new Map(),
    all: new Map(),
    host: new Map(),
  };
  let hostLinks = '';

  const prepare = async (name: string, caps: string | undefined): Promise<string> => {
    const conf = await subhosts.make(name, { CABLES: '=', SHARE: '/srv/t/shared:/share', CAPS: caps });
    const root = `${subhosts.base(name)}/root`;
    copyFileSync(toolFor(sandbox(), 'attacks'), subhosts.outside(`${root}/attacks`));
    await sandbox().sh(`mknod ${root}/layer-node c 1 5`);
    return conf;
  };

  before(async function () {
    this.timeout(60_000);
    await makeBusyboxRoot(sandbox(), BASE_ROOT);
    mkdirSync(subhosts.outside('/srv/t/shared'));
    writeFileSync(subhosts.outside('/srv/t/host-marker'), '');
    await sandbox().sh(`mknod /srv/t/shared/layer-node c 1 5; ip link add ${HOST_LINK} type bridge`);
    const listen =
      'import socket, time; s = socket.socket(socket.AF_UNIX); s.bind("\\0overlay-boot-attack"); s.listen(9); print("up", flush=True); time.sleep(600)';
    const listener = sandbox().spawn(['python3', '-c', listen]);
    await eventually('it listens', () => listener.stdout === 'up\n', 15_000);
    const confs = [await prepare('victim', undefined), await prepare('all', 'all')];
    const { code, stderr } = await subhosts.boot(confs);
    expect({ code, stderr }).to.deep.equal({ code: 0, stderr: '' });
    const attack = async (name: string): Promise<Results> =>
      parse(await sandbox().sh(`overlay-go ${name} /attacks ${HOST_LINK}`));
    results.victim = await attack('victim');
    hostLinks = await sandbox().sh('ip -o link');
    results.all = await attack('all');
    const names = UNREACHABLE.map(([, name]) => name).join(' ');
    results.host = parse(
      await sandbox().sh(`exec 9</; exec ${toolFor(sandbox(), 'attacks')} ${HOST_LINK} ${names}`, {
        cwd: '/',
      }),
    );
    listener.kill('SIGKILL');
    const stopped = await subhosts.stop('--all', '--kill');
    expect(stopped.code, stopped.stderr).to.equal(0);
  });

  const outcome = (results: Results, attack: string): string => results.get(attack) ?? 'not tried';

  for (const [title, attack, byDefault, withAll] of ATTACKS)
    it(`${title}: refused`, () => {
      expect(byDefault.split(' ')).to.include(outcome(results.victim, attack));
      expect(withAll.split(' '), 'with CAPS=all').to.include(outcome(results.all, attack));
    });

  for (const [title, attack, how] of UNREACHABLE)
    it(`${title}: there is none`, () => {
      expect(outcome(results.victim, attack)).to.equal(how);
      expect(outcome(results.all, attack), 'with CAPS=all').to.equal(how);
      expect(outcome(results.host, attack), 'on the host').to.equal('done');
    });

  for (const [title, attack, how] of HIDDEN)
    it(`${title}: there is none`, () => {
      expect(outcome(results.victim, attack)).to.equal(how);
    });

  it("and the host's interfaces are there afterwards, where CAPS=all has deleted one", async () => {
    expect(hostLinks).to.match(new RegExp(`: ${HOST_LINK}: `));
    expect(await sandbox().sh('ip -o link')).not.to.include(HOST_LINK);
  });

  it('but its own interfaces it may change', () => {
    expect(outcome(results.victim, 'own_link')).to.equal('done');
  });

  it('with a capability that counts on the host only it can see them, and overlay-boot has warned of it', async () => {
    await sandbox().sh(`ip link add ${HOST_LINK} type bridge`);
    const conf = await prepare('nice', '+SYS_NICE');
    const { code, stderr } = await subhosts.boot([conf]);
    expect({ code, stderr }).to.deep.equal({
      code: 0,
      stderr: `overlay-boot: ${conf}: CAPS: SYS_NICE counts on the host only, so the subhost has no user namespace of its own, and its NET_ADMIN reaches the host's interfaces over its cables: add -NET_ADMIN where that is not meant\n`,
    });
    const tried = await sandbox().sh(`overlay-go nice /attacks ${HOST_LINK} see_host_link raise_priority`);
    expect(tried).to.equal('raise_priority done\nsee_host_link done\n');
    expect((await subhosts.stop('--kill', 'nice')).code).to.equal(0);
  });

  it('no attack of the program is left out here', () => {
    const tried = [...ATTACKS, ...UNREACHABLE, ...HIDDEN].map(([, attack]) => attack);
    expect([...tried, 'own_link'].sort()).to.deep.equal([...results.victim.keys()].sort());
  });
});
