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

/** What mount(8) and umount(8) do for the same ten layers, as one shell command. */
export const PLAIN_MOUNT = `mount -t overlay overlay -o ${[
  `lowerdir=${Array.from({ length: 10 }, (_, i) => `ten.mstack/layer@${9 - i}`).join(':')}`,
  'upperdir=plain/data,workdir=plain/work,userxattr',
].join(',')} where && umount where`;
export const PLAIN_MOUNT_DIRECTORY = HOME;

/** Makes them: a chain of wafers w1 … w500, each the parent of the next, and one on top for each depth. */
export async function prepareStacks(sandbox: Sandbox): Promise<void> {
  const deepest = Math.max(...DEPTHS);
  await sandbox.sh(`
    mkdir -p ${MSTACK}/rw ${WHERE} ${HOME}/plain/data ${HOME}/plain/work ${HOME}/wafers ${HOME}/stacks
    i=0; while [ $i -lt 10 ]; do mkdir ${MSTACK}/layer@$i; echo $i >${MSTACK}/layer@$i/file$i; i=$((i + 1)); done
    cd ${HOME}/wafers
    i=1; while [ $i -le ${deepest} ]; do
      mkdir -p w$i/data; [ $i = 1 ] || { mkdir w$i/work; echo w$((i - 1)) >w$i/parent; }; i=$((i + 1))
    done
    for depth in ${DEPTHS.join(' ')}; do mkdir -p top$depth/data top$depth/work; echo w$depth >top$depth/parent; done`);
}
