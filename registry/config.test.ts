import { describe, expect, test } from 'vitest'
import { apiUrl, appUrl, gitUrl, readConfig } from './config.ts'

describe('readConfig', () => {
  test('an empty environment gives the defaults', () => {
    const config = readConfig({ HOME: '/home/ada', ATELIER_HOME: '/srv/a' })
    expect(config).toMatchObject({
      home: '/srv/a',
      runDir: '/srv/a/run',
      domain: 'localhost',
      appsDomain: 'apps.localhost',
      httpPort: 8080,
      storeUrl: 'file:/srv/a/store',
    })
    expect(appUrl(config, 'hello')).toBe('http://hello.apps.localhost:8080')
    expect(gitUrl(config, 'hello')).toBe('http://git.localhost:8080/hello.git')
  })

  test('port 80 is not written', () => {
    expect(apiUrl(readConfig({ ATELIER_HTTP_PORT: '80', ATELIER_DOMAIN: 'example.com' }))).toBe(
      'http://api.example.com',
    )
  })

  test('every bad variable is named', () => {
    const read = () =>
      readConfig({ ATELIER_HTTP_PORT: 'eighty', ATELIER_DOMAIN: 'http://x', ATELIER_QUEUE_URL: 'amqp://x' })
    expect(read).toThrow(/ATELIER_DOMAIN: .*ATELIER_HTTP_PORT: .*ATELIER_QUEUE_URL: /s)
  })

  test('the audit log is kept for 400 days, for ever, or for 30 at least', () => {
    expect(readConfig({}).auditDays).toBe(400)
    expect(readConfig({ ATELIER_AUDIT_DAYS: '0' }).auditDays).toBeNull()
    expect(readConfig({ ATELIER_AUDIT_DAYS: '30' }).auditDays).toBe(30)
    for (const days of ['29', '-1', 'all'])
      expect(() => readConfig({ ATELIER_AUDIT_DAYS: days })).toThrow(/ATELIER_AUDIT_DAYS: /)
  })

  test('trusted proxies are addresses and networks, and nothing else', () => {
    const read = (text: string) => readConfig({ ATELIER_TRUSTED_PROXIES: text }).trustedProxies
    expect(read('10.0.0.7, fd00::/8')).toEqual([
      { address: '10.0.0.7', prefix: 32, family: 'ipv4' },
      { address: 'fd00::', prefix: 8, family: 'ipv6' },
    ])
    expect(read('')).toEqual([])
    for (const text of ['proxy.example.com', '10.0.0.7:80', '10.0.0.0/33', '*.example.com', 'all'])
      expect(() => read(text)).toThrow(/ATELIER_TRUSTED_PROXIES: /)
  })
})
