import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Call } from './isolate-channel.ts'

// Installing changes this process's own globals, so what the standard does is kept before.
const StandardRequest = globalThis.Request
const StandardResponse = globalThis.Response
const { installLazyRequest, requestOf } = await import('./isolate-request.ts')
const { installLightResponse, plainOf } = await import('./isolate-response.ts')
installLazyRequest()
installLightResponse()

function callOf(given: Partial<Call> & { chunks?: string[] } = {}): Call {
  const chunks = given.chunks?.map((chunk) => Buffer.from(chunk)) ?? []
  const call = { method: 'GET', target: '/', pairs: ['host', 'app.example'], hasBody: chunks.length > 0, ...given }
  return { ...call, read: async () => chunks.shift() ?? null } as unknown as Call
}

function lazy(given?: Parameters<typeof callOf>[0]): Request {
  const request = requestOf(callOf(given), () => new AbortController().signal)
  if (!request) throw new Error('no request')
  return request
}

describe('a lazy Request', () => {
  test.each([
    '/',
    '/a/b?c=d&e',
    '/a//b/',
    '//evil.example/x',
    '/./a/../b',
    '/a/%2e%2E/b',
    '/.hidden/..b/c.',
    '/sp ace?q= "<>`{}|^',
    "/quote'?quote'",
    '/%zz%',
    '/\xe4\xf6?\xfc',
    '/a\\b',
    '/x#y',
    '*',
    'http://other.example/absolute?x',
    '/a;b=c,d/@me:you!$&()*+~',
  ])('has the URL that the standard makes of %j', (target) => {
    const path = target === '*' ? '/*' : target
    const expected = target.startsWith('http') ? target : `http://app.example${path}`
    expect(lazy({ target }).url).toBe(new URL(expected).href)
  })

  test.each(['App.EXAMPLE', 'app.example:80', 'app.example:8080', '0x7f.1', 'xn--mnchen-3ya.example', '[::1]:3000'])(
    'has the origin that the standard makes of the host %j',
    (host) => {
      expect(lazy({ pairs: ['host', host], target: '/x' }).url).toBe(new URL(`http://${host}/x`).href)
    },
  )

  test('has the URL that the standard makes of any target', () => {
    const part = fc.oneof(
      fc.constantFrom(
        '.',
        '..',
        '%2e',
        '%2E.',
        '%',
        '/',
        '?',
        ' ',
        '"',
        "'",
        '<',
        '\\',
        '`',
        '{',
        '^',
        '|',
        'a',
        'B9',
        '~',
      ),
      fc.integer({ min: 0x21, max: 0xff }).map((code) => String.fromCharCode(code)),
    )
    fc.assert(
      fc.property(fc.array(part, { maxLength: 8 }), (parts) => {
        const target = `/${parts.join('')}`
        expect(lazy({ target }).url).toBe(new URL(`http://app.example${target}`).href)
      }),
      { numRuns: 3000 },
    )
  })

  test('there is none for a host or a method that fetch cannot say', () => {
    for (const host of ['a b', '[', 'a@b:c'])
      expect(requestOf(callOf({ pairs: ['host', host] }), () => AbortSignal.abort())).toBeNull()
    for (const method of ['TRACE', 'CONNECT', 'TRACK'])
      expect(requestOf(callOf({ method }), () => AbortSignal.abort())).toBeNull()
  })

  test('has every member of the standard one, with the same values', () => {
    const pairs = ['host', 'app.example', 'X-One', 'a', 'x-one', 'b', 'cookie', 'a=1']
    const standard = new StandardRequest('http://app.example/x?y', {
      method: 'POST',
      body: 'text',
      headers: [
        ['X-One', 'a'],
        ['x-one', 'b'],
        ['cookie', 'a=1'],
        ['host', 'app.example'],
      ],
    })
    const request = lazy({ method: 'POST', target: '/x?y', pairs, chunks: ['te', 'xt'] })
    for (const [name, { get }] of Object.entries(Object.getOwnPropertyDescriptors(StandardRequest.prototype))) {
      expect(name in request, name).toBe(true)
      if (!get || ['body', 'signal', 'headers'].includes(name)) continue
      expect(Reflect.get(request, name), name).toEqual(Reflect.get(standard, name))
    }
    const headers = [...standard.headers].filter(([name]) => name !== 'content-type')
    expect([...request.headers]).toEqual(headers)
    expect(request.headers).toBe(request.headers)
    expect(Object.prototype.toString.call(request)).toBe('[object Request]')
  })

  test('passes for a standard one', async () => {
    const request = lazy({ method: 'PUT', chunks: ['body'] })
    expect(request).toBeInstanceOf(Request)
    expect(request).toBeInstanceOf(StandardRequest)
    expect(new StandardRequest('http://x/')).toBeInstanceOf(Request)
    class Mine extends Request {}
    expect(request).not.toBeInstanceOf(Mine)
    expect(new Mine('http://x/')).toBeInstanceOf(Mine)
    const copy = new Request(request, { headers: { 'x-new': '1' } })
    expect([copy.method, copy.url, copy.headers.get('x-new')]).toEqual(['PUT', 'http://app.example/', '1'])
    expect(await copy.text()).toBe('body')
    await expect(fetch(lazy({ pairs: ['host', '127.0.0.1:1'] }))).rejects.toThrow('fetch failed')
  })

  test('its body is read once, in any of the ways', async () => {
    expect(await lazy({ method: 'POST', chunks: ['{"a":', '1}'] }).json()).toEqual({ a: 1 })
    const request = lazy({ method: 'POST', chunks: ['one', 'two'] })
    const clone = request.clone()
    expect([await request.text(), await clone.text()]).toEqual(['onetwo', 'onetwo'])
    expect(request.bodyUsed).toBe(true)
    await expect(request.text()).rejects.toThrow(TypeError)
    const pairs = ['host', 'x', 'content-type', 'application/x-www-form-urlencoded']
    expect((await lazy({ method: 'POST', pairs, chunks: ['a=1&b=2'] }).formData()).get('b')).toBe('2')
    expect(await lazy().text()).toBe('')
    expect(lazy().body).toBeNull()
  })
})

describe('a light Response', () => {
  const made: [string, () => Response][] = [
    ['nothing', () => new Response()],
    ['null', () => new Response(null, { status: 204 })],
    ['text', () => new Response('héllo')],
    ['text with a type', () => new Response('{}', { headers: { 'Content-Type': 'application/json' } })],
    ['bytes', () => new Response(new Uint8Array([1, 2, 3]), { status: 201, statusText: 'Made' })],
    [
      'a Headers object',
      () =>
        new Response('x', {
          headers: new Headers([
            ['a', '1'],
            ['set-cookie', 'b=1'],
            ['set-cookie', 'c=2'],
          ]),
        }),
    ],
    [
      'pairs',
      () =>
        new Response('x', {
          headers: [
            ['a', '1'],
            ['A', '2'],
          ],
        }),
    ],
    ['a header in two spellings', () => new Response('x', { headers: { a: '1', A: '2' } })],
    ['spaces around a value', () => new Response('x', { headers: { a: '  1\t' } })],
    ['a number for a header', () => new Response('x', { headers: { a: 1 as unknown as string } })],
    ['a number for a body', () => new Response(5 as unknown as string)],
    ['a status in words', () => new Response('x', { status: '404' as unknown as number })],
    ['a stream', () => new Response(new Blob(['stream']).stream())],
    ['search parameters', () => new Response(new URLSearchParams({ a: '1' }))],
    ['JSON', () => Response.json({ a: 1 })],
    ['JSON with a status', () => Response.json([1], { status: 418, headers: { 'x-a': '1' } })],
    ['a redirect', () => Response.redirect('http://x.example/', 307)],
    ['an error', () => Response.error()],
  ]

  test.each(made)('of %s is what the standard makes of it', async (_what, make) => {
    const [light, standard] = [make(), asStandard(make)]
    for (const [name, { get }] of Object.entries(Object.getOwnPropertyDescriptors(StandardResponse.prototype)))
      if (get && !['body', 'headers'].includes(name))
        expect(Reflect.get(light, name), name).toEqual(Reflect.get(standard, name))
    expect([...light.headers]).toEqual([...standard.headers])
    expect(light.body === null).toBe(standard.body === null)
    expect(await light.text()).toBe(await standard.text())
    expect(light).toBeInstanceOf(Response)
    expect(light).toBeInstanceOf(StandardResponse)
  })

  test.each<[string, () => Response]>([
    ['a status out of range', () => new Response('x', { status: 199 })],
    ['a body with a status that has none', () => new Response('x', { status: 204 })],
    ['a line feed in a header', () => new Response('x', { headers: { a: '1\n2' } })],
    ['a line feed in the status text', () => new Response('x', { statusText: 'a\nb' })],
    ['a character above latin1 in a header', () => new Response('x', { headers: { a: '✓' } })],
    ['a header without a name', () => new Response('x', { headers: { '': '1' } })],
    ['no JSON', () => Response.json(undefined)],
  ])('refuses %s as the standard does', (_what, make) => {
    const standard = errorOf(() => asStandard(make))
    expect(standard).toBeInstanceOf(Error)
    expect(errorOf(make)).toMatchObject({ name: (standard as Error).name, message: (standard as Error).message })
  })

  test('is taken as it was given until somebody touches it, and what was given is copied', async () => {
    const bytes = new Uint8Array([1, 2, 3])
    const headers: Record<string, string> = { 'x-a': '1' }
    const light = new Response(bytes, { headers })
    bytes[0] = 9
    headers['x-a'] = '2'
    expect(light.status).toBe(200)
    expect(plainOf(light)).toMatchObject({ body: new Uint8Array([1, 2, 3]), pairs: ['x-a', '1'] })
    light.headers.set('x-b', '3')
    expect(plainOf(light)).toBeNull()
    expect([...light.headers]).toEqual([
      ['x-a', '1'],
      ['x-b', '3'],
    ])
    expect(await light.bytes()).toEqual(new Uint8Array([1, 2, 3]))
    expect(plainOf(asStandard(() => new Response('x')))).toBeNull()
  })

  test('a subclass of it is one', async () => {
    class Page extends Response {
      constructor(text: string) {
        super(text, { headers: { 'content-type': 'text/html' } })
      }
    }
    expect(new Page('x')).toBeInstanceOf(Page)
    expect(new Response('x')).not.toBeInstanceOf(Page)
    expect(await new Page('<p>').text()).toBe('<p>')
  })
})

function asStandard(make: () => Response): Response {
  const light = globalThis.Response
  globalThis.Response = StandardResponse
  try {
    return make()
  } finally {
    globalThis.Response = light
  }
}

function errorOf(make: () => unknown): unknown {
  try {
    return make()
  } catch (thrown) {
    return thrown
  }
}
