const remembered = new Map<string, ReadonlySet<string>>()
const maxRemembered = 200

/** The codings of an Accept-Encoding header that a response may use; `*` stands in the set as itself (RFC 9110 §12.5.3). */
export function acceptedEncodings(header: string | undefined): ReadonlySet<string> {
  const text = header ?? ''
  const known = remembered.get(text)
  if (known) return known
  const accepted = parse(text)
  if (remembered.size >= maxRemembered) remembered.clear()
  remembered.set(text, accepted)
  return accepted
}

function parse(header: string): Set<string> {
  const accepted = new Set<string>()
  const refused = new Set<string>()
  for (const part of header.toLowerCase().split(',')) {
    const [coding = '', ...parameters] = part.split(';').map((piece) => piece.trim())
    if (coding === '') continue
    const quality = parameters.find((parameter) => parameter.startsWith('q='))
    if (quality !== undefined && !(Number(quality.slice(2)) > 0)) refused.add(coding)
    else accepted.add(coding)
  }
  if (accepted.has('*')) for (const coding of ['br', 'zstd', 'gzip']) accepted.add(coding)
  for (const coding of refused) accepted.delete(coding)
  return accepted
}
