/**
 * stacko commands of which the power takes the end: of all that was not fsynced by then, any part may be on the disk.
 * The next command finds the old state or the new one, and what a command has said to be done is done.
 */
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { clearDiscarded, clearUnfinished } from '../../src/launch/make-wafer.js';
import { finishChange } from '../../src/launch/store-change.js';
import { DiskModel, TRACED } from '../helpers/disk-model.js';
import { useSandbox } from '../helpers/namespaces.js';
import { storeState } from '../helpers/store-state.js';
import { resetProgram } from '../helpers/tools.js';

/** What is on the disk; the store is a directory in it. */
const DISK = '/srv/t/disk';
const WAFERS = `${DISK}/w`;
const STACKS = '/srv/t/m';
const TRACE = '/srv/t/trace';
/** Parts that are tried at each moment beside the least and the most that there can be. */
const RANDOM_PARTS = 3;
const SEED = Number(process.env.POWER_CUT_SEED ?? 1);

describe('stacko when the power goes', () => {
  const sandbox = useSandbox();
  const env = { WAFERS, STACKS };
  const sh = (script: string): Promise<string> => sandbox().sh(script, { env });
  const outside = (path: string): string => `/proc/${sandbox().pid}/root${path}`;

  before(async () => {
    await sh(`mkdir -p ${DISK} /srv/t/t "$STACKS"
      for i in a b c; do
        stacko new-image $i; stacko edit-image $i; cd "$STACKS/$i"; echo $i >f; chown 7:8 .
        mkdir -p real/etc; ln -s real/etc etc; : >etc/machine-id; cd /; stacko close-image $i
      done
      stacko new-image open b; stacko edit-image open; umount "$STACKS/open"; stacko new-image free
      mkdir -p "$WAFERS/own/data"; echo own >"$WAFERS/own/data/f"
      stacko new-stackpoint p a; stacko cutover-stackpoint p b; stacko new-stackpoint-instance p c
      echo kept >"$WAFERS/c@p/data/kept"
      stacko new-stackpoint q a
      echo x >/srv/t/t/x; tar -C /srv/t/t -cf /srv/t/in.tar .
      cp -a ${DISK} /srv/t/saved`);
  });

  const commands: readonly [title: string, args: readonly string[], prepare?: string][] = [
    ['the first new-image', ['new-image', 'new'], `rm -r ${WAFERS}`],
    ['the first new-stackpoint', ['new-stackpoint', 'new', 'a'], `rm -r ${WAFERS}/points ${WAFERS}/*@*`],
    ['new-image', ['new-image', 'new', 'a']],
    ['edit-image', ['edit-image', 'free']],
    ['close-image', ['close-image', 'open'], 'stacko edit-image open'],
    ['close-image of a wafer', ['close-image', 'own']],
    ['delete-image', ['delete-image', 'free']],
    ['import-image', ['import-image', '/srv/t/in.tar']],
    ['new-stackpoint', ['new-stackpoint', 'new', 'a']],
    ['new-stackpoint-instance', ['new-stackpoint-instance', 'q', 'c']],
    ['set-stackpoint-instance', ['set-stackpoint-instance', 'p', 'c']],
    ['cutover to a new instance', ['cutover-stackpoint', 'q', 'c'], 'stacko mount-stackpoint q'],
    ['cutover to one that is there', ['cutover-stackpoint', 'p', 'c']],
    ['fallback', ['fallback-stackpoint', 'p'], 'stacko mount-stackpoint p'],
    ['delete-stackpoint-instance', ['delete-stackpoint-instance', 'p', 'a']],
    ['delete-stackpoint', ['delete-stackpoint', 'p']],
    ['reset', ['reset', 'p', 'c']],
  ];
  /** In place of the disk, something that comes from `fill`; nothing is mounted. */
  const renew = async (fill: (disk: string) => string | undefined): Promise<void> => {
    const unmount = `findmnt -rno TARGET | grep "^${STACKS}/" | sort -r | while read -r at; do umount "$at"; done`;
    await sh(`${unmount}; rm -rf ${DISK} "$STACKS"; mkdir ${DISK} "$STACKS"`);
    await sh(fill(outside(DISK)) ?? ':');
  };
  const command = (args: readonly string[]): string =>
    (args[0] === 'reset' ? [...resetProgram(sandbox()), ...args.slice(1)] : ['stacko', ...args]).join(' ');

  for (const [title, args, prepare = ':'] of commands)
    it(`${title}: leaves the old state or the new one`, async () => {
      await renew(() => `cp -a /srv/t/saved/. ${DISK}; ${prepare}`);
      const model = new DiskModel(DISK, outside(DISK));
      const old = storeState(outside(WAFERS));
      await sh(`strace -f -y -qq -s 100000 -o ${TRACE} -e trace=${TRACED} ${command(args)}`);
      const now = storeState(outside(WAFERS));
      model.take(await sandbox().readFile(TRACE));
      expect(model.length).to.be.greaterThan(1);

      /** What is found after it, and after the next command has cleared up. */
      const foundAfter = (kept: readonly boolean[]): string => {
        const disk = outside('/srv/t/cut');
        rmSync(disk, { recursive: true, force: true });
        mkdirSync(disk);
        model.writeTo(disk, kept);
        const wafers = join(disk, 'w');
        mkdirSync(wafers, { recursive: true });
        clearUnfinished(wafers);
        finishChange(wafers);
        clearDiscarded(wafers);
        return storeState(wafers);
      };
      expect(foundAfter(model.keptAt(model.length, () => true)), 'all of it is in the model').to.equal(now);
      expect(foundAfter(model.keptAt(model.length, () => false)), 'what is done stays').to.equal(now);
      const seen = new Set<string>();
      const tried = new Set<string>();
      let lastOld: boolean[] = [];
      for (let cut = 0; cut <= model.length; cut++)
        for (const [part, choice] of partsAt(cut)) {
          const kept = model.keptAt(cut, choice);
          const text = kept.map(Number).join('').replace(/0+$/, '');
          if (tried.has(text)) continue;
          tried.add(text);
          const found = foundAfter(kept);
          if (found !== old && found !== now)
            expect.fail(
              `cut before ${model.lineOf(cut)}; ${part}; of ${cut} operations kept:\n${listing(model, kept)}\nfound:\n${found}\ninstead of\n${old}\nor\n${now}`,
            );
          seen.add(found);
          if (found === old) lastOld = kept;
        }
      expect([...seen]).to.have.members([old, now]);

      // The same by real commands, for one of them.
      await renew((disk) => void model.writeTo(disk, lastOld));
      expect(await sh('stacko list-images; stacko list-stackpoints; wafers tree')).not.to.include('broken');
      await sh(command(args));
      expect(storeState(outside(WAFERS))).to.equal(now);
    }).timeout(180_000);
});

/** The least that the disk can have, the most, and some of what is between them. */
function* partsAt(cut: number): Generator<[string, (operation: number) => boolean]> {
  yield ['only what was synced', () => false];
  yield ['everything', () => true];
  for (let part = 0; part < RANDOM_PARTS; part++) {
    const random = randomNumbers(SEED * 1_000_000 + cut * 100 + part);
    const share = random();
    yield [`part ${part} of seed ${SEED}`, () => random() < share];
  }
}

/** Between 0 and 1, the same ones for the same seed: "mulberry32". */
function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const listing = (model: DiskModel, kept: readonly boolean[]): string =>
  kept.map((is, i) => `${is ? '+' : '-'} ${model.lineOf(i)}`).join('\n');
