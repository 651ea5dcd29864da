import { OpenAPIHono } from '@hono/zod-openapi'
import { apiUrl, type Config } from '../config.ts'
import { describeOpen, openRoutes } from './open-routes.ts'
import { routeTable } from './route-table.ts'

export type OpenApiDocument = ReturnType<OpenAPIHono['getOpenAPI31Document']>

let made: { servedAt: string; document: OpenApiDocument } | null = null

/** The API's description, made from the same table that serves it; once, for anybody may ask for it. */
export function openApiDocument(config: Config): OpenApiDocument {
  const servedAt = apiUrl(config)
  if (made?.servedAt !== servedAt) made = { servedAt, document: describe(servedAt) }
  return made.document
}

function describe(servedAt: string): OpenApiDocument {
  const described = new OpenAPIHono()
  described.openAPIRegistry.registerComponent('securitySchemes', 'token', {
    type: 'http',
    scheme: 'bearer',
    description: 'An API token (atl_…), as `atelier tokens create` prints it.',
  })
  for (const openapi of [...openRoutes.map(describeOpen), ...routeTable.map(({ openapi }) => openapi)])
    described.openAPIRegistry.registerPath(openapi)
  const document = described.getOpenAPI31Document({
    openapi: '3.1.0',
    info: {
      title: 'Atelier',
      version: '1',
      description: 'Errors are `{"error":{"code","message"}}` with a fitting status.',
    },
    servers: [{ url: servedAt }],
  })
  return JSON.parse(JSON.stringify(document), (key, value) =>
    key === 'pattern' ? plainPattern(value) : nullable(value),
  )
}

// The generator writes a regular expression with flags as `…/u`, which JSON Schema would take for a part of it. There every pattern is of
// the unicode kind already.
function plainPattern(pattern: unknown): unknown {
  return typeof pattern === 'string' ? pattern.replace(/\/u$/, '') : pattern
}

// `A or null` comes out of it as `A and (an object or null)`, which null is not.
function nullable(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || !('allOf' in value) || !Array.isArray(value.allOf)) return value
  const [named, { type, ...rest } = { type: null }] = value.allOf
  if (value.allOf.length !== 2 || !Array.isArray(type) || !type.includes('null')) return value
  return { ...rest, anyOf: [named, { type: 'null' }] }
}
