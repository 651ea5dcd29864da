import type { Duplex } from 'node:stream'
import { AppError } from '../registry/errors.ts'
import { parseUpdate, type RefUpdate } from './ref-update.ts'

/** What git asks before it keeps anything. `objects`: the directory where the pushed objects wait, or null when there are none. */
export type Question = { updates: RefUpdate[]; objects: string | null }

const maxBytes = 4 * 1_048_576

/**
 * The gateway's side of `hooks/pre-receive`: reads one question off the channel (`objects <path>`, a line for each update, an empty line)
 * and answers it. Only processes of this push hold the other end. Resolves when the answer is written, or the push has gone.
 */
export async function answerPreReceive(
  channel: Duplex,
  judge: (question: Question) => Promise<'accept' | 'refuse'>,
): Promise<void> {
  const question = await readQuestion(channel)
  if (question) channel.write(`${await judge(question)}\n`)
}

async function readQuestion(channel: Duplex): Promise<Question | null> {
  let text = ''
  for await (const chunk of channel.iterator({ destroyOnReturn: false })) {
    text += chunk.toString('utf8')
    if (text.endsWith('\n\n')) return parseQuestion(text)
    if (text.length > maxBytes) throw new AppError('REQUEST_TOO_LARGE', 'the push updates more refs than fit')
  }
  return null
}

function parseQuestion(text: string): Question {
  const [objects, ...updates] = text.trimEnd().split('\n')
  const path = objects?.startsWith('objects ') ? objects.slice('objects '.length) : ''
  return { updates: updates.map(parseUpdate), objects: path || null }
}
