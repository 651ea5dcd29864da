import { parseSlug } from '../apps.ts'
import { AppError } from '../errors.ts'

// Keys are built from parsed parts only, never from raw input.

/** Says whose store it is. */
export const platformMarkKey = 'platform'

export function sourceKey(app: string, version: string): string {
  return `sources/${parseSlug(app)}/${versionPart(version)}.tar.zst`
}

export function blobKey(sha256: string): string {
  if (!/^[0-9a-f]{64}$/.test(sha256))
    throw new AppError('INTERNAL', `${JSON.stringify(sha256.slice(0, 80))} is no SHA-256`)
  return `blobs/${sha256}`
}

export type BuildName = { app: string; version: string; build: string }

export function buildPrefix({ app, version, build }: BuildName): string {
  if (!/^[a-z0-9]{6,32}$/.test(build))
    throw new AppError('INTERNAL', `${JSON.stringify(build.slice(0, 80))} is no build id`)
  return `builds/${parseSlug(app)}/${versionPart(version)}/${build}/`
}

export function manifestKey(name: BuildName): string {
  return `${buildPrefix(name)}manifest.json`
}

export function routesKey(name: BuildName): string {
  return `${buildPrefix(name)}routes.json`
}

/** What was rendered at build time; there only when something was. */
export function staticPathsKey(name: BuildName): string {
  return `${buildPrefix(name)}static-paths.json`
}

export function buildLogKey(name: BuildName): string {
  return `${buildPrefix(name)}build.log`
}

/** Beside the manifest, which is never rewritten: smaller forms of its files, made later. */
export function encodingsKey(name: BuildName, sha256: string): string {
  if (!/^[0-9a-f]{64}$/.test(sha256))
    throw new AppError('INTERNAL', `${JSON.stringify(sha256.slice(0, 80))} is no SHA-256`)
  return `${buildPrefix(name)}encodings-${sha256}.json`
}

export function serverKey(name: BuildName): string {
  return `${buildPrefix(name)}server.tar.zst`
}

// Versions as they are stored: a whole git SHA, a timestamp, a release.
function versionPart(version: string): string {
  if (
    /^[0-9a-f]{40,64}$/.test(version) ||
    /^\d{8}-\d{6}$/.test(version) ||
    /^\d{1,6}(\.\d{1,6}){2}(-[0-9A-Za-z.]{1,40})?$/.test(version)
  )
    return version
  throw new AppError('VERSION_ILLEGAL', `${JSON.stringify(version.slice(0, 80))} is no stored version`)
}
