import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import { eventually } from '../helpers/namespaces.js';
import { useSubhosts } from '../helpers/subhosts.js';

const CYCLES = 500;
/** Objects that a leak of one a cycle would be far above, and what else the machine does is far below. */
const TOLERATED = CYCLES / 2;

/** So many objects of the kernel there are, of the kinds that a subhost has: slabinfo(5), file-nr in proc_sys_fs(5). */
function kernelObjects(): Readonly<Record<string, number>> {
  const slabs = readFileSync('/proc/slabinfo', 'utf8');
  const active = (cache: string): number =>
    Number(new RegExp(`^${cache} +([0-9]+) `, 'm').exec(slabs)?.[1] ?? 0);
  const [files] = readFileSync('/proc/sys/fs/file-nr', 'utf8').split('\t');
  return {
    'network namespaces': active('net_namespace'),
    'pid namespaces': active('pid_namespace'),
    mounts: active('mnt_cache'),
    'open files': Number(files),
  };
}

/** A subhost has a few hundred KiB of it while it runs; what else the machine does moves it by a few MiB. */
const TOLERATED_KIB_EACH = 32;

/** Memory of the kernel's own that it cannot take back, in KiB: proc_meminfo(5). */
function kernelMemory(): number {
  const lines = readFileSync('/proc/meminfo', 'utf8');
  return ['SUnreclaim', 'Percpu', 'KernelStack', 'PageTables']
    .map((name) => Number(new RegExp(`^${name}: +([0-9]+) kB$`, 'm').exec(lines)?.[1]))
    .reduce((sum, kib) => sum + kib, 0);
}

describe('boots and stops', () => {
  const subhosts = useSubhosts();

  it(`of one subhost, ${CYCLES} times, leave nothing: no file, no object and no memory of the kernel's`, async () => {
    await subhosts.sandbox.sh('ip link add br0 type bridge; mkdir -p /srv/t/shared');
    const conf = await subhosts.make(
      'again',
      { CABLES: 'br0=', SHARE: '/srv/t/shared:/mnt', START: '/startup' },
      { services: { startup: '#!/bin/sh\nexit 0\n' } },
    );
    const cycles = (times: number): Promise<string> =>
      subhosts.sandbox.sh(
        `i=0; while [ $((i += 1)) -le ${times} ]; do overlay-boot ${conf}; overlay-stop again; done >/dev/null`,
        { timeoutMs: times * 1_000 },
      );
    const files = (): Promise<string> =>
      subhosts.sandbox.sh(`find ${subhosts.base('again')} /srv/t/shared /var/log /run | sort`);
    await cycles(5); // so that all directories and both logs are there
    const [before, memoryBefore, filesBefore] = [kernelObjects(), kernelMemory(), await files()];
    await cycles(CYCLES - 5);
    expect(await files()).to.equal(filesBefore);
    // The kernel frees a network namespace some time after its last user.
    await eventually('the kernel has freed what it made', () =>
      Object.entries(kernelObjects()).every(([kind, count]) => count - (before[kind] ?? 0) < TOLERATED),
    );
    await eventually('and its memory', () => kernelMemory() - memoryBefore < CYCLES * TOLERATED_KIB_EACH);
    await subhosts.sandbox.sh('ip link del br0');
  }).timeout(600_000);
});
