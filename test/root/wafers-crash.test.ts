/** Several wafers commands at once, and commands that are killed: what the next one makes of it. */
import { expect } from 'chai';
import { type Completed, eventually, useSandbox } from '../helpers/namespaces.js';

const STACKS = '/srv/t/m';
/** A kill at each of so many moments, from the command's start to a little after its end. */
const MOMENTS = 24;

describe('wafers, killed and at once', () => {
  const sandbox = useSandbox();
  const env = { WAFERS: '/srv/t/w', STACKS };
  const run = (argv: readonly string[]): Promise<Completed> => sandbox().run(argv, { env });
  const sh = (script: string): Promise<string> => sandbox().sh(script, { env });
  const mounts = async (): Promise<string[]> =>
    (await sandbox().readFile('/proc/self/mountinfo'))
      .split('\n')
      .filter((line) => line.includes(` ${STACKS}/`));
  const said = ({ code, stdout, stderr }: Completed) => ({ code, stdout, stderr });
  const summary = (all: readonly Completed[]): string[] =>
    all.map(({ code, stdout, stderr }) => `${code} ${stdout}${stderr}`.trim().replace(STACKS, 'M')).sort();

  /** How long the command takes when nobody kills it, in seconds. */
  const secondsOf = async (argv: readonly string[]): Promise<number> => {
    const start = process.hrtime.bigint();
    expect((await run(argv)).code).to.equal(0);
    return Number(process.hrtime.bigint() - start) / 1e9;
  };
  /** Runs it with a SIGKILL after so many seconds, of Node alone or of the init program too. */
  const killed = (seconds: number, argv: readonly string[], alone: boolean): Promise<Completed> =>
    run(['timeout', ...(alone ? ['--foreground'] : []), '-s', 'KILL', seconds.toFixed(3), ...argv]);

  beforeEach(async () => {
    await sh(
      'mkdir -p "$WAFERS/base/data/etc"; echo 0123 >"$WAFERS/base/data/etc/machine-id"; echo base >"$WAFERS/base/data/f"',
    );
  });
  afterEach(async () => {
    await sh(
      `for at in ${STACKS}/*; do if mountpoint -q "$at"; then umount "$at"; fi; done; rm -rf /srv/t/*`,
    );
  });

  const titles: readonly [string, readonly string[]][] = [
    ['a wafer that is there', ['mkdir -p "$WAFERS/one/data"; echo base >"$WAFERS/one/parent"']],
    ['a new wafer', []],
    ['a base', ['mv "$WAFERS/base" "$WAFERS/one"']],
  ];
  for (const [title, prepare] of titles)
    it(`of four that stack ${title} at once, one mounts and the others say that it is mounted`, async () => {
      for (let round = 0; round < 6; round++) {
        await sh(['rm -rf "$WAFERS/one"', ...prepare].join('\n'));
        const isBase = title === 'a base';
        const argv = ['wafers', 'stack', 'one', ...(isBase ? [] : ['base'])];
        const all = await Promise.all(Array.from({ length: 4 }, () => run(argv)));
        const already = '0 something is already mounted at M/one';
        expect(summary(all)).to.deep.equal([
          `0 ${isBase ? 1 : 2} wafers stacked at M/one`,
          already,
          already,
          already,
        ]);
        expect(await mounts()).to.have.lengthOf(1);
        await sh('wafers unstack one');
        if (isBase) await sh('mv "$WAFERS/one" "$WAFERS/base"');
        expect(await sh(`ls -A "$WAFERS" ${STACKS}`)).not.to.include('.new');
      }
    }).timeout(120_000);

  it('of two that make it upon different parents at once, one mounts and the other is told', async () => {
    await sh('mkdir -p "$WAFERS/other/data"');
    for (let round = 0; round < 4; round++) {
      const all = await Promise.all(
        ['base', 'other'].map((parent) => run(['wafers', 'stack', 'one', parent])),
      );
      const [first = '', second = ''] = summary(all);
      expect(first).to.equal('0 2 wafers stacked at M/one');
      // It comes too late by a little or by more.
      expect(second).to.match(
        /^4 wafers: parent was specified but does not match|^0 something is already mounted/,
      );
      expect(await mounts()).to.have.lengthOf(1);
      await sh('wafers unstack one; rm -r "$WAFERS/one"');
    }
  }).timeout(60_000);

  it('of two with different STACKS, one mounts and the other names what is in its way', async () => {
    await sh('mkdir -p "$WAFERS/one/data"; echo base >"$WAFERS/one/parent"');
    for (let round = 0; round < 4; round++) {
      const places = [STACKS, '/srv/t/m2'];
      const all = await Promise.all(
        places.map((at) => sandbox().run(['wafers', 'stack', 'one'], { env: { ...env, STACKS: at } })),
      );
      const codes = all.map(({ code }) => code);
      expect(codes.toSorted()).to.deep.equal([0, 1]);
      expect(all.map(({ stderr }) => stderr).join('')).to.match(
        /is in use: its data is|the host has it mounted/,
      );
      await sandbox().run(['wafers', 'unstack', 'one'], {
        env: { ...env, STACKS: places[codes.indexOf(0)] ?? '' },
      });
      expect(await sh('ls "$WAFERS/one"; ls -A /srv/t/m* 2>/dev/null || true')).not.to.include('one\n');
    }
  }).timeout(60_000);

  it('stack and unstack at once end well, and nothing is left of them', async () => {
    await sh('mkdir -p "$WAFERS/one/data"; echo base >"$WAFERS/one/parent"');
    const calls = Array.from({ length: 6 }, async (_, i) => {
      for (let round = 0; round < 5; round++) {
        const { code, stderr } = await run(['wafers', i % 2 === 0 ? 'stack' : 'unstack', 'one']);
        expect([code, stderr]).to.deep.equal([0, '']);
      }
    });
    await Promise.all(calls);
    expect((await mounts()).length).to.be.lessThan(2);
    await sh('wafers unstack one');
    expect([await mounts(), await sh(`ls -A ${STACKS}`)]).to.deep.equal([[], '']);
  }).timeout(120_000);

  it('stack mounts also where somebody else takes the mount point away and makes it again meanwhile', async () => {
    await sh('mkdir -p "$WAFERS/one/data"; echo base >"$WAFERS/one/parent"');
    const flips = `while :; do rmdir ${STACKS}/one; mkdir -p ${STACKS}/one; sleep 0.003; done 2>/dev/null`;
    const flipper = sandbox().spawn(['sh', '-c', flips]);
    try {
      for (let round = 0; round < 10; round++) {
        const { code, stderr } = await run(['wafers', 'stack', 'one']);
        expect([code, stderr]).to.deep.equal([0, '']);
        await sh(`umount ${STACKS}/one`);
      }
    } finally {
      flipper.kill('SIGKILL');
    }
  }).timeout(60_000);

  for (const alone of [true, false]) {
    const what = alone ? 'the command' : 'the command and its init program';

    it(`after a SIGKILL of ${what} in stack, the next stack mounts the whole of it`, async () => {
      await sh('mkdir -p "$WAFERS/x"');
      const whole = await secondsOf(['wafers', 'stack', 'first', 'base']);
      let unfinished = 0;
      for (let i = 0; i < MOMENTS; i++) {
        const argv = ['wafers', 'stack', `w${i}`, 'base'];
        const { code } = await killed((whole * 1.1 * (i + 1)) / MOMENTS, argv, alone);
        if (code !== 0) unfinished++;
        // Left for a moment is what is under way in the init program, which has the lock.
        const next = await run(argv);
        expect(next.code, next.stderr).to.equal(0);
        expect(next.stdout).to.match(/^2 wafers stacked at |^something is already mounted at /);
        expect(await sh(`cat ${STACKS}/w${i}/f; cat "$WAFERS/w${i}/parent"; ls -A "$WAFERS/w${i}"`)).to.equal(
          'base\nbase\ndata\nparent\nwork\n',
        );
        expect(await sh(`cat ${STACKS}/w${i}/etc/machine-id`)).to.match(/^[0-9a-f]{32}\n$/);
        expect((await mounts()).filter((line) => line.includes(`/w${i} `))).to.have.lengthOf(1);
        expect(await sh('ls -A "$WAFERS"')).not.to.include('.new');
        expect(said(await run(['wafers', 'unstack', `w${i}`])).stdout).to.equal(
          `unstacked ${STACKS}/w${i}\n`,
        );
      }
      expect(unfinished, 'some were killed before their end').to.be.greaterThan(MOMENTS / 4);
      await sh('wafers unstack first');
      expect(await sh(`ls -A ${STACKS}`)).to.equal('');
    }).timeout(180_000);

    it(`after a SIGKILL of ${what} in unstack, the next unstack clears it, and no file is lost`, async () => {
      await sh('wafers stack one base');
      const whole = await secondsOf(['wafers', 'unstack', 'one']);
      let unfinished = 0;
      for (let i = 0; i < MOMENTS; i++) {
        await sh(
          `wafers stack one base; echo ${i} >${STACKS}/one/kept; mount -t tmpfs tmpfs ${STACKS}/one/etc`,
        );
        const { code } = await killed((whole * 1.1 * (i + 1)) / MOMENTS, ['wafers', 'unstack', 'one'], alone);
        if (code !== 0) unfinished++;
        await eventually('unstack is over', async () => {
          const { code: next, stdout } = await run(['wafers', 'unstack', 'one']);
          expect(stdout).to.match(/^(unstacked|nothing stacked at) /);
          return next === 0;
        });
        expect([await mounts(), await sh(`ls -A ${STACKS}; cat "$WAFERS/one/data/kept"`)]).to.deep.equal([
          [],
          `${i}\n`,
        ]);
      }
      expect(unfinished, 'some were killed before their end').to.be.greaterThan(MOMENTS / 4);
    }).timeout(180_000);
  }

  it('clears what others have left that were killed, not what is being made', async () => {
    // pid 1 of the sandbox is alive, but started at another time than this says; the last one is it.
    const [, start] = /^(?:\S+ ){21}(\d+) /.exec(await sandbox().readFile('/proc/1/stat')) ?? [];
    await sh(`mkdir -p "$WAFERS/.new:999999-5/data" "$WAFERS/.new:1-5" "$WAFERS/.new:1-${start}"`);
    expect(await sh('wafers tree')).to.equal('base\n');
    await sh('wafers stack one base; wafers unstack one');
    expect(await sh('ls -A "$WAFERS"')).to.equal(`.new:1-${start}\nbase\none\n`);
  });
});
