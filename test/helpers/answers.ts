/** Commands and what they are to answer. */
import { expect } from 'chai';

/** Runs them one after the other; each is to answer exactly so. */
export async function expectAnswers<Answer>(
  run: (...args: readonly string[]) => Promise<Answer>,
  answers: readonly (readonly [command: string, answer: Answer])[],
): Promise<void> {
  for (const [command, answer] of answers)
    expect(await run(...command.split(' ')), command).to.deep.equal(answer);
}
