export type Coding = 'br' | 'zstd' | 'gzip'

/** How much a client wants each form of a response: 0 (refused) to 1. */
export type Wanted = Readonly<Record<Coding | 'identity', number>>

const codings: readonly Coding[] = ['br', 'zstd', 'gzip']
// A form that is not listed is allowed, and comes after every one that is.
const unlisted = 0.0005
const quality = /^q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)$/

const remembered = new Map<string, Wanted>()
const maxRemembered = 200

/** Reads an Accept-Encoding header (RFC 9110 §12.5.3). A coding whose q cannot be read is refused. */
export function wantedEncodings(header: string | undefined): Wanted {
  const text = header ?? ''
  const known = remembered.get(text)
  if (known) return known
  const wanted = parse(text)
  if (remembered.size >= maxRemembered) remembered.clear()
  remembered.set(text, wanted)
  return wanted
}

function parse(header: string): Wanted {
  const listed = new Map<string, number>()
  for (const part of header.toLowerCase().split(',')) {
    const [coding = '', ...parameters] = part.split(';').map((piece) => piece.trim())
    const given = parameters.find((parameter) => parameter.startsWith('q='))
    if (coding !== '') listed.set(coding === 'x-gzip' ? 'gzip' : coding, given === undefined ? 1 : readQuality(given))
  }
  const others = listed.get('*')
  const [br, zstd, gzip] = codings.map((coding) => listed.get(coding) ?? others ?? 0)
  return { br: br ?? 0, zstd: zstd ?? 0, gzip: gzip ?? 0, identity: listed.get('identity') ?? others ?? unlisted }
}

function readQuality(parameter: string): number {
  return Number(quality.exec(parameter)?.[1] ?? 0)
}
