/**
 * The emulator, of Debian 13 whatever the host has: Debian 12's takes half as long again for the same instructions. Its
 * packages are unpacked beside the images, and its programs run by their own dynamic loader, ld.so(8).
 */
import { join } from 'node:path';
import { debootstrap, kept } from './cache.js';

const PACKAGES = ['qemu-system-x86', 'qemu-utils'];
/** Where it finds its firmware. */
const DATA = ['qemu', 'seabios'];

type Argv = readonly [program: string, ...args: string[]];

export interface Emulator {
  /** How a command line of qemu-system-x86_64 begins. */
  readonly system: Argv;
  /** How one of qemu-img begins. */
  readonly img: Argv;
}

/** Brings it where it is not there yet, in ten seconds. */
export async function findEmulator(): Promise<Emulator> {
  const dir = await kept('emulator', [__filename], (fresh) =>
    debootstrap(join(fresh, 'root'), PACKAGES, ['--variant=extract']),
  );
  const usr = join(dir, 'root/usr');
  const libraries = join(usr, 'lib/x86_64-linux-gnu');
  const loader: Argv = [join(libraries, 'ld-linux-x86-64.so.2'), '--library-path', libraries];
  const data = DATA.flatMap((name) => ['-L', join(usr, 'share', name)]);
  return {
    system: [...loader, join(usr, 'bin/qemu-system-x86_64'), ...data],
    img: [...loader, join(usr, 'bin/qemu-img')],
  };
}
