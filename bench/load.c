/* The audience: many viewers in one process that count, check and time what they get; by WebSocket,
 * by event stream, or by Socket.IO's own words on a WebSocket.
 *
 * usage: load PORT [FIRST]   The server is on 127.0.0.1. FIRST is the last number of the address
 *                            that the first 20,000 viewers come from (1); two at once need two.
 *
 * Commands come by stdin, one a line; each is answered by one line of JSON:
 *   connect COUNT PATH   open COUNT more viewers of PATH; answered when all have upgraded or failed
 *   entries COUNT MS     wait until every viewer got COUNT entries since the reset, MS at most
 *   stats                what arrived since the reset
 *   reset
 *   deflate ON           whether who connects from now on takes compressed messages (0 or 1)
 *   events ON            whether who connects from now on takes an event stream (0 or 1)
 *   buffer BYTES         how much the kernel may hold for who connects from now on (0: as it likes)
 *   stall                nobody who is connected by now reads any more
 *   rest US              after each batch of events sleep for so many microseconds (0: never)
 *   drop                 close all viewers
 *   quit
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#ifdef WITH_ZLIB
#include <zlib.h>
#endif

enum {
    EVENTS = 512,
    /* As many at once as a server's accept queue surely holds: a dropped SYN waits a second. */
    HANDSHAKES_AT_ONCE = 64,
    CONNECT_SECONDS = 60,
    /* 28,000 local ports for each pair of addresses; TIME_WAIT takes its share. */
    VIEWERS_PER_ADDRESS = 20000,
    FRAME_LARGEST = 1 << 20,
    SAMPLES_LARGEST = 4000000,
};

/* The key is a constant, so its answer is one too (the example of RFC 6455, 1.3). */
#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

enum state { CONNECTING, UPGRADING, OPEN, CLOSED };

struct viewer {
    int fd;
    enum state state;
    unsigned char *held; /* bytes that are no whole frame, or no whole response head, yet */
    size_t length;
    uint64_t entries;
    uint64_t offset;
    int by_events;
};

static struct viewer *viewers;
static size_t room, count;
static int port, first = 1, epoll;

static char path[512];
static uint64_t wanted, opened, failed, handshakes, connect_began;
static long rest_us;
static int takes_deflate, takes_events, buffer_bytes;
static uint64_t awaited, await_until, await_began;

static uint64_t frames, bytes, entries, entry_bytes, holes, closed, pings;
static unsigned last_close;
static uint32_t *samples;
static size_t sampled, unsampled;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static double seconds_since(uint64_t then)
{
    return (double)(now_ns() - then) / 1e9;
}

static void end(struct viewer *viewer)
{
    if (viewer->state == CLOSED)
        return;
    if (viewer->state == OPEN) {
        opened--;
        closed++;
    } else {
        handshakes--;
        failed++;
    }
    viewer->state = CLOSED;
    close(viewer->fd);
    free(viewer->held);
    viewer->held = NULL;
    viewer->length = 0;
}

/* ---- what arrives ---- */

/* The number behind `name` in the frame; 0 where there is none. */
static uint64_t number(const unsigned char *text, size_t length, const char *name)
{
    size_t size = strlen(name);
    const unsigned char *at = memmem(text, length, name, size), *stop = text + length;
    uint64_t value = 0;

    if (!at)
        return 0;
    for (at += size; at < stop && *at >= '0' && *at <= '9'; at++)
        value = value * 10 + (uint64_t)(*at - '0');
    return value;
}

static void take_text(struct viewer *viewer, const unsigned char *text, size_t length, size_t whole)
{
    static const char mark[] = "\"type\":\"entry\"";

    if (!memmem(text, length, mark, sizeof mark - 1))
        return;
    viewer->entries++;
    entries++;
    entry_bytes += whole;

    /* A server that is fast because it loses or repeats entries must not look good here. */
    uint64_t offset = number(text, length, "\"offset\":");
    if (viewer->offset && offset != viewer->offset + 1)
        holes++;
    viewer->offset = offset;

    uint64_t published = number(text, length, "bench-t=");
    if (!published)
        return;
    uint64_t took = (now_ns() - published) / 1000;
    if (sampled < SAMPLES_LARGEST)
        samples[sampled++] = took > UINT32_MAX ? UINT32_MAX : (uint32_t)took;
    else
        unsampled++;
}

/* A compressed message as text; the server's are shared, so that most were inflated already. */
static const unsigned char *inflated(const unsigned char *body, size_t length, size_t *size)
{
#ifdef WITH_ZLIB
    static unsigned char last[FRAME_LARGEST + 4], text[FRAME_LARGEST];
    static size_t last_length, text_length;
    z_stream stream = {0};

    if (length != last_length || memcmp(body, last, length) != 0) {
        memcpy(last, body, length);
        memcpy(last + length, "\x00\x00\xff\xff", 4);
        last_length = length;
        stream.next_in = last, stream.avail_in = (uInt)length + 4;
        stream.next_out = text, stream.avail_out = sizeof text;
        if (inflateInit2(&stream, -MAX_WBITS) != Z_OK || inflate(&stream, Z_SYNC_FLUSH) != Z_OK)
            fail("inflate");
        text_length = sizeof text - stream.avail_out;
        inflateEnd(&stream);
    }
    *size = text_length;
    return text;
#else
    *size = length;
    return body;
#endif
}

/* A short text to the server. The mask may be zero: RFC 6455 asks for one, not for which. */
static void say(struct viewer *viewer, const char *text)
{
    unsigned char frame[6 + 125] = {0x81, (unsigned char)(0x80 | strlen(text))};

    memcpy(frame + 6, text, strlen(text));
    if (write(viewer->fd, frame, 6 + strlen(text)) < 0 && errno != EAGAIN)
        end(viewer);
}

static void take_frame(struct viewer *viewer, int opcode, const unsigned char *body, size_t length,
                       size_t whole)
{
    /* The mask may be zero (RFC 6455 asks for one, not for which), so the pong is the ping's copy. */
    unsigned char pong[6 + 125] = {0x8A, (unsigned char)(0x80 | length)};

    frames++;
    if (opcode == 1 && length && body[0] == '0') {
        say(viewer, "40"); /* Engine.IO has opened: join Socket.IO's main namespace */
    } else if (opcode == 1 && length == 1 && body[0] == '2') {
        say(viewer, "3"); /* Engine.IO's ping and pong */
    } else if (opcode == 1) {
        take_text(viewer, body, length, whole);
    } else if (opcode == 8) {
        last_close = length >= 2 ? (unsigned)(body[0] << 8 | body[1]) : 1005;
        end(viewer);
    } else if (opcode == 9 && length <= 125) {
        pings++;
        memcpy(pong + 6, body, length);
        if (write(viewer->fd, pong, 6 + length) < 0 && errno != EAGAIN)
            end(viewer);
    }
}

/* Takes all whole frames of `data`; returns how many bytes they were. */
static size_t take_frames(struct viewer *viewer, const unsigned char *data, size_t length)
{
    size_t at = 0;

    while (viewer->state == OPEN && length - at >= 2) {
        const unsigned char *frame = data + at;
        uint64_t body = frame[1] & 127;
        size_t head = body < 126 ? 2 : body == 126 ? 4 : 10;
        if (length - at < head)
            break;
        if (head > 2) {
            body = 0;
            for (size_t i = 2; i < head; i++)
                body = body << 8 | frame[i];
        }
        /* No server may mask, nor use an extension that it wasn't offered. */
        int foreign = takes_deflate ? 0x30 : 0x70;
        if (frame[1] & 128 || frame[0] & foreign || body > FRAME_LARGEST) {
            end(viewer);
            break;
        }
        if (length - at < head + body)
            break;
        const unsigned char *text = frame + head;
        size_t size = body;
        if (frame[0] & 0x40)
            text = inflated(text, body, &size);
        take_frame(viewer, frame[0] & 15, text, size, head + body);
        at += head + body;
    }
    return at;
}

/* Takes all whole events of `data`; returns how many bytes they were. */
static size_t take_events(struct viewer *viewer, const unsigned char *data, size_t length)
{
    size_t at = 0;
    const unsigned char *stop;

    while ((stop = memmem(data + at, length - at, "\n\n", 2))) {
        size_t whole = (size_t)(stop + 2 - (data + at));
        frames++;
        take_text(viewer, data + at, whole, whole);
        at += whole;
    }
    return at;
}

/* Takes the response's head; returns how many bytes it was, 0 where it isn't whole yet. */
static size_t take_response(struct viewer *viewer, const unsigned char *data, size_t length)
{
    const unsigned char *stop = memmem(data, length, "\r\n\r\n", 4);

    if (!stop)
        return 0;
    size_t head = (size_t)(stop + 4 - data);
    int taken = viewer->by_events
                    ? memcmp(data, "HTTP/1.1 200", 12) == 0
                    : memcmp(data, "HTTP/1.1 101", 12) == 0 &&
                          memmem(data, head, ACCEPT, sizeof ACCEPT - 1) != NULL;
    if (!taken) {
        if (failed == 0)
            fprintf(stderr, "refused: %.*s\n", (int)(head < 200 ? head : 200), data);
        end(viewer);
        return head;
    }
    viewer->state = OPEN;
    handshakes--;
    opened++;
    return head;
}

static void hear(struct viewer *viewer)
{
    /* One for all: a viewer keeps a buffer of its own only while a frame is torn. */
    static unsigned char shared[FRAME_LARGEST + 65536 + 16];
    size_t before = viewer->length, taken = 0;

    if (before)
        memcpy(shared, viewer->held, before);
    ssize_t got = read(viewer->fd, shared + before, 65536);
    if (got <= 0) {
        if (got == 0 || errno != EAGAIN)
            end(viewer);
        return;
    }
    size_t length = before + (size_t)got;
    if (viewer->state == UPGRADING) {
        taken = take_response(viewer, shared, length);
        bytes += length - taken;
        if (!taken && length > 16384)
            end(viewer);
    } else {
        bytes += (uint64_t)got;
    }
    if (viewer->state == OPEN)
        taken += viewer->by_events ? take_events(viewer, shared + taken, length - taken)
                                   : take_frames(viewer, shared + taken, length - taken);
    if (viewer->state == CLOSED)
        return;

    size_t rest = length - taken;
    if (rest != before || taken) {
        free(viewer->held);
        viewer->held = NULL;
        if (rest) {
            if (!(viewer->held = malloc(rest)))
                fail("malloc");
            memcpy(viewer->held, shared + taken, rest);
        }
    }
    viewer->length = rest;
}

/* ---- opening ---- */

static void ask(struct viewer *viewer)
{
    char request[1024];
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = (uint64_t)(viewer - viewers)};
    int length = snprintf(request, sizeof request,
                          viewer->by_events
                              ? "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
                                "Accept: text/event-stream\r\n\r\n"
                              : "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\n"
                          "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                          "Sec-WebSocket-Key: " KEY "\r\n%s\r\n",
                          path, port,
                          takes_deflate ? "Sec-WebSocket-Extensions: permessage-deflate; "
                                          "client_max_window_bits\r\n"
                                        : "");

    viewer->state = UPGRADING;
    if (write(viewer->fd, request, (size_t)length) != length ||
        epoll_ctl(epoll, EPOLL_CTL_MOD, viewer->fd, &event) < 0)
        end(viewer);
}

static void open_one(void)
{
    struct viewer *viewer = &viewers[count];
    struct sockaddr_in from = {.sin_family = AF_INET};
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event event = {.events = EPOLLOUT, .data.u64 = count};
    uint32_t number = (uint32_t)first + (uint32_t)(count / VIEWERS_PER_ADDRESS);
    int on = 1;

    *viewer = (struct viewer){.state = CONNECTING, .by_events = takes_events};
    viewer->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (viewer->fd < 0)
        fail("socket");
    if (buffer_bytes &&
        setsockopt(viewer->fd, SOL_SOCKET, SO_RCVBUF, &buffer_bytes, sizeof buffer_bytes) < 0)
        fail("SO_RCVBUF");
    count++;
    handshakes++;
    if (number > 1) {
        /* bind() would take a port for good, of 28,000 for all destinations together; so the
         * port is left to connect(), which looks at the pair. */
        from.sin_addr.s_addr = htonl(0x7F000000u | number);
        if (setsockopt(viewer->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on) < 0 ||
            bind(viewer->fd, (struct sockaddr *)&from, sizeof from) < 0)
            fail("bind");
    }
    if ((connect(viewer->fd, (struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS) ||
        epoll_ctl(epoll, EPOLL_CTL_ADD, viewer->fd, &event) < 0)
        end(viewer);
}

/* ---- commands ---- */

static void reset(void)
{
    frames = bytes = entries = entry_bytes = holes = closed = pings = 0;
    sampled = unsampled = 0;
    for (size_t i = 0; i < count; i++)
        viewers[i].entries = 0;
}

static void drop(void)
{
    for (size_t i = 0; i < count; i++)
        end(&viewers[i]);
    count = 0;
    reset();
}

static void stall(void)
{
    for (size_t i = 0; i < count; i++)
        if (viewers[i].state == OPEN)
            epoll_ctl(epoll, EPOLL_CTL_DEL, viewers[i].fd, NULL);
}

static int by_size(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return left < right ? -1 : left > right;
}

static uint32_t percentile(double part)
{
    return sampled ? samples[(size_t)(part * (double)(sampled - 1) + 0.5)] : 0;
}

static void fewest_and_most(uint64_t *fewest, uint64_t *most)
{
    *fewest = UINT64_MAX;
    *most = 0;
    for (size_t i = 0; i < count; i++) {
        if (viewers[i].state != OPEN)
            continue;
        if (viewers[i].entries < *fewest)
            *fewest = viewers[i].entries;
        if (viewers[i].entries > *most)
            *most = viewers[i].entries;
    }
    if (*fewest == UINT64_MAX)
        *fewest = 0;
}

static void print_stats(void)
{
    uint64_t fewest, most;

    fewest_and_most(&fewest, &most);
    qsort(samples, sampled, sizeof *samples, by_size);
    printf("{\"open\":%llu,\"frames\":%llu,\"bytes\":%llu,\"entries\":%llu,\"entry_bytes\":%llu,"
           "\"fewest\":%llu,\"most\":%llu,\"holes\":%llu,\"closed\":%llu,\"last_close\":%u,"
           "\"pings\":%llu,\"timed\":%zu,\"untimed\":%zu,"
           "\"p50_us\":%u,\"p99_us\":%u,\"max_us\":%u}\n",
           (unsigned long long)opened, (unsigned long long)frames, (unsigned long long)bytes,
           (unsigned long long)entries, (unsigned long long)entry_bytes,
           (unsigned long long)fewest, (unsigned long long)most, (unsigned long long)holes,
           (unsigned long long)closed, last_close, (unsigned long long)pings, sampled, unsampled,
           percentile(0.5), percentile(0.99), percentile(1));
}

static void obey(const char *command)
{
    unsigned long number, milliseconds;

    if (sscanf(command, "connect %lu %511s", &number, path) == 2) {
        if (count + number > room) {
            printf("{\"error\":\"only %zu descriptors\"}\n", room);
            return;
        }
        wanted = number;
        failed = 0;
        connect_began = now_ns();
    } else if (sscanf(command, "entries %lu %lu", &number, &milliseconds) == 2) {
        awaited = number;
        await_began = now_ns();
        await_until = await_began + milliseconds * 1000000u;
    } else if (strcmp(command, "stats") == 0) {
        print_stats();
    } else if (strcmp(command, "reset") == 0) {
        reset();
        printf("{\"open\":%llu}\n", (unsigned long long)opened);
#ifdef WITH_ZLIB
    } else if (sscanf(command, "deflate %d", &takes_deflate) == 1) {
        printf("{\"deflate\":%d}\n", takes_deflate);
#endif
    } else if (sscanf(command, "events %d", &takes_events) == 1) {
        printf("{\"events\":%d}\n", takes_events);
    } else if (sscanf(command, "buffer %d", &buffer_bytes) == 1) {
        printf("{\"buffer\":%d}\n", buffer_bytes);
    } else if (strcmp(command, "stall") == 0) {
        stall();
        printf("{\"open\":%llu}\n", (unsigned long long)opened);
    } else if (sscanf(command, "rest %ld", &rest_us) == 1) {
        printf("{\"rest\":%ld}\n", rest_us);
    } else if (strcmp(command, "drop") == 0) {
        drop();
        printf("{\"open\":%llu}\n", (unsigned long long)opened);
    } else if (strcmp(command, "quit") == 0) {
        exit(0);
    } else {
        printf("{\"error\":\"connect, entries, stats, reset, deflate, events, buffer, stall, rest, drop "
               "or quit\"}\n");
    }
}

/* Answers the commands that take a while, once they are done. */
static void go_on(void)
{
    if (connect_began) {
        int late = seconds_since(connect_began) > CONNECT_SECONDS;
        while (!late && wanted && handshakes < HANDSHAKES_AT_ONCE) {
            wanted--;
            open_one();
        }
        if (late || (!wanted && !handshakes)) {
            printf("{\"open\":%llu,\"failed\":%llu,\"seconds\":%.3f}\n", (unsigned long long)opened,
                   (unsigned long long)(failed + wanted + handshakes),
                   seconds_since(connect_began));
            wanted = connect_began = 0;
        }
    }
    if (await_began) {
        uint64_t fewest, most;
        /* `entries` first: it is one comparison, the other one a walk over all viewers. */
        int enough = entries >= awaited * opened;
        if (enough) {
            fewest_and_most(&fewest, &most);
            enough = fewest >= awaited;
        }
        if (enough || now_ns() > await_until) {
            printf("{\"complete\":%s,\"seconds\":%.6f}\n", enough ? "true" : "false",
                   seconds_since(await_began));
            await_began = 0;
        }
    }
}

static void read_commands(void)
{
    static char line[1024];
    static size_t length;
    ssize_t got = read(STDIN_FILENO, line + length, sizeof line - 1 - length);

    if (got <= 0)
        exit(0); /* whoever drove this has gone */
    length += (size_t)got;
    line[length] = 0;
    for (char *stop; (stop = strchr(line, '\n'));) {
        *stop = 0;
        obey(line);
        length -= (size_t)(stop + 1 - line);
        memmove(line, stop + 1, length + 1);
    }
    if (length == sizeof line - 1)
        length = 0;
}

int main(int argc, char **argv)
{
    struct rlimit limit;
    struct epoll_event events[EVENTS];
    struct epoll_event commands = {.events = EPOLLIN, .data.u64 = UINT64_MAX};

    if (argc < 2 || (port = atoi(argv[1])) <= 0 || port > 65535 ||
        (argc > 2 && ((first = atoi(argv[2])) < 1 || first > 200))) {
        fprintf(stderr, "usage: load PORT [FIRST]\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        fail("getrlimit");
    limit.rlim_cur = limit.rlim_max > 1000000 ? 1000000 : limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
        fail("setrlimit");
    room = (size_t)limit.rlim_cur - 16;
    viewers = calloc(room, sizeof *viewers);
    samples = malloc(SAMPLES_LARGEST * sizeof *samples);
    if (!viewers || !samples)
        fail("malloc");
    if ((epoll = epoll_create1(EPOLL_CLOEXEC)) < 0 ||
        epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO, &commands) < 0)
        fail("epoll");

    for (;;) {
        /* While something is awaited, its deadline is looked at ten times a second. */
        int ready = epoll_wait(epoll, events, EVENTS, connect_began || await_began ? 100 : -1);
        if (ready < 0 && errno != EINTR)
            fail("epoll_wait");
        for (int i = 0; i < ready; i++) {
            if (events[i].data.u64 == UINT64_MAX) {
                read_commands();
                continue;
            }
            struct viewer *viewer = &viewers[events[i].data.u64];
            /* A `drop` in this same batch may have ended the viewer that the event is for. */
            if (events[i].data.u64 >= count || viewer->state == CLOSED)
                continue;
            if (viewer->state == CONNECTING) {
                int error = 0;
                socklen_t size = sizeof error;
                getsockopt(viewer->fd, SOL_SOCKET, SO_ERROR, &error, &size);
                if (error)
                    end(viewer);
                else
                    ask(viewer);
            } else {
                hear(viewer);
            }
        }
        go_on();
        if (rest_us)
            usleep((useconds_t)rest_us);
    }
}
