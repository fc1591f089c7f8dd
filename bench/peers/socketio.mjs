// Socket.IO with its defaults, over WebSocket alone.
import { createServer } from "node:http";
import { Server } from "socket.io";

const server = createServer();
const sockets = new Server(server, { transports: ["websocket"] });
server.prependListener("request", async (request, response) => {
  if (!request.url.startsWith("/send")) return;
  const parts = [];
  for await (const part of request) parts.push(part);
  sockets.emit("entry", JSON.parse(Buffer.concat(parts).toString()));
  response.end("sent");
});
server.listen(Number(process.argv[2]), "127.0.0.1");
