// A WebSocket client behind a proxy that sends one message, wants it back, and leaves. Arguments: URL, CA, proxy's URL. Prints JSON.
const { once } = require('node:events')
const fs = require('node:fs')
const WebSocket = require('ws')
const { HttpsProxyAgent } = require('https-proxy-agent')
const { SocksProxyAgent } = require('socks-proxy-agent')

const [url, ca, proxy] = process.argv.slice(2)

async function main() {
  const agent = proxy.startsWith('socks') ? new SocksProxyAgent(proxy) : new HttpsProxyAgent(proxy)
  const ws = new WebSocket(url, ['chat.v2'], { ca: fs.readFileSync(ca), agent })
  await once(ws, 'open')
  const back = once(ws, 'message')
  ws.send('hello')
  const [data] = await back
  const closed = once(ws, 'close')
  ws.close(1000)
  console.log(JSON.stringify({ echo: data.toString(), code: (await closed)[0] }))
}

main().catch((err) => {
  console.error(err)
  process.exit(1)
})
