// Everything below these has a content hash in its path, or is named by the build that wrote it.
const alwaysHashed = /(^|\/)(_next\/static|_app\/immutable)\//
// Directories that bundlers fill. Short hashes are believed in there only.
const bundled =
  /(^|\/)(assets|_astro|_nuxt|_build|_expo|build|chunks|static\/(js|css|media|image|svg|font|wasm|assets)|js|css|fonts|img|images|media)\//
const code = /\.(?:[cm]?js|css|wasm)(?:\.map)?$/i
const besides = /(?:\.map|\.LICENSE\.txt)$/i

const uuid = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/i
// webpack, Parcel, Next, Rspack, Gatsby, Ember, Expo, Hugo: 8 to 64 digits of a hexadecimal hash; webpack's assets have no other name.
const hexHash = /(^|[.-])([0-9a-f]{8,64})(?=\.|$)/i
// Vite, Rollup, Astro, SvelteKit, VitePress, Qwik: 8 of base64url. Nuxt's chunks have no other name.
const base64Hash = /[.-]([A-Za-z0-9_-]{8})(?=\.|$)/
const nuxtChunk = /(?:^|\/)_nuxt\/([A-Za-z0-9_-]{8})\.(?:js|css)$/
// Astro names what it makes of a picture with a second hash behind the first.
const astroImage = /\.[A-Za-z0-9_-]{8}_[A-Za-z0-9]{5,7}$/
// esbuild and with it Angular: 8 of base32 in capitals. Bun: 8 of base32 in small letters. Both leave them at the top of the output.
const base32Hash = /-([A-Z2-7]{8}|[0-9a-hjkmnp-tv-z]{8})(?=\.|$)/
const angularFile = /(?:^|\/)(?:chunk|main|polyfills|styles|scripts)-[A-Z2-7]{8}\.(?:js|css)(?:\.map)?$/
// As in a manifest.
const longestPath = 1024
const consonants = /[bcdfghjklmnpqrstvwxz]{4}/i
const oneWord = /^[A-Z]?[a-z]{6,}[-_]?\d?$/
const prerelease = /^\d+-[a-z]+\d*$/
const words = /^(?:[a-z]{0,2}(?:[A-Z]?[a-z]{2,}))+[-_]?\d*$|^[A-Z]+\d*$|^\d+$|^[a-z]+(?:[-_][a-z]+)+$/

/**
 * True for a file whose name carries a hash of its content, so that it may be cached for ever: `assets/index-BxY12_aZ.js`,
 * `main.3f2a91c4.css`. When in doubt it says no: a name taken for a hash by mistake keeps an old file in browsers for a year.
 */
export function isHashedName(path: string): boolean {
  if (path.length > longestPath || path.endsWith('.html')) return false
  if (alwaysHashed.test(path)) return true
  const name = nameOf(path)
  if (uuid.test(name)) return false
  const isBundled = bundled.test(path)
  return (
    hasHexHash(name, isBundled || code.test(path)) || (isBundled && hasShortHash(path, name)) || hasCodeHash(path, name)
  )
}

// Without its extension; what visitors ask for comes here too, so the time it takes may not grow faster than the path.
function nameOf(path: string): string {
  const name = path.slice(path.lastIndexOf('/') + 1).replace(besides, '')
  return name.slice(0, Math.max(0, name.lastIndexOf('.')))
}

// A short one behind a hyphen may as well be a colour or a serial number: there it takes a bundler's directory, or code.
function hasHexHash(name: string, isLikely: boolean): boolean {
  const [, before = '', hash = ''] = hexHash.exec(name) ?? []
  if (!/\d/.test(hash) || !/[a-f]/i.test(hash)) return false
  return hash.length >= 16 || (before === '.' ? true : isLikely && before === '-')
}

function hasShortHash(path: string, name: string): boolean {
  const hash = (nuxtChunk.exec(path) ?? base64Hash.exec(name))?.[1] ?? ''
  return (/[A-Z0-9_]/.test(hash) && !isWords(hash)) || astroImage.test(name)
}

function hasCodeHash(path: string, name: string): boolean {
  const hash = code.test(path) ? (base32Hash.exec(name)?.[1] ?? '') : ''
  return (/\d/.test(hash) && /[a-z]/i.test(hash) && !isWords(hash)) || angularFile.test(path)
}

function isWords(text: string): boolean {
  return oneWord.test(text) || prerelease.test(text) || (words.test(text) && !consonants.test(text))
}
