// A WebSocket server that sends back what it gets. Arguments: certificate, key. Prints its ports as JSON.
const fs = require('node:fs')
const http = require('node:http')
const https = require('node:https')
const { WebSocketServer } = require('ws')

const [cert, key] = process.argv.slice(2).map((file) => fs.readFileSync(file))

function serve(server) {
  const sockets = new WebSocketServer({ server, perMessageDeflate: true, maxPayload: 0, handleProtocols: (offered) => offered.has('chat.v2') && 'chat.v2' })
  sockets.on('connection', (ws) => {
    ws.on('message', (data, isBinary) => ws.send(data, { binary: isBinary }))
    ws.on('error', (err) => console.error('connection:', err.message))
  })
  return new Promise((listening) => server.listen(0, '127.0.0.1', () => listening(server.address().port)))
}

async function main() {
  const plain = await serve(http.createServer())
  const secure = await serve(https.createServer({ cert, key }))
  console.log(JSON.stringify({ plain, secure }))
}

process.on('SIGTERM', () => process.exit(0))
main()
