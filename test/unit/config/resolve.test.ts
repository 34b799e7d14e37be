import { expect } from 'chai';
import fc from 'fast-check';
import { parseAssignments } from '../../../src/config/assignments.js';
import { describeConfig, describeUnevaluated } from '../../../src/config/describe.js';
import {
  type CommandRequest,
  identify,
  type RunCommand,
  resolveConfig,
  resolveLiterals,
  resolveWhole,
  variablesFromCommands,
} from '../../../src/config/resolve.js';
import { DEFAULT_SETTINGS } from '../../../src/config/settings.js';
import type { SubhostConfig } from '../../../src/config/subhost-config.js';
import { ErrorList, UserError } from '../../../src/errors.js';

const CONF = '/srv/web/web.conf';
const noCommand: RunCommand = async ({ command }) => {
  throw new Error(`ran ${command}`);
};
const parse = (text: string) => parseAssignments(text, 'web.conf');
const resolved = (text: string, run = noCommand, conf = CONF): Promise<SubhostConfig> =>
  resolveWhole(parse(text), conf, DEFAULT_SETTINGS, run);
const withBase = (text: string): Promise<SubhostConfig> => resolved(`${text}\nBASE=.`);

async function mistakesOf(promise: Promise<unknown>): Promise<string[]> {
  const error = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (error === undefined) return [];
  return (error instanceof ErrorList ? error.errors : [error]).map((one) => {
    expect(one).to.be.instanceOf(UserError);
    return (one as Error).message;
  });
}

describe('identify', () => {
  const good: [text: string, conf: string, name: string, base: string][] = [
    ['BASE=.', CONF, 'web', '/srv/web'],
    ['BASE=../x/', CONF, 'web', '/srv/x'],
    ['BASE=/', '/a.conf.conf', 'a.conf', '/'],
    ['BASE=x', '/etc/mta', 'mta', '/etc/x'],
    ['BASE=.\nNAME=', CONF, 'web', '/srv/web'],
    ['BASE=.\nNAME=A_b-9.c', CONF, 'A_b-9.c', '/srv/web'],
    ['BASE=.\nNAME=abcdefghijkl', CONF, 'abcdefghijkl', '/srv/web'],
  ];
  for (const [text, conf, name, base] of good)
    it(`reads ${JSON.stringify(text)} in ${conf}`, async () =>
      expect(await identify(parse(text), conf, noCommand)).to.deep.equal({ conf, name, base }));

  const rule = 'write at most 12 of letters, digits, "_", "-", ".", not starting with "-" or "."';
  for (const name of ['abcdefghijklm', '-a', '.a', '..', 'a/b', 'a b', 'a:b', 'ä', 'a\x07'])
    it(`refuses the name ${JSON.stringify(name)}`, async () => {
      const shown = name.replace('\x07', '\\x07');
      expect(await mistakesOf(identify(parse(`BASE=.\nNAME=${name}`), CONF, noCommand))).to.deep.equal([
        `web.conf:2: NAME: "${shown}" is no name of a subhost: ${rule}`,
      ]);
    });

  it('asks for BASE, and for a NAME where the file gives none', async () => {
    const add = 'add a line NAME= with at most 12 of letters, digits, "_", "-", "."';
    for (const conf of ['/srv/.conf', '/srv/a-name-too-long.conf', '/srv/a b.conf'])
      expect(await mistakesOf(identify(parse('BASE=\n'), conf, noCommand))).to.deep.equal([
        'web.conf: BASE is missing: write BASE=. for the directory of the conf',
        `web.conf: the file's name gives no NAME: ${add}`,
      ]);
  });

  it("runs BASE's command in the conf's directory and NAME's in BASE", async () => {
    const requests: CommandRequest[] = [];
    const run: RunCommand = async (request) => {
      requests.push(request);
      return request.variable === 'BASE' ? 'sub' : '!x';
    };
    expect(await mistakesOf(identify(parse('NAME=!echo a\nBASE=! pwd'), CONF, run))).to.deep.equal([
      `web.conf:1: NAME: "!x" is no name of a subhost: ${rule}`,
    ]);
    expect(requests).to.deep.equal([
      { variable: 'BASE', command: ' pwd', cwd: '/srv/web', at: { file: 'web.conf', line: 2 } },
      { variable: 'NAME', command: 'echo a', cwd: '/srv/web/sub', at: { file: 'web.conf', line: 1 } },
    ]);
  });

  it("does not run NAME's command without a BASE to run it in", async () => {
    expect(await mistakesOf(identify(parse('NAME=!echo a'), CONF, noCommand))).to.deep.equal([
      'web.conf: BASE is missing: write BASE=. for the directory of the conf',
    ]);
  });
});

describe('resolveConfig', () => {
  const stacks: [line: string, stack: SubhostConfig['stack']][] = [
    ['STACK=x.mstack', { kind: 'mstack', path: '/srv/web/x.mstack' }],
    ['STACK=/a/x.mstack/', { kind: 'mstack', path: '/a/x.mstack' }],
    ['STACK=debian', { kind: 'named', name: 'debian' }],
  ];
  for (const [line, stack] of stacks)
    it(`reads ${line} as the whole root`, async () => {
      const config = await resolved(`BASE=.\n${line}`);
      expect(config).to.deep.include({ stack, upper: '', work: '', lower: [] });
    });

  it('refuses another root beside STACK', async () => {
    expect(await mistakesOf(resolved('BASE=.\nSTACK=x\nLOWER=/\nWORK=w'))).to.deep.equal([
      'web.conf:2: STACK is the whole root, and LOWER, WORK is given too: leave one out',
    ]);
  });

  it('fills in the defaults', async () => {
    expect(await resolved('BASE=.')).to.deep.equal({
      conf: CONF,
      name: 'web',
      base: '/srv/web',
      live: '/srv/web/live',
      upper: '/srv/web/root',
      work: '/srv/web/work',
      lower: ['/'],
      cables: [],
      start: ['networking', 'ssh'],
      startIsDefault: true,
      ramSizeBytes: 52_428_800,
      log: '/var/log/overlay-boot/web.log',
      shares: [],
      caps: 'CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_ADMIN NET_RAW SYS_CHROOT AUDIT_WRITE SETFCAP'.split(
        ' ',
      ),
      limits: {},
      engine: 'subhost',
    });
  });

  const good: [line: string, key: keyof SubhostConfig, value: unknown][] = [
    ['LIVE=/a/../b//c/', 'live', '/b/c'],
    ['UPPER=x/./y', 'upper', '/srv/web/x/y'],
    ['WORK=', 'work', '/srv/web/work'],
    ['LOWER=a:/b:../c', 'lower', ['/srv/web/a', '/b', '/srv/c']],
    ['LOWER=disk.img', 'lower', ['/srv/web/disk.img']],
    ['LOG=x.log', 'log', '/srv/web/x.log'],
    ['START=none', 'start', []],
    ['ENGINE=nspawn', 'engine', 'nspawn'],
    ['ENGINE=', 'engine', 'subhost'],
    ['START=none', 'startIsDefault', false],
    ['START=a \t getty@tty1 /startup x:y+z', 'start', ['a', 'getty@tty1', '/startup', 'x:y+z']],
    ['RAM_SIZE=none', 'ramSizeBytes', undefined],
    ['RAM_SIZE=1', 'ramSizeBytes', 1],
    ['RAM_SIZE=2k', 'ramSizeBytes', 2048],
    ['RAM_SIZE=3G', 'ramSizeBytes', 3 * 2 ** 30],
    ['INIT=init.sh', 'init', { argv: ['/srv/web/init.sh'], after: false }],
    ['PREMOUNT=+ /bin/x  a "b', 'premount', { argv: ['/bin/x', 'a', '"b'], after: true }],
    ['POSTMOUNT=+x', 'postmount', { argv: ['/srv/web/x'], after: true }],
    ['SHARE=/data', 'shares', [{ host: '/data', inside: '/data' }]],
    ['SHARE=data:/a:b/../c', 'shares', [{ host: '/srv/web/data', inside: '/c' }]],
    [
      'SHARE=!x\nSHARE=/a:/b',
      'shares',
      [
        { host: '/srv/web/!x', inside: '/srv/web/!x' },
        { host: '/a', inside: '/b' },
      ],
    ],
    ['CAPS=all', 'caps', undefined],
    ['MEMORY_MAX=1M', 'limits', { memoryMaxBytes: 1_048_576 }],
    ['CPU_MAX=150%\nPIDS_MAX=9', 'limits', { cpuMaxPercent: 150, pidsMax: 9 }],
    ['CPU_MAX=50', 'limits', { cpuMaxPercent: 50 }],
  ];
  for (const [line, key, value] of good)
    it(`reads ${JSON.stringify(line)}`, async () => expect((await withBase(line))[key]).to.deep.equal(value));

  it('changes the default capabilities by sign, whatever the case and the prefix', async () => {
    const { caps } = await withBase('CAPS=+sys_admin -CAP_NET_RAW -cap_chown +KILL');
    expect(caps?.join(' ')).to.equal(
      'DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_ADMIN SYS_CHROOT SYS_ADMIN AUDIT_WRITE SETFCAP',
    );
  });

  const service = 'write a service name of letters, digits and . _ - + @ : or an absolute path';
  const size = 'write a positive number of bytes, or with K, M or G: 50M';
  const bad: [line: string, message: string][] = [
    ['LIVE=a\0b', 'LIVE: a NUL byte in the value: take it out'],
    ['SHARE=a\0b', 'SHARE: a NUL byte in the value: take it out'],
    ['INIT=!a\0b', 'INIT: a NUL byte in the value: take it out'],
    [`LOG=/${'a/'.repeat(3000)}`, `LOG: "/${'a/'.repeat(39)}a…" is too long for a path: at most 4095 bytes`],
    ['LOWER=a::b', 'LOWER: "a::b" has an empty layer: write one ":" between two layers'],
    ['LOWER=a:', 'LOWER: "a:" has an empty layer: write one ":" between two layers'],
    ['LOWER=a:b:./a', 'LOWER: layer /srv/web/a is given twice: leave one of them out'],
    [
      'LOWER=x.mstack/:b',
      'LOWER: /srv/web/x.mstack: a .mstack directory is the whole of LOWER: name it alone, or its layers',
    ],
    [
      'STACK=./x',
      'STACK: /srv/web/x is no .mstack directory: a stack by path has a name that ends in .mstack',
    ],
    ['START=a;b', `START: "a;b" is no service: ${service}`],
    ['START=-a', `START: "-a" is no service: ${service}`],
    ['START=..', `START: ".." is no service: ${service}`],
    ['START=a/b', `START: "a/b" is no service: ${service}`],
    ['START=/a/../b', `START: "/a/../b" is no service: ${service}`],
    ['START=/$x', `START: "/$x" is no service: ${service}`],
    ['START=ssh none', 'START: "none" beside services: write none alone'],
    ['PREMOUNT=+', 'PREMOUNT: no command after "+": write a command, or leave the variable out'],
    ['RAM_SIZE=50%', 'RAM_SIZE: "50%" is a share of the memory: write a size in bytes, or with K, M or G'],
    ['RAM_SIZE=0', `RAM_SIZE: "0" is no size: ${size}`],
    ['RAM_SIZE=-1', `RAM_SIZE: "-1" is no size: ${size}`],
    ['RAM_SIZE=1.5M', `RAM_SIZE: "1.5M" is no size: ${size}`],
    ['RAM_SIZE=50 M', `RAM_SIZE: "50 M" is no size: ${size}`],
    ['RAM_SIZE=99999999999G', `RAM_SIZE: "99999999999G" is no size: ${size}`],
    ['MEMORY_MAX=1T', `MEMORY_MAX: "1T" is no size: ${size}`],
    ['MEMORY_MAX=none', `MEMORY_MAX: "none" is no size: ${size}`],
    ['CPU_MAX=0', 'CPU_MAX: "0" is no share of a CPU: write per cent of one CPU: 150% for one and a half'],
    [
      'CPU_MAX=1.5',
      'CPU_MAX: "1.5" is no share of a CPU: write per cent of one CPU: 150% for one and a half',
    ],
    ['ENGINE=lxc', 'ENGINE: "lxc" is no engine: write subhost or nspawn'],
    ['ENGINE=!echo nspawn', 'ENGINE: "!echo nspawn" is no engine: write subhost or nspawn'],
    ['PIDS_MAX=0', 'PIDS_MAX: "0" is no number of processes: write a number from 1 to 4194304'],
    ['PIDS_MAX=4194305', 'PIDS_MAX: "4194305" is no number of processes: write a number from 1 to 4194304'],
    ['SHARE=:/x', 'SHARE: ":/x" has no host path: write SHARE=HOSTPATH:SUBHOSTPATH'],
    ['SHARE=/x:', 'SHARE: "/x:" has nothing after the ":": leave the ":" out for the same path inside'],
    ['SHARE=/x:y', `SHARE: subhost path "y" is not absolute: write it from the subhost's root: /y`],
    ['SHARE=/x:/..', 'SHARE: "/x:/.." would hide the whole root of the subhost: give a subhost path below /'],
    ['SHARE=/', 'SHARE: "/" would hide the whole root of the subhost: give a subhost path below /'],
    ['CAPS=+NET_ADMN', 'CAPS: unknown capability "+NET_ADMN": the nearest known one is NET_ADMIN'],
    ['CAPS=KILL', 'CAPS: "KILL" has no sign: write +KILL to add it or -KILL to take it away'],
    ['CAPS=all -KILL', 'CAPS: "all" beside others or with a sign: write all alone'],
    ['CAPS=-ALL', 'CAPS: "-ALL" beside others or with a sign: write all alone'],
    ['CABLES=br0', 'CABLES: "br0" has no "=": write br0= for a cable on bridge br0'],
  ];
  for (const [line, message] of bad)
    it(`refuses ${JSON.stringify(line.slice(0, 40))}`, async () =>
      expect(await mistakesOf(withBase(line))).to.deep.equal([`web.conf:1: ${message}`]));

  it('refuses two shares with one target', async () => {
    expect(await mistakesOf(withBase('SHARE=/a:/x\nSHARE=/b:/y/../x'))).to.deep.equal([
      'web.conf:2: SHARE: /x is the target of line 1 too: each would hide the other: leave one of them out',
    ]);
  });

  it('tells all mistakes at once, those of BASE and NAME too', async () => {
    expect(
      await mistakesOf(resolved('NAME=-\nRAM_SIZE=x\nSTART=a;b c;d\nSHARE=:\nSHARE=a:b\nLIVE=!x')),
    ).to.deep.equal([
      'web.conf: BASE is missing: write BASE=. for the directory of the conf',
      'web.conf:1: NAME: "-" is no name of a subhost: write at most 12 of letters, digits, "_", "-", ".", not starting with "-" or "."',
      `web.conf:3: START: "a;b" is no service: ${service}`,
      `web.conf:3: START: "c;d" is no service: ${service}`,
      `web.conf:2: RAM_SIZE: "x" is no size: ${size}`,
      'web.conf:4: SHARE: ":" has no host path: write SHARE=HOSTPATH:SUBHOSTPATH',
      `web.conf:5: SHARE: subhost path "b" is not absolute: write it from the subhost's root: /b`,
    ]);
  });

  it("runs each command once, in the table's order, one after the other, and takes what it prints as it is", async () => {
    const order: string[] = [];
    const run: RunCommand = async ({ variable, command, cwd }) => {
      order.push(`${variable} ${command} ${cwd}`);
      await new Promise((done) => setImmediate(done));
      order.push(`${variable} done`);
      return variable === 'BASE' ? 'sub' : '!echo $x';
    };
    const config = await resolved('LOG=!l\nSHARE=!s\nBASE=!b\nLIVE=!v', run);
    expect(order).to.deep.equal([
      'BASE b /srv/web',
      'BASE done',
      'LIVE v /srv/web/sub',
      'LIVE done',
      'LOG l /srv/web/sub',
      'LOG done',
    ]);
    expect(config.live).to.equal('/srv/web/sub/!echo $x');
    expect(config.shares).to.deep.equal([{ host: '/srv/web/sub/!s', inside: '/srv/web/sub/!s' }]);
  });

  it('tells the errors of commands beside the mistakes', async () => {
    const run: RunCommand = async ({ variable, at }) => {
      throw new UserError({ at, what: `${variable}: the command printed nothing` });
    };
    const text = 'BASE=.\nLIVE=!a\nRAM_SIZE=x\nLOG=!b';
    expect(
      await mistakesOf(
        resolveConfig(parse(text), { conf: CONF, name: 'w', base: '/' }, DEFAULT_SETTINGS, run),
      ),
    ).to.deep.equal([
      'web.conf:2: LIVE: the command printed nothing',
      `web.conf:3: RAM_SIZE: "x" is no size: ${size}`,
      'web.conf:4: LOG: the command printed nothing',
    ]);
  });

  it('refuses a NUL byte that a command prints', async () => {
    expect(await mistakesOf(resolved('BASE=.\nLIVE=!x', async () => 'a\0b'))).to.deep.equal([
      'web.conf:2: LIVE: a NUL byte in the value: take it out',
    ]);
  });

  it('gives plain JSON or mistakes of one line each, for any values', async () => {
    const names = fc.constantFrom(
      'CABLES',
      'LIVE',
      'LOWER',
      'START',
      'INIT',
      'RAM_SIZE',
      'SHARE',
      'CAPS',
      'CPU_MAX',
      'LOG',
    );
    const text = fc.string({ unit: fc.constantFrom(...'a/.:+-= 0%K\tall\0\u2028'), maxLength: 20 });
    const conf = fc.array(fc.tuple(names, text), { maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(conf, async (lines) => {
        const promise = withBase(lines.map(([name, value]) => `${name}=${value}`).join('\n'));
        for (const mistake of await mistakesOf(promise))
          expect(mistake).to.match(/^web\.conf:\d+: [A-Z_]+: [^\n\u2028]+$/);
        const config = await promise.catch(() => undefined);
        expect(config).to.deep.equal(config && JSON.parse(JSON.stringify(config)));
      }),
    );
  });
});

describe('resolveLiterals', () => {
  it('gives the defaults for what comes from commands, and variablesFromCommands names those', () => {
    const parsed = parse('BASE=.\nUPPER=!x\nLIVE=l\nSHARE=!s');
    const config = resolveLiterals(parsed, { conf: CONF, name: 'web', base: '/b' }, DEFAULT_SETTINGS);
    expect(config).to.include({ upper: '/b/root', live: '/b/l' });
    expect([...variablesFromCommands(parsed)]).to.deep.equal(['UPPER']);
  });
});

describe('describeConfig', () => {
  it('prints every variable by name, resolved', async () => {
    const text =
      'BASE=/opt/mta\nNAME=mta\nCABLES=br0=02:00:00:00:00:0A  = =.7\nLOWER=a:b\nSTART=x y\nINIT=+ i a\nSHARE=d:/e\nCAPS=all\nCPU_MAX=5';
    expect(describeConfig(await resolved(text))).to.deep.equal({
      NAME: 'mta',
      BASE: '/opt/mta',
      CABLES: ['br0=02:00:00:00:00:0a', '=', '=.7'],
      LIVE: '/opt/mta/live',
      UPPER: '/opt/mta/root',
      WORK: '/opt/mta/work',
      LOWER: '/opt/mta/a:/opt/mta/b',
      STACK: null,
      START: ['x', 'y'],
      INIT: '+ /opt/mta/i a',
      PREMOUNT: null,
      POSTMOUNT: null,
      RAM_SIZE: 52_428_800,
      LOG: '/var/log/overlay-boot/mta.log',
      SHARE: [['/opt/mta/d', '/e']],
      CAPS: 'all',
      MEMORY_MAX: null,
      CPU_MAX: 5,
      PIDS_MAX: null,
      ENGINE: 'subhost',
    });
  });
});

describe('describeUnevaluated', () => {
  const described = (text: string) => describeUnevaluated(parse(text), CONF, DEFAULT_SETTINGS);

  it('shows commands as they are, runs none, and resolves the rest', async () => {
    expect(
      await described('BASE=.\nLOWER=! overlay-diskfile mnt/ disk.img 2\nUPPER=up\nCABLES=!c'),
    ).to.include({
      BASE: '/srv/web',
      LOWER: '! overlay-diskfile mnt/ disk.img 2',
      UPPER: '/srv/web/up',
      CABLES: '!c',
    });
  });

  it('shows paths as they are written where BASE is a command', async () => {
    const description = await described('BASE=!pwd\nUPPER=up\nLOG=x.log\nSHARE=d\nSHARE=d:/e');
    expect(description).to.include({ BASE: '!pwd', LIVE: 'live', UPPER: 'up', LOWER: '/', LOG: 'x.log' });
    expect(description.SHARE).to.deep.equal([
      ['d', 'd'],
      ['d', '/e'],
    ]);
  });

  it('tells the mistakes of the rest', async () => {
    expect(await mistakesOf(described('NAME=!x\nLIVE=!y\nCPU_MAX=x\nSTACK=./z'))).to.have.deep.members([
      'web.conf: BASE is missing: write BASE=. for the directory of the conf',
      'web.conf:3: CPU_MAX: "x" is no share of a CPU: write per cent of one CPU: 150% for one and a half',
      'web.conf:4: STACK: /srv/web/z is no .mstack directory: a stack by path has a name that ends in .mstack',
    ]);
  });
});
