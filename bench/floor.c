/* The floor: the least a WebSocket server must do to hand one frame to every viewer.
 *
 * One thread, one epoll, one prepared frame, one write() each; no queue, no timer, no log. What a
 * real server costs above this is its own doing, so its figures are given as a ratio to this one,
 * taken in the same run on the same machine.
 *
 * It listens on a free port of 127.0.0.1 and says which. Commands come by stdin, one a line; each
 * is answered by one line of JSON:
 *   send SIZE   one text frame of SIZE payload bytes to every viewer
 *   cpu         what this process has used so far
 *   viewers     how many have upgraded
 *   quit
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 512, REQUEST_LARGEST = 4096, PAYLOAD_LARGEST = 60000, PAYLOAD_SMALLEST = 120 };

/* By descriptor: a request while it is being read, then only the mark that it upgraded. */
struct viewer {
    char *request;
    size_t length;
    int upgraded;
};

static struct viewer *viewers;
static int descriptors; /* the first one that doesn't fit into `viewers` */
static int upgraded;
static int epoll;
static uint64_t sent;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

/* ---- the handshake: RFC 6455, 4.2.2 needs SHA-1 and base64 of a short text, nothing more ---- */

static uint32_t rotate(uint32_t word, int by)
{
    return word << by | word >> (32 - by);
}

/* SHA-1 of up to 119 bytes (two blocks with their padding): 60 are needed. */
static void sha1(const char *text, size_t length, unsigned char digest[20])
{
    unsigned char blocks[128] = {0};
    uint32_t hash[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0};
    size_t total = length < 56 ? 64 : 128;

    memcpy(blocks, text, length);
    blocks[length] = 0x80;
    blocks[total - 2] = (unsigned char)(length * 8 >> 8);
    blocks[total - 1] = (unsigned char)(length * 8);
    for (size_t at = 0; at < total; at += 64) {
        uint32_t word[80], a = hash[0], b = hash[1], c = hash[2], d = hash[3], e = hash[4];
        for (int i = 0; i < 16; i++) {
            const unsigned char *p = blocks + at + 4 * i;
            word[i] = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
        }
        for (int i = 16; i < 80; i++)
            word[i] = rotate(word[i - 3] ^ word[i - 8] ^ word[i - 14] ^ word[i - 16], 1);
        for (int i = 0; i < 80; i++) {
            uint32_t f, k;
            if (i < 20) {
                f = (b & c) | (~b & d);
                k = 0x5A827999;
            } else if (i < 40) {
                f = b ^ c ^ d;
                k = 0x6ED9EBA1;
            } else if (i < 60) {
                f = (b & c) | (b & d) | (c & d);
                k = 0x8F1BBCDC;
            } else {
                f = b ^ c ^ d;
                k = 0xCA62C1D6;
            }
            uint32_t next = rotate(a, 5) + f + e + k + word[i];
            e = d, d = c, c = rotate(b, 30), b = a, a = next;
        }
        hash[0] += a, hash[1] += b, hash[2] += c, hash[3] += d, hash[4] += e;
    }
    for (int i = 0; i < 20; i++)
        digest[i] = (unsigned char)(hash[i / 4] >> (24 - 8 * (i % 4)));
}

/* 20 bytes are 27 digits and one "=". */
static void base64(const unsigned char digest[20], char text[29])
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (int i = 0, out = 0; i < 21; i += 3) {
        uint32_t three = (uint32_t)digest[i] << 16 | (uint32_t)digest[i + 1] << 8 |
                         (i + 2 < 20 ? digest[i + 2] : 0u);
        for (int shift = 18; shift >= 0; shift -= 6)
            text[out++] = digits[three >> shift & 63];
    }
    text[27] = '=';
    text[28] = 0;
}

static int answer(int fd, const char *request)
{
    const char *key = strcasestr(request, "\r\nSec-WebSocket-Key:");
    char joined[64], accept[29], response[200];
    unsigned char digest[20];

    if (!key || sscanf(key + 20, " %24s", joined) != 1 || strlen(joined) != 24)
        return -1;
    strcat(joined, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    sha1(joined, strlen(joined), digest);
    base64(digest, accept);
    int length = snprintf(response, sizeof response,
                          "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                          "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
                          accept);
    return write(fd, response, (size_t)length) == length ? 0 : -1;
}

/* ---- viewers ---- */

static void drop(int fd)
{
    upgraded -= viewers[fd].upgraded;
    free(viewers[fd].request);
    viewers[fd] = (struct viewer){0};
    close(fd);
}

static void take(int listener)
{
    /* One at a time would cost a turn of epoll each; the listener doesn't block. */
    for (;;) {
        int on = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        if (fd >= descriptors || !(viewers[fd].request = malloc(REQUEST_LARGEST + 1))) {
            close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
            drop(fd);
    }
}

static void hear(int fd)
{
    struct viewer *viewer = &viewers[fd];
    char ignored[4096];

    if (viewer->upgraded) {
        /* Viewers have nothing to say to the floor; only their end matters. */
        ssize_t count = read(fd, ignored, sizeof ignored);
        if (count == 0 || (count < 0 && errno != EAGAIN))
            drop(fd);
        return;
    }
    ssize_t count = read(fd, viewer->request + viewer->length, REQUEST_LARGEST - viewer->length);
    if (count <= 0) {
        if (count == 0 || errno != EAGAIN)
            drop(fd);
        return;
    }
    viewer->length += (size_t)count;
    viewer->request[viewer->length] = 0;
    if (!strstr(viewer->request, "\r\n\r\n")) {
        if (viewer->length == REQUEST_LARGEST)
            drop(fd);
        return;
    }
    if (answer(fd, viewer->request) < 0) {
        drop(fd);
        return;
    }
    free(viewer->request);
    viewer->request = NULL;
    viewer->upgraded = 1;
    upgraded++;
}

/* ---- the one thing that is measured ---- */

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void send_all(size_t size)
{
    static unsigned char frame[PAYLOAD_LARGEST + 5];
    size_t head = size < 126 ? 2 : 4;
    int written = 0, blocked = 0;

    frame[0] = 0x81; /* final, text */
    if (head == 2) {
        frame[1] = (unsigned char)size;
    } else {
        frame[1] = 126;
        frame[2] = (unsigned char)(size >> 8);
        frame[3] = (unsigned char)size;
    }
    /* An entry as the load client knows one: counted, placed, and timed by the token in it. */
    int used = snprintf((char *)frame + head, size + 1,
                        "{\"type\":\"entry\",\"offset\":%llu,\"post\":{\"body\":\"bench-t=%llu ",
                        (unsigned long long)++sent, (unsigned long long)now_ns());
    memset(frame + head + used, 'x', size - (size_t)used);
    memcpy(frame + head + size - 3, "\"}}", 3);
    for (int fd = 0; fd < descriptors; fd++) {
        if (!viewers[fd].upgraded)
            continue;
        /* A short write would tear the frame; it is counted, and such a run is worth nothing. */
        if (write(fd, frame, head + size) == (ssize_t)(head + size))
            written++;
        else
            blocked++;
    }
    printf("{\"written\":%d,\"blocked\":%d}\n", written, blocked);
}

static long long microseconds(struct timeval time)
{
    return (long long)time.tv_sec * 1000000 + time.tv_usec;
}

static void obey(const char *command)
{
    unsigned long size;

    if (sscanf(command, "send %lu", &size) == 1 && size >= PAYLOAD_SMALLEST &&
        size <= PAYLOAD_LARGEST) {
        send_all(size);
    } else if (strcmp(command, "cpu") == 0) {
        struct rusage usage;
        getrusage(RUSAGE_SELF, &usage);
        printf("{\"user_us\":%lld,\"system_us\":%lld}\n", microseconds(usage.ru_utime),
               microseconds(usage.ru_stime));
    } else if (strcmp(command, "viewers") == 0) {
        printf("{\"viewers\":%d}\n", upgraded);
    } else if (strcmp(command, "quit") == 0) {
        exit(0);
    } else {
        printf("{\"error\":\"send %d..%d, cpu, viewers or quit\"}\n", PAYLOAD_SMALLEST,
               PAYLOAD_LARGEST);
    }
}

static void read_commands(void)
{
    static char line[256];
    static size_t length;
    ssize_t count = read(STDIN_FILENO, line + length, sizeof line - 1 - length);

    if (count <= 0)
        exit(0); /* whoever drove this has gone */
    length += (size_t)count;
    line[length] = 0;
    for (char *end; (end = strchr(line, '\n'));) {
        *end = 0;
        obey(line);
        length -= (size_t)(end + 1 - line);
        memmove(line, end + 1, length + 1);
    }
    if (length == sizeof line - 1)
        length = 0;
}

int main(void)
{
    struct rlimit limit;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    struct epoll_event events[EVENTS];

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        fail("getrlimit");
    limit.rlim_cur = limit.rlim_max > 1000000 ? 1000000 : limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
        fail("setrlimit");
    descriptors = (int)limit.rlim_cur;
    if (!(viewers = calloc((size_t)descriptors, sizeof *viewers)))
        fail("calloc");

    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) < 0 ||
        listen(listener, 4096) < 0 ||
        getsockname(listener, (struct sockaddr *)&address, &size) < 0)
        fail("listen");
    if ((epoll = epoll_create1(EPOLL_CLOEXEC)) < 0)
        fail("epoll_create1");
    int own[] = {listener, STDIN_FILENO};
    for (int i = 0; i < 2; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = own[i]};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, own[i], &event) < 0)
            fail("epoll_ctl");
    }
    printf("{\"port\":%d}\n", ntohs(address.sin_port));

    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS, -1);
        if (count < 0 && errno != EINTR)
            fail("epoll_wait");
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == listener)
                take(listener);
            else if (fd == STDIN_FILENO)
                read_commands();
            else
                hear(fd);
        }
    }
}
