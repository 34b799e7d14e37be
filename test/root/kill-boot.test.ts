/** DESIGN.md, invariant 2: a SIGKILL at any moment of a boot loses nothing, and the next boot or stop clears what was left. */
import { expect } from 'chai';
import { type KilledSubhost, killAtEach, spread, useKilledSubhosts, type Victim } from '../helpers/kills.js';

const MOMENTS = 42;

/** Of a boot's system calls, those after this part of them matter: before, Node only loads. */
const BEGIN = 0.4;

describe('overlay-boot, killed at every moment', () => {
  const subhosts = useKilledSubhosts(2);

  const victims: [string, Victim, number][] = [
    ['overlay-boot itself', { of: 'command', generation: 0, kill: 'self' }, BEGIN],
    ['its launcher', { of: 'init launch', generation: 0, kill: 'self' }, 0],
    ['the keeper', { of: 'init launch', generation: 1, kill: 'self' }, 0],
    ['pid 1, while it makes its root', { of: 'init launch', generation: 2, kill: 'self' }, 0],
    [
      'pid 1, from its first program to the end of the boot',
      { of: 'init launch', generation: 1, kill: 'child' },
      0.55,
    ],
  ];
  for (const [who, victim, begin] of victims)
    it(`${who}: the next boot succeeds, a stop leaves nothing, UPPER is whole`, async function () {
      this.timeout(120_000);
      const calls = await countCalls(subhosts[0], victim);
      const moments = spread(Math.max(1, Math.round(calls * begin)), calls, MOMENTS);
      const killed = await killAtEach(subhosts, moments, async (subhost, moment) => {
        await subhost.boot(victim, moment);
        const reached = subhost.calls() >= moment;
        await subhost.bootAgain();
        await subhost.stopAgain();
        return reached;
      });
      expect(killed, `of ${moments.length} moments`).to.be.at.least(40);
    });

  it('overlay-boot itself: a stop that comes first leaves nothing either', async function () {
    this.timeout(60_000);
    const victim: Victim = { of: 'command', generation: 0, kill: 'self' };
    const calls = await countCalls(subhosts[0], victim);
    await killAtEach(subhosts, spread(Math.round(calls * 0.6), calls, 16), async (subhost, moment) => {
      await subhost.boot(victim, moment);
      await subhost.stopAgain();
      return true;
    });
  });
});

async function countCalls(subhost: KilledSubhost | undefined, victim: Victim): Promise<number> {
  if (!subhost) throw new Error('no subhost');
  await subhost.boot(victim, 0);
  const calls = subhost.calls();
  await subhost.stopAgain();
  return calls;
}
