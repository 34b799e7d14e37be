import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { editDistance, nearest } from '../../../src/config/nearest.js';
import { VARIABLE_NAMES, VARIABLES, variableOf } from '../../../src/config/variables.js';

describe('the table of variables', () => {
  it('has them all, in the order in which commands run', () => {
    expect(VARIABLE_NAMES.join(' ')).to.equal(
      'NAME BASE CABLES LIVE UPPER WORK LOWER STACK START INIT PREMOUNT POSTMOUNT RAM_SIZE LOG SHARE CAPS MEMORY_MAX CPU_MAX PIDS_MAX ENGINE',
    );
  });

  it('has each of them used where values are read', () => {
    const source = readFileSync(join(__dirname, '../../../src/config/resolve.ts'), 'utf8');
    for (const name of VARIABLE_NAMES)
      expect(source, name).to.match(
        new RegExp(`(value|path|hook|find|textOf)\\([^)]*'${name}'|name === '${name}'`),
      );
  });

  it('tells a default and a unit for each', () => {
    for (const { name, fallback, fallbackNote, unit, help } of VARIABLES) {
      expect(fallback === undefined, name).to.equal(fallbackNote !== undefined);
      expect(unit, name).not.to.equal('');
      expect(help, name).not.to.equal('');
    }
  });

  it('finds no variable in a name of Object', () => {
    expect(variableOf('constructor')).to.equal(undefined);
    expect(variableOf('__proto__')).to.equal(undefined);
  });
});

describe('nearest', () => {
  const cases: [word: string, known: string][] = [
    ['LOWR', 'LOWER'],
    ['CABELS', 'CABLES'],
    ['postmont', 'POSTMOUNT'],
    ['RAMSIZE', 'RAM_SIZE'],
    ['MEM_MAX', 'MEMORY_MAX'],
  ];
  for (const [word, known] of cases)
    it(`takes ${word} for ${known}`, () => expect(nearest(word, VARIABLE_NAMES)).to.equal(known));

  it('counts a swap of neighbours as one edit', () => {
    expect(editDistance('CABELS', 'CABLES')).to.equal(1);
    expect(editDistance('', 'abc')).to.equal(3);
    expect(editDistance('abc', '')).to.equal(3);
    expect(editDistance('abc', 'abc')).to.equal(0);
  });
});
