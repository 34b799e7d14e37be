/** Stores to be timed: one of ten images, one of a thousand, and their points. */
import type { Sandbox } from '../helpers/namespaces.js';
import { STORE_SIZES } from './figures.js';
import { timeToEnd } from './stopwatch.js';
import { projectCommand } from './subhosts.js';

/** Below a tmpfs of the sandbox: what the disk does is not to be measured. */
const HOME = '/srv/t/stores';

const environmentOf = (images: number) => ({
  WAFERS: `${HOME}/${images}/w`,
  STACKS: `${HOME}/${images}/m`,
});

/** Makes them by hand, as overlay-store(7) has it: a tree of images, and points with two generations. */
export async function prepareStores(sandbox: Sandbox): Promise<void> {
  for (const { images, points } of STORE_SIZES) {
    const { WAFERS, STACKS } = environmentOf(images);
    await sandbox.sh(`
      mkdir -p ${WAFERS}/points ${STACKS}; cd ${WAFERS}
      i=1; while [ $i -le ${images} ]; do
        mkdir -p image$i/data image$i/work; : >image$i/sealed
        [ $i = 1 ] || echo image$((i / 2)) >image$i/parent
        i=$((i + 1))
      done
      i=1; while [ $i -le ${points} ]; do
        for n in 1 2; do
          mkdir -p image$n@point$i/data image$n@point$i/work points/point$i/$n
          echo image$n >image$n@point$i/parent
          ln -s ../../../image$n@point$i points/point$i/$n/instance
        done
        ln -s ../1 points/point$i/2/replaced; ln -s 2 points/point$i/current
        i=$((i + 1))
      done`);
    await timeToEnd(sandbox, projectCommand('stacko', 'mount-stackpoint', 'point1'), {
      env: environmentOf(images),
    });
  }
}

/** Milliseconds of list-images, of list-stackpoints, and of a cutover of a point that is mounted. */
export async function useStore(sandbox: Sandbox, images: number): Promise<number[]> {
  const env = environmentOf(images);
  const time = (...args: readonly string[]): Promise<number> =>
    timeToEnd(sandbox, projectCommand('stacko', ...args), { env });
  const taken = [await time('list-images'), await time('list-stackpoints')];
  taken.push(await time('cutover-stackpoint', 'point1', 'image3'));
  await time('fallback-stackpoint', 'point1');
  return taken;
}
