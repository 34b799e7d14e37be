import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { CHILD_OP_ARGUMENTS, childOpStrings } from '../../../src/plan/child-ops.js';

const CHILD_C = readFileSync(join(__dirname, '../../../src/init/child.c'), 'utf8');

describe('the operations of the child', () => {
  it('are the same in the plan and in src/init/child.c, with as many arguments', () => {
    const table = CHILD_C.slice(CHILD_C.indexOf('operations[] = {'));
    const inC = [...table.slice(0, table.indexOf('\n};')).matchAll(/^\t\{"([a-z-]+)", (\d+), \w+\}/gm)].map(
      ([, name = '', count]) => [name, Number(count)] as const,
    );
    const inPlan = Object.entries(CHILD_OP_ARGUMENTS).map(([name, names]) => [name, names.length]);
    expect(inC).to.have.lengthOf.above(10);
    expect(Object.fromEntries(inC)).to.deep.equal(Object.fromEntries(inPlan));
  });

  it('have no more arguments than the child has room for', () => {
    const room = Number(/^#define ARGUMENTS_MAX (\d+)$/m.exec(CHILD_C)?.[1]);
    expect(Math.max(...Object.values(CHILD_OP_ARGUMENTS).map((names) => names.length))).to.be.at.most(room);
  });

  it('are written as their name and their arguments in the order of the table', () => {
    expect(childOpStrings({ op: 'share', mode: 'ro', inside: '/b', host: '/a' })).to.deep.equal([
      'share',
      '/a',
      '/b',
      'ro',
    ]);
    expect(childOpStrings({ op: 'system', which: 'dev', option: '' })).to.deep.equal(['system', 'dev', '']);
    expect(childOpStrings({ op: 'pivot' })).to.deep.equal(['pivot']);
  });
});
