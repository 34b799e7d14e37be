/** Where an archive is written to: root writes it, in a directory that may be anybody's. */
import { existsSync, lstatSync, readlinkSync, realpathSync, type Stats, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { UserError } from '../errors.js';
import { isWithin, realPath } from '../stack/root-kind.js';

export interface ArchiveTarget {
  /** Without links. */
  readonly path: string;
  /** The file that is replaced, where the archive is to get its owner and mode. */
  readonly kept: Stats | undefined;
}

const LINKS_MAX = 40;
const S_ISVTX = 0o1000;
const OTHERS_WRITE = 0o022;
const ELSEWHERE = 'write the archive to another place';

/** @throws UserError for a place in WAFERS, for what is no file, and for what others may have put there on purpose */
export function archiveTarget(file: string, wafers: string): ArchiveTarget {
  const { path, stat, isShared } = endOfLinks(file);
  if (isWithin(path, realPath(wafers)))
    throw new UserError({ what: `${file} is in the store`, todo: ELSEWHERE });
  // By the kernel's own way, too: a link in /proc leads to what has no path.
  const there = statSync(file, { throwIfNoEntry: false });
  if (there && !there.isFile()) throw new UserError({ what: `${file} is there, and is no file` });
  return { path, kept: isShared ? undefined : stat };
}

interface Place {
  readonly path: string;
  readonly stat: Stats | undefined;
  /** Others make and rename files in its directory. */
  readonly isShared: boolean;
}

/** Whoever can make the file first, or a link, would choose who reads the archive, and what it replaces. */
function endOfLinks(file: string): Place {
  let place = placeOf(file);
  for (let links = 0; place.stat?.isSymbolicLink(); links++) {
    if (links === LINKS_MAX) throw new UserError({ what: `${file}: too many links`, todo: ELSEWHERE });
    place = placeOf(resolve(dirname(place.path), readlinkSync(place.path)));
  }
  return place;
}

function placeOf(file: string): Place {
  const directory = dirname(file);
  if (!existsSync(`${directory}/.`)) throw new UserError({ what: `${directory}: no such directory` });
  const real = realpathSync(directory);
  const path = join(real, basename(file));
  const stat = lstatSync(path, { throwIfNoEntry: false });
  const isShared = othersWrite(statSync(real));
  if (stat && isShared && stat.uid !== process.geteuid?.())
    throw new UserError({
      what: `${path} is there, and belongs to uid ${stat.uid}, in a directory that others write to, too`,
      todo: `remove it, or ${ELSEWHERE}`,
    });
  return { path, stat, isShared };
}

const othersWrite = ({ mode, uid }: Stats): boolean =>
  (mode & (S_ISVTX | OTHERS_WRITE)) !== 0 || uid !== process.geteuid?.();
