// Directories whose files bundlers name by content, also with short hashes; below `_app/immutable` and `_next/static` every file is.
const alwaysHashed = /(^|\/)(_next\/static|_app\/immutable)\//
const hashedDirectory =
  /(^|\/)(assets|_astro|_nuxt|_build|build|chunks|static\/(js|css|media)|js|css|fonts|img|images|media)\//
const lastName = /([^/]+)\.[a-z0-9]+(?:\.map)?$/i
const hexHash = /[.-]([0-9a-f]{8,64})(?=\.|$)/i
const shortHash = /[.-]([A-Za-z0-9_-]{8}|[A-Z2-7]{8})(?=\.|$)/
const consonants = /[bcdfghjklmnpqrstvwxz]{4}/i
const words = /^(?:[a-z]{0,2}(?:[A-Z]?[a-z]{2,}))+[-_]?\d*$|^[A-Z]+\d*$|^\d+$|^[a-z]+(?:[-_][a-z]+)+$/

/**
 * True for a file whose name carries a hash of its content, so that it may be cached for ever: `assets/index-BxY12_aZ.js`,
 * `main.3f2a91c4.css`. When in doubt it says no: a name taken for a hash by mistake keeps an old file in browsers for a year.
 */
export function isHashedName(path: string): boolean {
  if (path.endsWith('.html')) return false
  if (alwaysHashed.test(path)) return true
  const name = lastName.exec(path)?.[1] ?? ''
  const hex = hexHash.exec(name)?.[1] ?? ''
  if (/\d/.test(hex) && /[a-f]/i.test(hex)) return true
  const short = shortHash.exec(name)?.[1] ?? ''
  return hashedDirectory.test(path) && short !== '' && /[A-Z0-9_]/.test(short) && !isWords(short)
}

function isWords(text: string): boolean {
  return words.test(text) && !consonants.test(text)
}
