// Node's `ws`: a broadcast sends to each client in turn, as its documentation shows it.
import { createServer } from "node:http";
import { WebSocket, WebSocketServer } from "ws";

const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false });
const server = createServer(async (request, response) => {
  const parts = [];
  for await (const part of request) parts.push(part);
  const text = Buffer.concat(parts);
  for (const socket of sockets.clients)
    if (socket.readyState === WebSocket.OPEN) socket.send(text, { binary: false });
  response.end("sent");
});
server.on("upgrade", (request, socket, head) =>
  sockets.handleUpgrade(request, socket, head, () => {}),
);
server.listen(Number(process.argv[2]), "127.0.0.1");
