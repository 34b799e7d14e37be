import { expect } from 'chai';
import type { SubhostConfig } from '../../../src/config/subhost-config.js';
import { bootPlan, finalScript, type HostFacts, type Stage } from '../../../src/plan/boot-plan.js';
import type { ChildOp } from '../../../src/plan/child-ops.js';
import { printPlan } from '../../../src/plan/print.js';
import type { Stack } from '../../../src/stack/stack.js';

const STACK: Stack = {
  from: 'conf',
  layers: [
    { kind: 'directory', path: '/bottom' },
    { kind: 'directory', path: '/top' },
  ],
  writable: { upper: '/b/root', work: '/b/work', make: false },
  binds: [],
  xattrs: 'trusted',
  readOnly: false,
} as unknown as Stack;

const facts = (rootKind: HostFacts['rootKind']): HostFacts => ({
  rootKind,
  stack: STACK,
  initProgram: '/lib/init',
  netnsDir: '/run/netns',
});

const CONFIG: SubhostConfig = {
  conf: '/b/mta.conf',
  name: 'mta',
  base: '/b',
  live: '/b/live',
  upper: '/b/root',
  work: '/b/work',
  lower: ['/top', '/bottom'],
  cables: [],
  start: ['ssh'],
  startIsDefault: false,
  ramSizeBytes: 4096,
  log: '/b/log',
  shares: [],
  caps: ['CHOWN', 'SETFCAP'],
  limits: {},
  engine: 'subhost',
};
const config = (change: Partial<SubhostConfig> = {}): SubhostConfig => ({ ...CONFIG, ...change });
const stagesOf = (
  change: Partial<SubhostConfig> = {},
  kind: HostFacts['rootKind'] = 'overlay',
): readonly Stage[] => bootPlan(config(change), facts(kind)).stages;
/** What happens in order: names of operations, hooks as `hook NAME`. */
const order = (stages: readonly Stage[]): string[] =>
  stages.flatMap((stage) =>
    stage.kind === 'hook' ? [`hook ${stage.hook.name}`] : stage.ops.map(({ op }) => op),
  );
const opsOf = <T extends ChildOp['op']>(stages: readonly Stage[], name: T): Extract<ChildOp, { op: T }>[] =>
  stages
    .flatMap((stage) => (stage.kind === 'hook' ? [] : stage.ops))
    .filter((one): one is Extract<ChildOp, { op: T }> => one.op === name);
const hook = (after: boolean) => ({ argv: ['/b/hook', 'x'], after });
const startStage = (stages: readonly Stage[]): Extract<Stage, { kind: 'start' }> => {
  const last = stages.at(-1);
  if (last?.kind !== 'start') throw new Error('the last stage is no start');
  return last;
};

describe('bootPlan', () => {
  it('has the lower layers the top first, between the lock of WORK and the overlay', () => {
    const names = order(stagesOf());
    expect(opsOf(stagesOf(), 'lower').map(({ directory }) => directory)).to.deep.equal(['/top', '/bottom']);
    expect(names.indexOf('worklock')).to.be.below(names.indexOf('lower'));
    expect(names.lastIndexOf('lower')).to.be.below(names.indexOf('overlay'));
    expect(names.filter((name) => ['bind', 'self'].includes(name))).to.deep.equal([]);
  });

  it('of a bind root binds UPPER on LIVE, of a directory as it is only LIVE', () => {
    expect(opsOf(stagesOf({}, 'bind'), 'bind')).to.deep.equal([
      { op: 'bind', upper: '/b/root', live: '/b/live', mode: 'rw' },
    ]);
    expect(opsOf(stagesOf({}, 'self'), 'self')).to.deep.equal([{ op: 'self', live: '/b/live' }]);
    for (const kind of ['bind', 'self'] as const)
      expect(order(stagesOf({}, kind))).not.to.include.members(['overlay', 'worklock']);
  });

  it('goes from the interfaces file to the pivot in an order that must not change', () => {
    const names = order(stagesOf({ shares: [{ host: '/s', inside: '/t' }] }));
    const wanted = [
      'seed',
      'overlay',
      'system',
      'adjtime',
      'protect',
      'reaper',
      'share',
      'pivot',
      'hostname',
      'lo',
      'caps',
    ];
    expect(wanted.map((name) => names.indexOf(name))).not.to.include(-1);
    expect([...wanted].sort((a, b) => names.indexOf(a) - names.indexOf(b))).to.deep.equal(wanted);
  });

  it('drops capabilities last of all', () => {
    expect(startStage(stagesOf()).ops.at(-1)).to.deep.equal({ op: 'caps', mask: '80000001' });
  });

  const hooks: readonly [string, Partial<SubhostConfig>, string[], string[]][] = [
    [
      'PREMOUNT in the place of the built-in one',
      { premount: hook(false) },
      ['hook PREMOUNT', 'overlay'],
      ['seed'],
    ],
    ['+PREMOUNT after the built-in one', { premount: hook(true) }, ['seed', 'hook PREMOUNT', 'overlay'], []],
    [
      'POSTMOUNT in the place of the built-in one',
      { postmount: hook(false) },
      ['overlay', 'hook POSTMOUNT', 'protect', 'reaper'],
      ['system', 'adjtime'],
    ],
    [
      '+POSTMOUNT after the built-in one',
      { postmount: hook(true) },
      ['system', 'adjtime', 'hook POSTMOUNT', 'protect', 'reaper'],
      [],
    ],
  ];
  for (const [title, change, inOrder, without] of hooks)
    it(`runs ${title}`, () => {
      const names = order(stagesOf(change));
      const places = inOrder.map((name) => names.indexOf(name));
      expect(places).not.to.include(-1);
      expect(places).to.deep.equal([...places].sort((a, b) => a - b));
      for (const name of without) expect(names).not.to.include(name);
    });

  it('hands UPPER to PREMOUNT, LIVE and UPPER to POSTMOUNT, nothing to INIT', () => {
    const stages = stagesOf({ premount: hook(true), postmount: hook(false), init: hook(true) });
    const argv = stages.flatMap((stage) => (stage.kind === 'hook' ? [stage.hook.argv] : []));
    expect(argv).to.deep.equal([
      ['/b/hook', 'x', '/b/root'],
      ['/b/hook', 'x', '/b/live', '/b/root'],
    ]);
    expect(startStage(stages).hook?.argv).to.deep.equal(['/b/hook', 'x']);
  });

  it('has no PREMOUNT for a directory as it is', () => {
    expect(order(stagesOf({ premount: hook(false) }, 'self'))).not.to.include.members([
      'seed',
      'hook PREMOUNT',
    ]);
  });

  it('lifts masks, read-only, nodev and the dropping of capabilities with CAPS=all', () => {
    const { caps: _, ...all } = CONFIG;
    const { stages } = bootPlan(all, facts('overlay'));
    const names = order(stages);
    expect(names).to.include('devices-allowed');
    for (const name of ['protect', 'caps']) expect(names).not.to.include(name);
    expect(opsOf(stages, 'system').find(({ which }) => which === 'sys')?.option).to.equal('rw');
    expect(order(stagesOf())).not.to.include('devices-allowed');
  });

  it('has no /run of its own with RAM_SIZE=none', () => {
    const { ramSizeBytes: _, ...none } = CONFIG;
    expect(opsOf(bootPlan(none, facts('overlay')).stages, 'system').map(({ which }) => which)).to.deep.equal([
      'dev',
      'proc',
      'sys',
    ]);
    expect(opsOf(stagesOf(), 'system').at(-1)).to.deep.equal({ op: 'system', which: 'run', option: '4096' });
  });

  it('keeps the order of SHARE', () => {
    const shares = [
      { host: '/b', inside: '/y' },
      { host: '/a', inside: '/y/z' },
    ];
    expect(opsOf(stagesOf({ shares }), 'share').map(({ host, inside }) => ({ host, inside }))).to.deep.equal(
      shares,
    );
  });

  it('gives hooks the variables of the conf, resolved', () => {
    expect(bootPlan(CONFIG, facts('overlay')).hookEnvironment).to.deep.equal({
      ...{
        CONFIG: '/b/mta.conf',
        NAME: 'mta',
        BASE: '/b',
        LIVE: '/b/live',
        UPPER: '/b/root',
        WORK: '/b/work',
      },
      ...{ LOWER: '/top:/bottom', RAM_SIZE: '4096', START: 'ssh' },
    });
    const { ramSizeBytes: _, ...none } = config({ start: [] });
    expect(bootPlan(none, facts('overlay')).hookEnvironment).to.include({ RAM_SIZE: 'none', START: 'none' });
  });

  it('survives JSON as it is', () => {
    const plan = bootPlan(config({ init: hook(true) }), facts('overlay'));
    expect(JSON.parse(JSON.stringify(plan))).to.deep.equal(plan);
  });
});

describe('finalScript', () => {
  it('is what INIT printed, where that replaces the built-in one', () => {
    expect(finalScript(startStage(stagesOf({ init: hook(false) })), 'exec /sbin/init')).to.equal(
      'exec /sbin/init',
    );
  });

  it('has what +INIT printed before the last exec', () => {
    const script = finalScript(startStage(stagesOf({ init: hook(true) })), 'echo x');
    expect(script.endsWith('start ssh\necho x\nexec "$1" 3>&-\n')).to.equal(true);
  });
});

describe('printPlan', () => {
  it('names the root, the namespaces, the cables and the script, a line each', () => {
    const cables = [
      { kind: 'veth', host: 'mta0', inside: 'eth0', mac: '02:00:00:00:00:01', bridge: 'br0' },
      { kind: 'vlan', host: 'mta0.5', parent: 'mta0', vlanId: 5 },
    ] as const;
    const lines = printPlan(
      bootPlan(config({ cables, limits: { pidsMax: 9 }, postmount: hook(true) }), facts('overlay')),
    ).split('\n');
    expect(lines.slice(0, 7)).to.deep.equal([
      'subhost mta, from /b/mta.conf',
      'root: an overlay',
      'namespaces: mount pid net uts ipc cgroup; the network one named /run/netns/mta',
      'log: /b/log',
      'cable: mta0 - eth0 (02:00:00:00:00:01), port of br0',
      'cable: VLAN 5 mta0.5 on mta0, ifup, else set up',
      'limit: pidsMax 9',
    ]);
    expect(lines).to.include('seed /b/root etc/network/interfaces (text)');
    expect(lines).to.include('POSTMOUNT: /b/hook x /b/live /b/root');
    expect(lines.at(-1)).to.equal('  exec "$1" 3>&-');
  });
});
