#include "snapshot/file_format.h"
#include "snapshot/manifest_check.h"

#include "base/bytes.h"

#include <inttypes.h>
#include <stdlib.h>

/* The least bytes that one element takes on disk: no count is believed that the bytes left cannot hold. */
#define OPERATOR_BYTES_MIN 25u
#define STATE_BYTES_MIN 18u
#define TASK_BYTES_MIN 59u
#define FILE_BYTES_MIN 50u
#define POSITION_BYTES_MIN 8u
#define COMMITTABLE_BYTES_MIN 16u
#define TRAILER_BYTES 8u
#define TOP_BYTES_MIN 78u /* between head and operators, with both counts */
#define HEAD_BYTES 24u    /* magic, version, reserved, size */

static void encode_operator(struct writer *w, const struct manifest_operator *op)
{
    writer_text(w, op->name);
    writer_text(w, op->type);
    writer_u32(w, op->kind);
    writer_u32(w, op->parallelism);
    writer_u32(w, op->key_bytes);
    writer_u8(w, op->keyed);
    writer_u32(w, 0); /* reserved */
    writer_u32(w, op->state_count);
    for (uint32_t i = 0; i < op->state_count; i++) {
        writer_text(w, op->states[i].name);
        writer_u32(w, op->states[i].kind);
        writer_u32(w, op->states[i].scope);
        writer_u32(w, op->states[i].size_bytes);
        writer_u32(w, op->states[i].version);
    }
}

static void encode_file(struct writer *w, const struct snapshot_file *file)
{
    writer_text(w, file->name);
    writer_u64(w, file->size_bytes);
    writer_u64(w, file->checksum);
    writer_u32(w, file->block_bytes);
    writer_u32(w, file->attempt);
    writer_u64(w, file->block_count);
    writer_u64(w, file->checkpoint_id);
    writer_u64(w, file->generation);
}

static void encode_connectors(struct writer *w, const struct manifest_task *task)
{
    writer_u32(w, task->position_count);
    for (uint32_t i = 0; i < task->position_count; i++) {
        writer_u32(w, task->positions[i].operator_index);
        writer_blob(w, task->positions[i].bytes, task->positions[i].size_bytes);
    }
    writer_u32(w, task->committable_count);
    for (uint32_t i = 0; i < task->committable_count; i++) {
        writer_u32(w, task->committables[i].operator_index);
        writer_u64(w, task->committables[i].checkpoint_id);
        writer_blob(w, task->committables[i].bytes, task->committables[i].size_bytes);
    }
}

static void encode_task(struct writer *w, const struct manifest_task *task)
{
    writer_text(w, task->name);
    writer_u32(w, task->subtask);
    writer_u32(w, task->key_group_first);
    writer_u32(w, task->key_group_count);
    writer_u8(w, task->finished);
    writer_u64(w, task->records_in);
    writer_u64(w, task->records_out);
    writer_u64(w, (uint64_t)task->watermark_ms);
    writer_u32(w, 0); /* reserved */
    writer_u32(w, task->operator_count);
    for (uint32_t i = 0; i < task->operator_count; i++)
        writer_u32(w, task->operators[i]);
    writer_u32(w, task->file_count);
    for (uint32_t i = 0; i < task->file_count; i++)
        encode_file(w, &task->files[i]);
    encode_connectors(w, task);
}

static void encode_all(struct writer *w, const struct manifest *m)
{
    writer_put(w, MANIFEST_MAGIC, FORMAT_MAGIC_BYTES);
    writer_u32(w, MANIFEST_VERSION);
    writer_u32(w, 0);                     /* reserved */
    writer_u64(w, (uint64_t)w->capacity); /* of the whole file, with the checksum */
    writer_text(w, m->job_name);
    writer_put(w, m->job_id, sizeof m->job_id);
    writer_u64(w, m->checkpoint_id);
    writer_u64(w, m->generation);
    writer_u64(w, (uint64_t)m->created_ms);
    writer_u64(w, (uint64_t)m->duration_ns);
    writer_u32(w, m->kind);
    writer_u32(w, m->guarantee);
    writer_u32(w, m->key_group_count);
    writer_u64(w, m->total_bytes);
    writer_u32(w, m->operator_count);
    for (uint32_t i = 0; i < m->operator_count; i++)
        encode_operator(w, &m->operators[i]);
    writer_u32(w, m->task_count);
    for (uint32_t i = 0; i < m->task_count; i++)
        encode_task(w, &m->tasks[i]);
}

static uint64_t task_bytes(const struct manifest_task *task)
{
    uint64_t size_bytes = TASK_BYTES_MIN + strlen(task->name) + 4 * (uint64_t)task->operator_count;
    for (uint32_t i = 0; i < task->file_count; i++)
        size_bytes += FILE_BYTES_MIN + strlen(task->files[i].name);
    for (uint32_t i = 0; i < task->position_count; i++)
        size_bytes += POSITION_BYTES_MIN + task->positions[i].size_bytes;
    for (uint32_t i = 0; i < task->committable_count; i++)
        size_bytes += COMMITTABLE_BYTES_MIN + task->committables[i].size_bytes;
    return size_bytes;
}

/* Exact: encode_all() fills it to the last byte but the checksum. */
static uint64_t manifest_bytes(const struct manifest *m)
{
    uint64_t size_bytes = HEAD_BYTES + TOP_BYTES_MIN + strlen(m->job_name) + TRAILER_BYTES;
    for (uint32_t i = 0; i < m->operator_count; i++) {
        const struct manifest_operator *op = &m->operators[i];
        size_bytes += OPERATOR_BYTES_MIN + strlen(op->name) + strlen(op->type);
        for (uint32_t j = 0; j < op->state_count; j++)
            size_bytes += STATE_BYTES_MIN + strlen(op->states[j].name);
    }
    for (uint32_t i = 0; i < m->task_count; i++)
        size_bytes += task_bytes(&m->tasks[i]);
    return size_bytes;
}

static uint64_t sum_of_files(const struct manifest *m)
{
    uint64_t total_bytes = 0;
    for (uint32_t i = 0; i < m->task_count; i++)
        for (uint32_t j = 0; j < m->tasks[i].file_count; j++)
            total_bytes += m->tasks[i].files[j].size_bytes;
    return total_bytes;
}

int manifest_encode(struct manifest *m, void **ret_bytes, size_t *ret_size_bytes, struct weir_error *err)
{
    m->total_bytes = sum_of_files(m);
    int code = manifest_check(m, WEIR_EINVAL, err);
    if (code != WEIR_OK)
        return code;
    uint64_t size_bytes = manifest_bytes(m);
    if (size_bytes > MANIFEST_BYTES_MAX)
        return error_set(err, WEIR_ELIMIT, "a manifest of %" PRIu64 " bytes, at most %u", size_bytes,
                         MANIFEST_BYTES_MAX);
    unsigned char *bytes = malloc(size_bytes);
    if (bytes == NULL)
        return error_set(err, WEIR_ENOMEM, "%" PRIu64 " bytes for a manifest: out of memory", size_bytes);
    struct writer w = {.data = bytes, .capacity = size_bytes};
    encode_all(&w, m);
    writer_u64(&w, bytes_checksum(bytes, w.used));
    if (w.failed || w.used != size_bytes) {
        free(bytes);
        return error_set(err, WEIR_EINVAL, "the manifest takes %zu bytes, expected %" PRIu64, w.used, size_bytes);
    }
    *ret_bytes = bytes;
    *ret_size_bytes = size_bytes;
    return WEIR_OK;
}

/* The reader stands where the field was found to be wrong, or ran over the end. */
static int refuse(const struct reader *r, const char *what, struct weir_error *err)
{
    return error_set(err, WEIR_ECORRUPT, "byte %zu: %s", r->used,
                     r->failed ? "a field runs over the end or is malformed" : what);
}

/* An array of one kind of element: its bounds, and what an element takes on disk (at least) and in memory. */
struct array_kind {
    uint64_t count_max;
    size_t disk_bytes_min;
    size_t memory_bytes;
};

/* A count, then memory for so many elements, which must fit into the bytes left. NULL after a failure. */
static void *decode_array(struct reader *r, struct manifest *m, struct array_kind kind, uint32_t *ret_count)
{
    uint32_t count = reader_u32(r);
    if (r->failed || count > kind.count_max || count > (r->size_bytes - r->used) / kind.disk_bytes_min) {
        r->failed = true;
        return NULL;
    }
    *ret_count = count;
    return manifest_alloc(m, count, kind.memory_bytes);
}

static int refuse_array(const struct reader *r, struct weir_error *err)
{
    return r->failed ? refuse(r, "", err)
                     : error_set(err, WEIR_ENOMEM, "a manifest of %zu bytes: out of memory", r->size_bytes);
}

static bool decode_bool(struct reader *r)
{
    uint8_t value = reader_u8(r);
    if (value > 1)
        r->failed = true;
    return value == 1;
}

static void decode_reserved(struct reader *r)
{
    if (reader_u32(r) != 0)
        r->failed = true;
}

static int decode_operator(struct reader *r, struct manifest *m, struct manifest_operator *op, struct weir_error *err)
{
    reader_text(r, op->name, sizeof op->name);
    reader_text(r, op->type, sizeof op->type);
    op->kind = reader_u32(r);
    op->parallelism = reader_u32(r);
    op->key_bytes = reader_u32(r);
    op->keyed = decode_bool(r);
    decode_reserved(r);
    op->states =
        decode_array(r, m, (struct array_kind){WEIR_STATES_MAX, STATE_BYTES_MIN, sizeof *op->states}, &op->state_count);
    if (op->states == NULL)
        return refuse_array(r, err);
    for (uint32_t i = 0; i < op->state_count && !r->failed; i++) {
        struct manifest_state *state = &op->states[i];
        reader_text(r, state->name, sizeof state->name);
        state->kind = reader_u32(r);
        state->scope = reader_u32(r);
        state->size_bytes = reader_u32(r);
        state->version = reader_u32(r);
    }
    return r->failed ? refuse(r, "", err) : WEIR_OK;
}

static void decode_file(struct reader *r, struct snapshot_file *file)
{
    reader_text(r, file->name, sizeof file->name);
    file->size_bytes = reader_u64(r);
    file->checksum = reader_u64(r);
    file->block_bytes = reader_u32(r);
    file->attempt = reader_u32(r);
    file->block_count = reader_u64(r);
    file->checkpoint_id = reader_u64(r);
    file->generation = reader_u64(r);
}

static int decode_chain(struct reader *r, struct manifest *m, struct manifest_task *task, struct weir_error *err)
{
    struct array_kind index_kind = {m->operator_count, 4, sizeof *task->operators};
    task->operators = decode_array(r, m, index_kind, &task->operator_count);
    if (task->operators == NULL)
        return refuse_array(r, err);
    for (uint32_t i = 0; i < task->operator_count; i++)
        task->operators[i] = reader_u32(r);
    struct array_kind file_kind = {MANIFEST_FILES_MAX, FILE_BYTES_MIN, sizeof *task->files};
    task->files = decode_array(r, m, file_kind, &task->file_count);
    if (task->files == NULL)
        return refuse_array(r, err);
    for (uint32_t i = 0; i < task->file_count && !r->failed; i++)
        decode_file(r, &task->files[i]);
    return r->failed ? refuse(r, "", err) : WEIR_OK;
}

static int decode_connectors(struct reader *r, struct manifest *m, struct manifest_task *task, struct weir_error *err)
{
    struct array_kind position_kind = {task->operator_count, POSITION_BYTES_MIN, sizeof *task->positions};
    task->positions = decode_array(r, m, position_kind, &task->position_count);
    if (task->positions == NULL)
        return refuse_array(r, err);
    for (uint32_t i = 0; i < task->position_count && !r->failed; i++) {
        struct manifest_position *position = &task->positions[i];
        position->operator_index = reader_u32(r);
        position->size_bytes = (uint32_t)reader_blob(r, position->bytes, sizeof position->bytes);
    }
    struct array_kind committable_kind = {(uint64_t)task->operator_count * MANIFEST_COMMITTABLES_MAX,
                                          COMMITTABLE_BYTES_MIN, sizeof *task->committables};
    task->committables = decode_array(r, m, committable_kind, &task->committable_count);
    if (task->committables == NULL)
        return refuse_array(r, err);
    for (uint32_t i = 0; i < task->committable_count && !r->failed; i++) {
        struct manifest_committable *committable = &task->committables[i];
        committable->operator_index = reader_u32(r);
        committable->checkpoint_id = reader_u64(r);
        committable->size_bytes = (uint32_t)reader_blob(r, committable->bytes, sizeof committable->bytes);
    }
    return r->failed ? refuse(r, "", err) : WEIR_OK;
}

static int decode_task(struct reader *r, struct manifest *m, struct manifest_task *task, struct weir_error *err)
{
    reader_text(r, task->name, sizeof task->name);
    task->subtask = reader_u32(r);
    task->key_group_first = reader_u32(r);
    task->key_group_count = reader_u32(r);
    task->finished = decode_bool(r);
    task->records_in = reader_u64(r);
    task->records_out = reader_u64(r);
    task->watermark_ms = (int64_t)reader_u64(r);
    decode_reserved(r);
    int code = decode_chain(r, m, task, err);
    return code == WEIR_OK ? decode_connectors(r, m, task, err) : code;
}

static int decode_body(struct reader *r, struct manifest *m, struct weir_error *err)
{
    reader_text(r, m->job_name, sizeof m->job_name);
    const void *job_id = reader_take(r, sizeof m->job_id);
    if (job_id != NULL)
        memcpy(m->job_id, job_id, sizeof m->job_id);
    m->checkpoint_id = reader_u64(r);
    m->generation = reader_u64(r);
    m->created_ms = (int64_t)reader_u64(r);
    m->duration_ns = (int64_t)reader_u64(r);
    m->kind = reader_u32(r);
    m->guarantee = reader_u32(r);
    m->key_group_count = reader_u32(r);
    m->total_bytes = reader_u64(r);
    struct array_kind operator_kind = {MANIFEST_OPERATORS_MAX, OPERATOR_BYTES_MIN, sizeof *m->operators};
    m->operators = decode_array(r, m, operator_kind, &m->operator_count);
    int code = m->operators != NULL ? WEIR_OK : refuse_array(r, err);
    for (uint32_t i = 0; code == WEIR_OK && i < m->operator_count; i++)
        code = decode_operator(r, m, &m->operators[i], err);
    if (code != WEIR_OK)
        return code;
    struct array_kind task_kind = {MANIFEST_TASKS_MAX, TASK_BYTES_MIN, sizeof *m->tasks};
    m->tasks = decode_array(r, m, task_kind, &m->task_count);
    code = m->tasks != NULL ? WEIR_OK : refuse_array(r, err);
    for (uint32_t i = 0; code == WEIR_OK && i < m->task_count; i++)
        code = decode_task(r, m, &m->tasks[i], err);
    return code;
}

/* Every version has magic and version at the front and the checksum of all before it in the last 8 bytes. So one that this build does not
 * know is told from damage: it is newer where the checksum vouches for it (there is none before 1), and a changed byte where not. */
static int refuse_version(uint32_t version, bool vouched, struct weir_error *err)
{
    if (vouched && version > MANIFEST_VERSION)
        return error_set(err, WEIR_EVERSION, "byte 8: format version %" PRIu32 ", this program reads version %u: run the weir that wrote "
                         "it, or a newer one, or use another checkpoint directory", version, MANIFEST_VERSION);
    return error_set(err, WEIR_ECORRUPT, "byte 8: format version %" PRIu32 ", this program reads version %u%s", version,
                     MANIFEST_VERSION, vouched ? "" : ", and its checksum fails");
}

/* Magic, version, size, checksum, in this order: the words are the better, the earlier it is clear what the file is. */
static int decode_head(struct reader *r, struct weir_error *err)
{
    const void *magic = reader_take(r, FORMAT_MAGIC_BYTES);
    if (magic == NULL || memcmp(magic, MANIFEST_MAGIC, FORMAT_MAGIC_BYTES) != 0)
        return error_set(err, WEIR_ECORRUPT, "byte 0: does not begin with \"%s\"", MANIFEST_MAGIC);
    if (r->size_bytes < HEAD_BYTES + TRAILER_BYTES || r->size_bytes > MANIFEST_BYTES_MAX)
        return error_set(err, WEIR_ECORRUPT, "%zu bytes are no size of a manifest", r->size_bytes);
    uint32_t version = reader_u32(r);
    struct reader last = {.data = r->data + r->size_bytes - TRAILER_BYTES, .size_bytes = TRAILER_BYTES};
    uint64_t expected = reader_u64(&last);
    uint64_t found = bytes_checksum(r->data, r->size_bytes - TRAILER_BYTES);
    if (version != MANIFEST_VERSION)
        return refuse_version(version, expected == found, err);
    uint32_t reserved = reader_u32(r);
    uint64_t size_bytes = reader_u64(r);
    if (size_bytes != r->size_bytes)
        return error_set(err, WEIR_ECORRUPT, "byte 16: expected %" PRIu64 " bytes, found %zu", size_bytes,
                         r->size_bytes);
    if (expected != found)
        return error_set(err, WEIR_ECORRUPT, "byte %zu: fails its checksum: expected %016" PRIx64 ", found %016" PRIx64,
                         r->size_bytes - TRAILER_BYTES, expected, found);
    return reserved == 0 ? WEIR_OK : error_set(err, WEIR_ECORRUPT, "byte 12: a reserved field is not zero");
}

static int decode_all(struct reader *r, struct manifest *m, struct weir_error *err)
{
    int code = decode_head(r, err);
    if (code != WEIR_OK)
        return code;
    r->size_bytes -= TRAILER_BYTES;
    code = decode_body(r, m, err);
    if (code != WEIR_OK)
        return code;
    if (r->used != r->size_bytes)
        return refuse(r, "bytes follow the last field", err);
    if (m->total_bytes != sum_of_files(m))
        return error_set(err, WEIR_ECORRUPT, "the files add up to %" PRIu64 " bytes, expected %" PRIu64,
                         sum_of_files(m), m->total_bytes);
    return manifest_check(m, WEIR_ECORRUPT, err);
}

int manifest_decode(const void *bytes, size_t size_bytes, struct manifest **ret_manifest, struct weir_error *err)
{
    struct manifest *m = manifest_new();
    if (m == NULL)
        return error_set(err, WEIR_ENOMEM, "a manifest: out of memory");
    struct reader r = {.data = bytes, .size_bytes = size_bytes};
    int code = decode_all(&r, m, err);
    if (code != WEIR_OK) {
        manifest_free(m);
        return code;
    }
    *ret_manifest = m;
    return WEIR_OK;
}
