import { Hono } from 'hono'

const app = new Hono()

app.get('/', (context) => context.text('Hello from Hono, version one'))
app.get('/api/time', (context) => context.json({ now: new Date().toISOString() }))

export default app
