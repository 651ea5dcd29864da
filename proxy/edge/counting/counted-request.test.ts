import { expect, onTestFinished, test } from 'vitest'
import { Bins } from './bins.ts'
import { CountedRequest } from './counted-request.ts'

function begin() {
  const bins = new Bins({ bootId: 'boot', tell: () => undefined })
  onTestFinished(() => bins.close())
  const heard: (number | null)[] = []
  const deployment = { ref: { id: 'd1' }, bin: null }
  return { heard, counted: new CountedRequest(bins, deployment, 'r1', 0, null, (status) => heard.push(status)) }
}

const sent = (statusCode: number) => ({ headersSent: true, statusCode })

test('the fuse hears what the app answered, and that it did not', () => {
  for (const status of [200, 500, 503]) {
    const { heard, counted } = begin()
    counted.asked()
    counted.answered(status, 'for one', false)
    counted.over(sent(status))
    expect(heard).toEqual([status])
  }
  const unreached = begin()
  unreached.counted.asked()
  unreached.counted.over(sent(502))
  const notLoaded = begin()
  notLoaded.counted.over(sent(503))
  const handshake = begin()
  handshake.counted.answered(101, 'for one', false)
  expect([unreached.heard, notLoaded.heard, handshake.heard]).toEqual([[502], [503], [101]])
})

test('a file, the cache, a body that is too large and a client that leaves say nothing of an app', () => {
  const file = begin()
  file.counted.over(sent(200))
  const cached = begin()
  cached.counted.asked()
  cached.counted.over(sent(200))
  const tooLarge = begin()
  tooLarge.counted.asked()
  tooLarge.counted.over(sent(413))
  const noHandshake = begin()
  noHandshake.counted.refused(501)
  const left = begin()
  left.counted.asked()
  left.counted.over({ headersSent: false, statusCode: 200 })
  for (const { heard } of [file, cached, tooLarge, noHandshake, left]) expect(heard).toEqual([null])
})

test('of a deployment that is nothing but files, these are the answers', () => {
  const { heard, counted } = begin()
  counted.hasNoApp()
  counted.over(sent(200))
  expect(heard).toEqual([200])
})
