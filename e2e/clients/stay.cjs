// A WebSocket client that says nothing, answers pings and stays until it is closed. Arguments: URL. Prints when it is open, as JSON.
const WebSocket = require('ws')

const ws = new WebSocket(process.argv[2])
ws.on('open', () => console.log(JSON.stringify({ open: true })))
ws.on('close', () => process.exit(0))
