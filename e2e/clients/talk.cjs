// A WebSocket client that sends messages, wants each back, and leaves. Arguments: URL, CA, sizes as JSON. Prints what it saw as JSON.
const { once } = require('node:events')
const fs = require('node:fs')
const WebSocket = require('ws')

const [url, ca, sizes] = process.argv.slice(2)

function* messages() {
  for (const size of JSON.parse(sizes)) {
    yield 'ä'.repeat(size >> 1) + 'x'.repeat(size & 1) // so many bytes in UTF-8
    yield Buffer.from(Array.from({ length: size }, (_, n) => (n * n) % 251))
  }
}

async function main() {
  const ws = new WebSocket(url, ['chat.v2'], { ca: fs.readFileSync(ca), perMessageDeflate: true, maxPayload: 0 })
  const seen = { sent: 0, received: 0 }
  await once(ws, 'open')
  for (const message of messages()) {
    const back = once(ws, 'message')
    ws.send(message)
    seen.sent++
    const [data, isBinary] = await back
    if (isBinary !== Buffer.isBuffer(message) || !data.equals(Buffer.from(message))) throw new Error('another message came back')
    seen.received++
  }
  const pong = once(ws, 'pong')
  ws.ping('are you there')
  await pong
  seen.subprotocol = ws.protocol
  seen.extensions = ws.extensions
  const closed = once(ws, 'close')
  ws.close(1000)
  seen.code = (await closed)[0]
  console.log(JSON.stringify(seen))
}

main().catch((err) => {
  console.error(err)
  process.exit(1)
})
