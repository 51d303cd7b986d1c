/* A server of known timing that keeps up with a load client of many processes: /v1/completions, and /generate as SGLang has it,
   streamed, one token an event and one write an event. It writes down what it did, on CLOCK_MONOTONIC.

       cc -O2 -pthread -static known_server.c -o known_server
       known_server THREADS TTFT_SECONDS GAP_SECONDS

   Prints "listening on PORT". Token i of a request is due at its receipt + TTFT + i * GAP. The id of the prompt's first token
   names the request. GET /log returns, for each request that was answered since the last call, in native byte order: id
   (double), seconds of the receipt (double), tokens (double), and of each token the seconds just before it was written.

   Every thread has connections of its own, dealt by turns, and stays awake while a token is due within a millisecond. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define REQUEST_BYTES (1 << 20)
#define MAX_EVENTS 256
#define NATIVE_TOKENS 1024

typedef struct Connection {
    int fd, length, capacity, token, tokens, native;
    char *buffer;
    double *log; /* id, received, tokens, written ... */
} Connection;

typedef struct { double due; Connection *of; unsigned serial; } Timer;

typedef struct {
    int epoll, count, capacity;
    unsigned serial;
    Timer *heap;
} Thread;

typedef struct Entry { struct Entry *next; double *log; } Entry;

static double ttft, gap;
static int threads, listener;
static Thread *all;
static Entry *entries;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static const char HEAD[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
static const char EVENT[] =
    "data: {\"id\":\"cmpl-0\",\"object\":\"text_completion\",\"choices\":[{\"index\":0,\"text\":\"x\"}]}\n\n";
static char chunk[256];
static int chunk_length;
static char texts[NATIVE_TOKENS]; /* an event of /generate holds all tokens so far */

static void *need(void *memory) {
    if (!memory) { perror("known_server"); exit(1); }
    return memory;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

/* A client that reads too slowly for its socket's buffer is no client to measure with: wait for it. */
static void put(int fd, const char *data, size_t length) {
    while (length) {
        ssize_t n = send(fd, data, length, MSG_NOSIGNAL);
        if (n > 0) { data += n; length -= n; }
        else if (errno != EAGAIN) return;
    }
}

static int before(Timer a, Timer b) { return a.due < b.due || (a.due == b.due && (int)(a.serial - b.serial) < 0); }

static void push(Thread *t, double due, Connection *of) {
    if (t->count == t->capacity) {
        t->capacity = t->capacity ? 2 * t->capacity : 1024;
        t->heap = need(realloc(t->heap, t->capacity * sizeof(Timer)));
    }
    Timer timer = {due, of, t->serial++};
    int i = t->count++;
    for (; i && before(timer, t->heap[(i - 1) / 2]); i = (i - 1) / 2) t->heap[i] = t->heap[(i - 1) / 2];
    t->heap[i] = timer;
}

static Connection *pop(Thread *t) {
    Connection *of = t->heap[0].of;
    Timer last = t->heap[--t->count];
    int i = 0;
    for (int child; (child = 2 * i + 1) < t->count; i = child) {
        if (child + 1 < t->count && before(t->heap[child + 1], t->heap[child])) child++;
        if (!before(t->heap[child], last)) break;
        t->heap[i] = t->heap[child];
    }
    t->heap[i] = last;
    return of;
}

static void send_log(int fd) {
    pthread_mutex_lock(&lock);
    Entry *taken = entries;
    entries = NULL;
    pthread_mutex_unlock(&lock);
    size_t length = 0;
    for (Entry *e = taken; e; e = e->next) length += (3 + (size_t)e->log[2]) * sizeof(double);
    char head[128];
    put(fd, head, sprintf(head, "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %zu\r\n\r\n", length));
    for (Entry *e = taken, *next; e; e = next) {
        put(fd, (char *)e->log, (3 + (size_t)e->log[2]) * sizeof(double));
        next = e->next;
        free(e->log);
        free(e);
    }
}

static double number_after(const char *text, const char *key) {
    const char *found = strstr(text, key);
    if (!found) return 0;
    found += strlen(key);
    while (*found == ':' || *found == ' ' || *found == '[') found++;
    return atof(found);
}

static void answer(Thread *t, Connection *c, double received) {
    if (!strncmp(c->buffer, "GET /log", 8)) { send_log(c->fd); return; }
    if (!strncmp(c->buffer, "GET /", 5)) { /* what clients ask before they start */
        static const char models[] = "{\"object\":\"list\",\"data\":[{\"id\":\"mock\",\"object\":\"model\"}]}";
        char reply[256];
        put(c->fd, reply, sprintf(reply, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", sizeof models - 1, models));
        return;
    }
    c->native = !strncmp(c->buffer, "POST /generate ", 15);
    c->tokens = number_after(c->buffer, c->native ? "\"max_new_tokens\"" : "\"max_tokens\"");
    if (c->tokens <= 0 || (c->native ? c->tokens > NATIVE_TOKENS : strncmp(c->buffer, "POST /v1/completions", 20))) {
        static const char no[] = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
        put(c->fd, no, sizeof no - 1);
        return;
    }
    c->token = 0;
    c->log = need(malloc((3 + c->tokens) * sizeof(double)));
    c->log[0] = number_after(c->buffer, c->native ? "\"input_ids\"" : "\"prompt\"");
    c->log[1] = received;
    c->log[2] = c->tokens;
    put(c->fd, HEAD, sizeof HEAD - 1);
    push(t, received + ttft, c);
}

static void drop(Connection *c) {
    free(c->buffer);
    free(c->log);
    free(c);
}

static void hang_up(Thread *t, Connection *c) {
    close(c->fd);
    c->fd = -1;
    for (int i = 0; i < t->count; i++)
        if (t->heap[i].of == c) return; /* its timer frees it */
    drop(c);
}

static void take(Thread *t, Connection *c) {
    double received = now();
    if (c->capacity - c->length < 65536) {
        c->capacity = c->capacity ? 2 * c->capacity : 131072;
        if (c->capacity > REQUEST_BYTES) { fprintf(stderr, "known_server: a request of more than 1 MiB\n"); exit(1); }
        c->buffer = need(realloc(c->buffer, c->capacity));
    }
    ssize_t n = recv(c->fd, c->buffer + c->length, c->capacity - c->length - 1, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) { hang_up(t, c); return; }
    c->length += n;
    c->buffer[c->length] = 0;
    char *body = strstr(c->buffer, "\r\n\r\n");
    if (!body) return;
    char *header = strcasestr(c->buffer, "content-length:");
    int expected = header && header < body ? atoi(header + 15) : 0;
    if (c->length < body + 4 - c->buffer + expected) return;
    c->length = 0;
    answer(t, c, received);
}

static void finish(Connection *c) {
    char usage[256], end[512];
    int n = sprintf(usage, "data: {\"choices\": [], \"usage\": {\"prompt_tokens\": 32, \"completion_tokens\": %d}}\n\n", c->tokens);
    int m = c->native ? 0 : sprintf(end, "%x\r\n%s\r\n", n, usage); /* /generate has said it in its last event */
    m += sprintf(end + m, "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n");
    Entry *entry = need(malloc(sizeof *entry));
    entry->log = c->log;
    c->log = NULL;
    pthread_mutex_lock(&lock);
    entry->next = entries;
    entries = entry;
    pthread_mutex_unlock(&lock);
    put(c->fd, end, m);
}

static int native_chunk(const Connection *c, char *to) {
    char event[NATIVE_TOKENS + 256], finish[64] = "null";
    int so_far = c->token + 1;
    if (so_far == c->tokens) sprintf(finish, "{\"type\":\"length\",\"length\":%d}", c->tokens);
    int n = sprintf(event, "data: {\"text\":\"%.*s\",\"meta_info\":{\"id\":\"0\",\"finish_reason\":%s,\"prompt_tokens\":32,"
                    "\"completion_tokens\":%d,\"cached_tokens\":0}}\n\n", so_far, texts, finish, so_far);
    return sprintf(to, "%x\r\n%s\r\n", n, event);
}

static void write_token(Thread *t) {
    double due = t->heap[0].due;
    Connection *c = pop(t);
    if (c->fd < 0) { drop(c); return; }
    char native[NATIVE_TOKENS + 512];
    int length = c->native ? native_chunk(c, native) : chunk_length;
    c->log[3 + c->token++] = now();
    put(c->fd, c->native ? native : chunk, length);
    if (c->token == c->tokens) finish(c);
    else push(t, due + gap, c);
}

/* Whichever thread is free takes a new connection, and deals it. */
static void take_connection(void) {
    static unsigned dealt;
    int one = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    if (fd < 0) {
        if (errno == EAGAIN || errno == ECONNABORTED) return;
        perror("known_server: accept");
        exit(1);
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    Connection *c = need(calloc(1, sizeof *c));
    c->fd = fd;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    Thread *to = &all[__atomic_fetch_add(&dealt, 1, __ATOMIC_RELAXED) % threads];
    if (epoll_ctl(to->epoll, EPOLL_CTL_ADD, fd, &event)) { perror("known_server"); exit(1); }
}

static void *serve(void *argument) {
    Thread *t = argument;
    struct epoll_event events[MAX_EVENTS];
    for (;;) {
        int wait = -1;
        if (t->count) {
            double left = t->heap[0].due - now();
            wait = left > 0.002 ? (int)(1000 * left) - 1 : 0;
        }
        int n = epoll_wait(t->epoll, events, MAX_EVENTS, wait);
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr) take(t, events[i].data.ptr);
            else take_connection();
        }
        /* No more than some at a time: requests are received meanwhile. */
        for (int i = 0; i < 16 && t->count && t->heap[0].due <= now(); i++) write_token(t);
    }
    return NULL;
}

int main(int argc, char **argv) {
    if (argc != 4) { fprintf(stderr, "usage: known_server THREADS TTFT_SECONDS GAP_SECONDS\n"); return 2; }
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* it ends with whoever started it */
    threads = atoi(argv[1]);
    ttft = atof(argv[2]);
    gap = atof(argv[3]);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    memset(texts, 'x', sizeof texts);
    chunk_length = sprintf(chunk, "%zx\r\n%s\r\n", sizeof EVENT - 1, EVENT);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    if (bind(listener, (void *)&address, size) || listen(listener, 4096) || getsockname(listener, (void *)&address, &size)) {
        perror("known_server");
        return 1;
    }
    all = need(calloc(threads, sizeof *all));
    for (int i = 0; i < threads; i++) all[i].epoll = epoll_create1(0);
    for (int i = 0; i < threads; i++) {
        pthread_t id;
        struct epoll_event event = {.events = EPOLLIN | EPOLLEXCLUSIVE, .data.ptr = NULL};
        epoll_ctl(all[i].epoll, EPOLL_CTL_ADD, listener, &event);
        if (pthread_create(&id, NULL, serve, &all[i])) { perror("known_server"); return 1; }
    }
    printf("listening on %d\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) pause();
}
