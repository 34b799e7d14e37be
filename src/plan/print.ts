/** A plan as lines for people: what a boot would do, in order. Pure. */
import type { BootPlan, Stage } from './boot-plan.js';
import { type ChildOp, childOpStrings } from './child-ops.js';
import { startScript } from './start-script.js';

const ROOT_KINDS = {
  overlay: 'an overlay',
  bind: 'a bind mount',
  self: 'a directory as it is',
  stack: 'a mount stack',
} as const;

/** The text of `--plan`. */
export function printPlan(plan: BootPlan): string {
  return [
    `subhost ${plan.name}, from ${plan.conf}`,
    `root: ${ROOT_KINDS[plan.rootKind]}`,
    `namespaces: mount pid net uts ipc cgroup; the network one named ${plan.netns}`,
    `log: ${plan.log}`,
    ...plan.cables.map((cable) =>
      cable.kind === 'veth'
        ? `cable: ${cable.host} - ${cable.inside}${cable.mac ? ` (${cable.mac})` : ''}, ${hostSide(cable.bridge)}`
        : `cable: VLAN ${cable.vlanId} ${cable.host} on ${cable.parent}, ${hostSide(cable.bridge)}`,
    ),
    ...Object.entries(plan.limits).map(([name, value]) => `limit: ${name} ${value}`),
    ...plan.stages.flatMap(stageLines),
  ].join('\n');
}

const hostSide = (bridge: string | undefined): string => (bridge ? `port of ${bridge}` : 'ifup, else set up');

function stageLines(stage: Stage): string[] {
  switch (stage.kind) {
    case 'child':
      return stage.ops.map(opLine);
    case 'hook':
      return [`${stage.hook.name}: ${stage.hook.argv.join(' ')}`];
    case 'start':
      return [...stage.ops.map(opLine), ...startLines(stage)];
  }
}

/** An operation in its own words; a text with line breaks is only announced. */
function opLine(operation: ChildOp): string {
  const [name = '', ...values] = childOpStrings(operation);
  const words = values
    .filter((value) => value !== '')
    .map((value) => (value.includes('\n') ? '(text)' : value));
  return [name, ...words].join(' ');
}

function startLines({ hook, after, start }: Extract<Stage, { kind: 'start' }>): string[] {
  const script = startScript(start)
    .trimEnd()
    .split('\n')
    .map((line) => `  ${line}`);
  if (!hook) return ['start script:', ...script];
  const printed = `INIT: ${hook.argv.join(' ')}`;
  return after
    ? [`${printed}, before the last line of`, 'start script:', ...script]
    : [`${printed} prints the start script`];
}
