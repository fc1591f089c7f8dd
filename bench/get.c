/* Readers of a page: so many kept connections, each of which asks again once it has its answer.
 *
 * usage: get PORT READERS REQUESTS PATH   The server is on 127.0.0.1. Each reader asks REQUESTS
 *                                         times, as a browser that takes gzip.
 *
 * Says one line of JSON when all have ended, and is as cheap as it can be, so that the server never
 * waits for it: an answer's length is read from its head, its body is only counted.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READERS_MOST = 1000, HEAD_MOST = 8192, EVENTS = 256, SILENT_MS = 30000 };

struct reader {
    int fd;
    long asked;
    char head[HEAD_MOST + 1];
    size_t length; /* of the head that is held; 0 while the body comes */
    long left;     /* of the body */
};

static struct reader readers[READERS_MOST];
static char request[1024];
static size_t request_length;
static unsigned long long answers, bytes;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void refuse(const char *why, const char *head)
{
    fprintf(stderr, "%s: %.300s\n", why, head);
    exit(1);
}

static void ask(struct reader *reader)
{
    reader->asked++;
    reader->length = 0;
    reader->left = 0;
    if (write(reader->fd, request, request_length) != (ssize_t)request_length)
        fail("write");
}

/* Takes an answer's head once it is whole; returns how many bytes of the body came with it. */
static long take_head(struct reader *reader)
{
    char *stop, *named;

    reader->head[reader->length] = 0;
    if (!(stop = strstr(reader->head, "\r\n\r\n"))) {
        if (reader->length == HEAD_MOST)
            refuse("no end of the head", reader->head);
        return -1;
    }
    if (strncmp(reader->head, "HTTP/1.1 200", 12) != 0)
        refuse("refused", reader->head);
    if (!(named = strcasestr(reader->head, "\r\ncontent-length:")) || named > stop)
        refuse("no Content-Length", reader->head);
    reader->left = atol(named + 17);
    return (long)(reader->length - (size_t)(stop + 4 - reader->head));
}

/* Returns 1 once the answer is whole. */
static int hear(struct reader *reader)
{
    static char body[1 << 16];
    int in_head = reader->left == 0;
    char *into = in_head ? reader->head + reader->length : body;
    size_t room = in_head ? HEAD_MOST - reader->length : sizeof body;
    ssize_t got = read(reader->fd, into, room);

    if (got <= 0)
        refuse("the server ended a connection", "");
    bytes += (unsigned long long)got;
    if (in_head) {
        reader->length += (size_t)got;
        if ((got = take_head(reader)) < 0)
            return 0;
    }
    reader->left -= got;
    if (reader->left < 0)
        refuse("more than one answer", reader->head);
    return reader->left == 0;
}

int main(int argc, char **argv)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event events[EVENTS];
    int epoll = epoll_create1(EPOLL_CLOEXEC), port, count;
    long times;

    if (argc != 5 || (port = atoi(argv[1])) <= 0 || port > 65535 || (count = atoi(argv[2])) <= 0 ||
        count > READERS_MOST || (times = atol(argv[3])) <= 0) {
        fprintf(stderr, "usage: get PORT READERS REQUESTS PATH\n");
        return 2;
    }
    to.sin_port = htons((uint16_t)port);
    request_length = (size_t)snprintf(request, sizeof request,
                                      "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
                                      "Accept: text/html\r\nAccept-Encoding: gzip\r\n\r\n",
                                      argv[4], port);
    if (request_length >= sizeof request)
        refuse("too long a path", argv[4]);
    for (int i = 0; i < count; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &readers[i]};
        readers[i].fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (readers[i].fd < 0 || connect(readers[i].fd, (struct sockaddr *)&to, sizeof to) < 0 ||
            epoll_ctl(epoll, EPOLL_CTL_ADD, readers[i].fd, &event) < 0)
            fail("connect");
        ask(&readers[i]);
    }
    for (int reading = count; reading;) {
        int ready = epoll_wait(epoll, events, EVENTS, SILENT_MS);
        if (ready <= 0)
            refuse("nothing came for 30 s", "");
        for (int i = 0; i < ready; i++) {
            struct reader *reader = events[i].data.ptr;
            if (!hear(reader))
                continue;
            answers++;
            if (reader->asked < times) {
                ask(reader);
            } else {
                close(reader->fd);
                reading--;
            }
        }
    }
    printf("{\"answers\":%llu,\"bytes\":%llu}\n", answers, bytes);
    return 0;
}
