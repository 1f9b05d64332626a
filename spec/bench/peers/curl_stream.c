/* curl_stream.c - the least that can be done in C: libcurl's multi handle, a split at the empty
 * lines, cJSON on each chunk.
 *
 *     curl_stream CONCURRENCY RESPONSES        (the model server listens on MODEL_PORT) */
#include <cjson/cJSON.h>
#include <curl/curl.h>
#include <string.h>

#include "../measure.h"

enum { DELTAS = 200, MOST = 512 };

struct stream {
    CURL *easy;
    char data[65536];
    size_t len;
};

struct job {
    CURLM *multi;
    struct stream *streams;
    int concurrency;
    int responses;
    long deltas;
};

static struct job job;

static void take_event(const char *event, size_t len) {
    if (len == 6 && memcmp(event, "[DONE]", 6) == 0) return;
    cJSON *chunk = cJSON_ParseWithLength(event, len);
    cJSON *choice = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(chunk, "choices"), 0);
    cJSON *delta = cJSON_GetObjectItemCaseSensitive(choice, "delta");
    cJSON *text = cJSON_GetObjectItemCaseSensitive(delta, "content");
    job.deltas += cJSON_IsString(text) && *text->valuestring;
    cJSON_Delete(chunk);
}

static size_t on_bytes(char *bytes, size_t size, size_t count, void *user) {
    struct stream *s = user;
    size_t n = size * count;
    if (s->len + n > sizeof s->data) return 0;
    memcpy(s->data + s->len, bytes, n);
    s->len += n;
    char *at = s->data, *end;
    while ((end = memmem(at, s->len - (size_t)(at - s->data), "\n\n", 2))) {
        take_event(at + 6, (size_t)(end - at) - 6);
        at = end + 2;
    }
    s->len -= (size_t)(at - s->data);
    memmove(s->data, at, s->len);
    return n;
}

static void all_responses(long n, void *user) {
    (void)user;
    int started = 0, done = 0, running;
    long before = job.deltas;
    for (; started < job.concurrency && started < job.responses; started++)
        curl_multi_add_handle(job.multi, job.streams[started].easy);
    while (done < job.responses) {
        curl_multi_perform(job.multi, &running);
        int queued;
        for (CURLMsg *m; (m = curl_multi_info_read(job.multi, &queued));) {
            CURL *easy = m->easy_handle;
            done++;
            curl_multi_remove_handle(job.multi, easy);
            if (started < job.responses && curl_multi_add_handle(job.multi, easy) == CURLM_OK)
                started++;
        }
        if (done < job.responses) curl_multi_poll(job.multi, NULL, 0, 1000, NULL);
    }
    if (job.deltas - before != n) exit(1);
}

int main(int argc, char **argv) {
    if (argc != 3 || !getenv("MODEL_PORT")) return 2;
    job.concurrency = atoi(argv[1]);
    job.responses = atoi(argv[2]);
    if (job.concurrency < 1 || job.concurrency > MOST) return 2;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    job.multi = curl_multi_init();
    job.streams = calloc((size_t)job.concurrency, sizeof *job.streams);
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    if (!job.multi || !job.streams || !headers) return 1;
    curl_multi_setopt(job.multi, CURLMOPT_MAXCONNECTS, (long)job.concurrency);
    char url[64], metric[16];
    snprintf(url, sizeof url, "http://127.0.0.1:%s/v1/chat/completions", getenv("MODEL_PORT"));
    for (int i = 0; i < job.concurrency; i++) {
        CURL *easy = job.streams[i].easy = curl_easy_init();
        curl_easy_setopt(easy, CURLOPT_URL, url);
        curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS,
                         "{\"model\":\"mock\",\"stream\":true,\"messages\":"
                         "[{\"role\":\"user\",\"content\":\"hi\"}]}");
        curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_bytes);
        curl_easy_setopt(easy, CURLOPT_WRITEDATA, &job.streams[i]);
    }
    snprintf(metric, sizeof metric, "c%d", job.concurrency);
    measure(metric, (long)job.responses * DELTAS, all_responses, NULL);
    return 0;
}
