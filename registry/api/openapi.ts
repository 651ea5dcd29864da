import { OpenAPIHono } from '@hono/zod-openapi'
import { apiUrl, type Config } from '../config.ts'
import { routeTable } from './route-table.ts'

type OpenApiDocument = ReturnType<OpenAPIHono['getOpenAPI31Document']>

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
  for (const { openapi } of routeTable) described.openAPIRegistry.registerPath(openapi)
  return described.getOpenAPI31Document({
    openapi: '3.1.0',
    info: {
      title: 'Atelier',
      version: '1',
      description: 'Errors are `{"error":{"code","message"}}` with a fitting status.',
    },
    servers: [{ url: servedAt }],
  })
}
