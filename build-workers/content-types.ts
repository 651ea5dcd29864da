import { extname } from 'node:path'

const text = (subtype: string) => `text/${subtype}; charset=utf-8`

const byExtension: Record<string, string> = {
  '.html': text('html'),
  '.htm': text('html'),
  '.css': text('css'),
  '.js': text('javascript'),
  '.mjs': text('javascript'),
  '.cjs': text('javascript'),
  '.txt': text('plain'),
  '.md': text('markdown'),
  '.csv': text('csv'),
  '.ics': text('calendar'),
  '.vtt': text('vtt'),
  '.xml': 'application/xml; charset=utf-8',
  '.xsl': 'application/xml; charset=utf-8',
  '.rss': 'application/rss+xml; charset=utf-8',
  '.atom': 'application/atom+xml; charset=utf-8',
  '.json': 'application/json; charset=utf-8',
  '.map': 'application/json; charset=utf-8',
  '.jsonld': 'application/ld+json; charset=utf-8',
  '.webmanifest': 'application/manifest+json; charset=utf-8',
  '.yaml': 'application/yaml; charset=utf-8',
  '.yml': 'application/yaml; charset=utf-8',
  '.wasm': 'application/wasm',
  '.pdf': 'application/pdf',
  '.zip': 'application/zip',
  '.gz': 'application/gzip',
  '.tar': 'application/x-tar',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.jpg': 'image/jpeg',
  '.jpeg': 'image/jpeg',
  '.gif': 'image/gif',
  '.webp': 'image/webp',
  '.avif': 'image/avif',
  '.ico': 'image/x-icon',
  '.bmp': 'image/bmp',
  '.woff': 'font/woff',
  '.woff2': 'font/woff2',
  '.ttf': 'font/ttf',
  '.otf': 'font/otf',
  '.eot': 'application/vnd.ms-fontobject',
  '.mp3': 'audio/mpeg',
  '.m4a': 'audio/mp4',
  '.ogg': 'audio/ogg',
  '.wav': 'audio/wav',
  '.flac': 'audio/flac',
  '.mp4': 'video/mp4',
  '.webm': 'video/webm',
  '.mov': 'video/quicktime',
  '.glb': 'model/gltf-binary',
  '.gltf': 'model/gltf+json',
}

/** By the extension; `application/octet-stream` for what is not known, so that a browser never guesses. */
export function contentType(path: string): string {
  return byExtension[extname(path).toLowerCase()] ?? 'application/octet-stream'
}

/** Whether bytes of this type are likely to shrink: text, JSON, XML, SVG, WebAssembly, uncompressed fonts and images. */
export function isCompressible(type: string): boolean {
  return /^text\/|json|xml|yaml|javascript|wasm|svg|x-icon|image\/bmp|font\/[ot]tf|fontobject|x-tar/.test(type)
}
