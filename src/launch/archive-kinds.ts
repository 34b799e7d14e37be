/** What archives are: tar, and how it is compressed; by their first bytes and by their names. */
import { basename } from 'node:path';

/** Compressed archives: by the first bytes of the file, and by the ends of its name. */
const COMPRESSIONS = [
  { magic: '1f8b', program: 'gzip', ends: ['.gz', '.tgz'] },
  { magic: 'fd377a585a00', program: 'xz', ends: ['.xz', '.txz'] },
  { magic: '28b52ffd', program: 'zstd', ends: ['.zst', '.tzst'] },
  { magic: '425a68', program: 'bzip2', ends: ['.bz2', '.tbz2', '.tbz'] },
] as const;

/** So many bytes say which it is. */
export const MAGIC_BYTES = 6;

/** The program that a file with these first bytes was compressed with; undefined for what is not compressed. */
export const compressorOf = (start: Buffer): string | undefined =>
  COMPRESSIONS.find(({ magic }) => start.toString('hex').startsWith(magic))?.program;

/** The program that makes a file of this name; undefined for one that is not compressed. */
export const compressorFor = (file: string): string | undefined =>
  COMPRESSIONS.find(({ ends }) => ends.some((end) => file.endsWith(end)))?.program;

/** For who brings something else. */
export const KNOWN_KINDS = `plain, ${COMPRESSIONS.map(({ program }) => program).join(', ')} are known`;

/** The name that an image gets from its archive's: without `.tar`, `.tar.gz` and the like. */
export const imageNameOf = (file: string): string =>
  basename(file).replace(/(\.tar)?(\.(gz|xz|zst|bz2))?$|\.t(gz|xz|zst|bz2?)$/, '');

/** All that tar(1) can keep of a file; and what it says of one is a line, whatever its name. */
export const KEEP = ['--numeric-owner', '--xattrs', '--xattrs-include=*', '--acls', '--quoting-style=escape'];
