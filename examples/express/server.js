const express = require('express')

const app = express()
app.get('/', (request, response) => response.send('Hello from Express, version one'))
app.get('/visitor', (request, response) => response.json({ agent: request.get('user-agent') }))

app.listen(process.env.PORT || 3000)
