/** DESIGN.md, invariant 2: a SIGKILL at any moment of a stop loses nothing, and the next boot or stop clears what was left. */
import { expect } from 'chai';
import { type KilledSubhost, killAtEach, spread, useKilledSubhosts, type Victim } from '../helpers/kills.js';

const MOMENTS = 42;
/** A machine that is busy with other things takes a second for each boot and stop. */
const LIMIT_MS = 300_000;
/** Of overlay-stop's system calls, those after this part of them matter: before, Node only loads. */
const BEGIN = 0.4;

describe('overlay-stop, killed at every moment', () => {
  const subhosts = useKilledSubhosts(2);

  it('overlay-stop itself: the next boot succeeds, a stop leaves nothing, UPPER is whole', async function () {
    this.timeout(LIMIT_MS);
    const victim: Victim = { of: 'command', generation: 0, kill: 'self' };
    const calls = await countCalls(subhosts[0], victim);
    const killed = await killAtEach(
      subhosts,
      spread(Math.round(calls * BEGIN), calls, MOMENTS),
      async (subhost, moment) => {
        await subhost.bootAgain();
        return await killStop(subhost, victim, moment);
      },
    );
    expect(killed).to.be.at.least(40);
  });

  for (const [title, generation] of [
    ['what its launcher forks', 1],
    ['the child of that, which signals', 2],
  ] as const)
    it(`${title}, at every system call: the same`, async function () {
      this.timeout(LIMIT_MS);
      const victim: Victim = { of: 'init launch', generation, kill: 'self' };
      const calls = await countCalls(subhosts[0], victim);
      const killed = await killAtEach(subhosts, spread(1, calls, MOMENTS), async (subhost, moment) => {
        await subhost.bootAgain();
        return await killStop(subhost, victim, moment);
      });
      expect(killed).to.be.at.least(30);
    });

  it('the keeper: the same', async function () {
    this.timeout(LIMIT_MS);
    const victim: Victim = { of: 'init launch', generation: 1, kill: 'self' };
    const [first] = subhosts;
    if (!first) throw new Error('no subhost');
    await first.boot(victim, 0);
    const atReady = first.calls();
    await first.stopAgain();
    const killed = await killAtEach(
      subhosts,
      spread(atReady + 1, first.calls(), MOMENTS),
      async (subhost, moment) => {
        await subhost.boot(victim, moment);
        await subhost.stopPlainly();
        return await bootAndStop(subhost, () => subhost.calls() >= moment);
      },
    );
    expect(killed).to.be.at.least(30);
  });

  it('pid 1, before the stop comes to it and while it does: the same', async function () {
    this.timeout(LIMIT_MS);
    const victim: Victim = { of: 'command', generation: 0, kill: 'self' };
    const calls = await countCalls(subhosts[0], victim);
    const killed = await killAtEach(
      subhosts,
      spread(Math.round(calls * BEGIN), calls, MOMENTS),
      async (subhost, moment) => {
        await subhost.bootAgain();
        return await killStop(subhost, { ...victim, kill: subhost.pid1() }, moment);
      },
    );
    expect(killed).to.be.at.least(40);
  });
});

async function killStop(subhost: KilledSubhost, victim: Victim, moment: number): Promise<boolean> {
  await subhost.stop(victim, moment);
  const reached = subhost.calls() >= moment;
  return await bootAndStop(subhost, () => reached);
}

async function bootAndStop(subhost: KilledSubhost, reached: () => boolean): Promise<boolean> {
  const killed = reached();
  await subhost.bootAgain();
  await subhost.stopAgain();
  return killed;
}

async function countCalls(subhost: KilledSubhost | undefined, victim: Victim): Promise<number> {
  if (!subhost) throw new Error('no subhost');
  await subhost.bootAgain();
  await subhost.stop(victim, 0);
  return subhost.calls();
}
