/** Stacks to be timed: a .mstack directory of ten layers, and wafers with many ancestors. */
import type { Sandbox } from '../helpers/namespaces.js';

/** Below a tmpfs of the sandbox: what the disk does is not to be measured. */
const HOME = '/srv/t/stacks';

export const MSTACK = `${HOME}/ten.mstack`;
export const WHERE = `${HOME}/where`;
export const STACK_ENVIRONMENT = { WAFERS: `${HOME}/wafers`, STACKS: `${HOME}/stacks` } as const;
/** Ancestors of the wafers that are timed; the wafer itself is the writable layer on top of them. */
export const DEPTHS: readonly number[] = [1, 10, 100, 500];
export const waferOf = (depth: number): string => `top${depth}`;

/** As far as mount(8) goes, whose options are one page of text: 400 names as short as these fill it. */
export const PLAIN_DEPTHS: readonly number[] = [1, 10, 100, 400];

/** What mount(8) and umount(8) do for as many layers and an upper, as one shell command. */
export function plainMount(layers: number): string {
  const lower = Array.from({ length: layers }, (_, i) => `w${layers - i}/data`).join(':');
  return `cd ${HOME}/wafers && mount -t overlay overlay -o lowerdir=${lower},upperdir=../up,workdir=../wk ../where && umount ../where`;
}

/** Makes them: a chain of wafers w1 … w500, each the parent of the next, and one on top for each depth. */
export async function prepareStacks(sandbox: Sandbox): Promise<void> {
  const deepest = Math.max(...DEPTHS);
  await sandbox.sh(`
    mkdir -p ${MSTACK}/rw ${WHERE} ${HOME}/up ${HOME}/wk ${HOME}/wafers ${HOME}/stacks
    i=0; while [ $i -lt 10 ]; do mkdir ${MSTACK}/layer@$i; echo $i >${MSTACK}/layer@$i/file$i; i=$((i + 1)); done
    cd ${HOME}/wafers
    i=1; while [ $i -le ${deepest} ]; do
      mkdir -p w$i/data; [ $i = 1 ] || { mkdir w$i/work; echo w$((i - 1)) >w$i/parent; }; i=$((i + 1))
    done
    for depth in ${DEPTHS.join(' ')}; do mkdir -p top$depth/data top$depth/work; echo w$depth >top$depth/parent; done`);
}
