import type { Duplex } from 'node:stream'
import { AppError } from '../registry/errors.ts'
import { flushPacket, lineOf, type Packet, PacketReader, packet } from './pkt-line.ts'
import { parseUpdate, type RefUpdate, reportLine, type Verdict } from './ref-update.ts'

/**
 * The gateway's side of git's proc-receive protocol (githooks(5)): version, the ref updates, the push options; then a verdict for each
 * ref. Resolves when the verdicts are written, or the push has gone.
 */
export async function answerProcReceive(
  channel: Duplex,
  judge: (updates: RefUpdate[], options: string[]) => Promise<Verdict[]>,
): Promise<void> {
  const packets = packetsOf(channel)
  const version = await readSection(packets)
  if (!version) return
  const hasOptions = version.some((line) => line.split('\0')[1]?.split(' ').includes('push-options'))
  channel.write(Buffer.concat([packet(hasOptions ? 'version=1\0push-options' : 'version=1'), flushPacket]))

  const updates = await readSection(packets)
  const options = hasOptions ? await readSection(packets) : []
  if (!updates || !options) return
  const verdicts = await judge(updates.map(parseUpdate), options)
  channel.end(Buffer.concat([...verdicts.map((verdict) => packet(reportLine(verdict))), flushPacket]))
}

// Lines up to the next flush; null: the other end has gone.
async function readSection(packets: AsyncIterator<Packet>): Promise<string[] | null> {
  const lines: string[] = []
  for (;;) {
    const { value, done } = await packets.next()
    if (done) return null
    if (value === 'flush') return lines
    if (!Buffer.isBuffer(value)) throw new AppError('INTERNAL', `git sent ${value} to the proc-receive hook`)
    lines.push(lineOf(value))
  }
}

async function* packetsOf(channel: Duplex): AsyncGenerator<Packet> {
  const reader = new PacketReader()
  for await (const chunk of channel.iterator({ destroyOnReturn: false })) {
    reader.push(chunk)
    for (let next = reader.next(); next !== null; next = reader.next()) yield next
  }
}
