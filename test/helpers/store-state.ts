/** A store as its files are, to be compared with itself before and after. */
import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';

/** All of a store but times, what is in work directories, and which id a machine got. */
export function storeState(wafers: string): string {
  const lines: string[] = [];
  const walk = (path: string): void => {
    for (const name of readdirSync(join(wafers, path)).sort()) {
      const place = join(path, name);
      const stat = lstatSync(join(wafers, place));
      const content = stat.isSymbolicLink()
        ? readlinkSync(join(wafers, place))
        : stat.isFile()
          ? readFileSync(join(wafers, place), 'latin1').replace(/^[0-9a-f]{32}\n$/, 'ID')
          : '';
      lines.push(`${place} ${stat.mode.toString(8)} ${stat.uid}:${stat.gid} ${JSON.stringify(content)}`);
      if (stat.isDirectory() && !/^[^/]+\/work$/.test(place)) walk(place);
    }
  };
  if (lstatSync(wafers, { throwIfNoEntry: false })) walk('');
  // The directory of the points alone says nothing.
  return lines
    .filter((line, i) => !/^points \S+ \S+ ""$/.test(line) || lines[i + 1]?.startsWith('points/'))
    .join('\n');
}
