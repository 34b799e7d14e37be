/** overlay-diskfile: a disk image as the value of a variable in a conf. */
import { statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { EXIT, Failure, UserError } from '../errors.js';
import { isMounted, mountDisk } from '../launch/disk-mount.js';
import type { Command } from './command.js';
import { runCommand } from './run-command.js';

const command: Command = {
  name: 'overlay-diskfile',
  summary: 'Mounts a disk image for a conf and prints a path in it',
  usage: ['MOUNT/PATH [DISKFILE [INDEX]]'],
  options: [],
  async main(args, terminal) {
    const [place, diskFile, index, ...more] = args.positionals;
    if (place === undefined || more.length > 0)
      throw new UserError({
        what: place === undefined ? 'MOUNT/PATH is missing' : `too many arguments: ${more[0]}`,
        todo: 'see overlay-diskfile --help',
      });
    const { mount, value } = splitPlace(place);
    const disk = { path: diskFile && resolve(terminal.cwd, diskFile), index: parseIndex(index) };
    if (terminal.env.ACTION === 'overlay-boot')
      await mountOnce(resolve(terminal.cwd, mount), mount, disk, terminal.uid);
    terminal.print(value);
    return EXIT.ok;
  },
};

/** Several variables may lie on one image: the first of them mounts it. */
async function mountOnce(
  directory: string,
  mount: string,
  { path, index }: { path: string | undefined; index: number | undefined },
  uid: number,
): Promise<void> {
  if (!statSync(directory, { throwIfNoEntry: false })?.isDirectory())
    throw new UserError({ what: `MOUNT ${mount} is no directory`, todo: `mkdir ${directory}` });
  if (isMounted(directory)) return;
  if (path === undefined)
    throw new UserError({ what: `nothing is mounted on ${mount}`, todo: 'name the DISKFILE to mount there' });
  const stat = statSync(path, { throwIfNoEntry: false });
  if (!stat) throw new UserError({ what: `DISKFILE ${path}: no such file` });
  if (!stat.isFile() && !stat.isBlockDevice())
    throw new UserError({ what: `DISKFILE ${path}: neither a file nor a block device` });
  if (uid !== 0) throw new Failure({ what: `mounting ${path}: must be root` });
  await mountDisk({ path, index }, directory);
}

/** MOUNT is what stands before `//`, or else the first component of a relative path. */
function splitPlace(place: string): { mount: string; value: string } {
  const marked = place.indexOf('//');
  if (marked > 0) {
    const mount = place.slice(0, marked);
    return { mount, value: join(mount, place.slice(marked)) };
  }
  const value = place.replace(/^(\.\/)+/, '');
  const [mount = ''] = value.split('/', 1);
  if (mount !== '' && mount !== '.' && mount !== '..') return { mount, value };
  throw new UserError({
    what: place.startsWith('/')
      ? `${place} is not a relative path`
      : `${place} has no first component for MOUNT`,
    todo: 'write MOUNT/PATH, or mark MOUNT as in MOUNT//PATH',
  });
}

function parseIndex(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (/^[1-9][0-9]{0,3}$/.test(text)) return Number(text);
  throw new UserError({ what: `INDEX "${text}" is no partition's number`, todo: 'write 1 or more' });
}

void runCommand(command);
