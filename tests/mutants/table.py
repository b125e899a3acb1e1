"""The seeded bugs. Each has a name, the place (file, old, new; or edits, a list of them),
why it matters, and the tests that must catch it,
the quickest first:

    test_ring:ring/a_full_*     a Criterion program, and which of its tests
    crash.sweep:t5:             a driver of tests/crash, and which of its cases (--only)
    tsan:test_ring_threads      a program of tests/unit, built with the thread sanitizer

survives: why no test can tell this one from the right code. It is tried all the same, and counted apart."""

RING_RANDOM = "test_ring:ring/random_damage*"
TAKEOVERS = "crash.takeovers:one by one --takeover=on --no-chain"


def bug(name, file, old, new, why, *tests, **more):
    return {"name": name, "file": file, "old": old, "new": new, "why": why, "tests": list(tests), **more}


def bug_of_edits(name, edits, why, *tests, **more):
    return {"name": name, "edits": edits, "why": why, "tests": list(tests), **more}


RING = [
    bug("ring.head_relaxed", "shm/ring.h",
        "atomic_store_explicit(&p->shared->head, p->head, memory_order_release);",
        "atomic_store_explicit(&p->shared->head, p->head, memory_order_relaxed);",
        "the reader may see the head before the payload", "tsan:test_ring_threads"),
    bug("ring.head_read_relaxed", "shm/ring.h",
        "c->head_cached = atomic_load_explicit(&c->shared->head, memory_order_acquire);",
        "c->head_cached = atomic_load_explicit(&c->shared->head, memory_order_relaxed);",
        "the reader may read a payload before it is whole", "tsan:test_ring_threads"),
    bug("ring.tail_relaxed", "shm/ring.h",
        "atomic_store_explicit(&c->shared->tail, c->tail, memory_order_release);",
        "atomic_store_explicit(&c->shared->tail, c->tail, memory_order_relaxed);",
        "the writer may overwrite what is still being read", "tsan:test_ring_threads"),
    bug("ring.head_before_header", "shm/ring.h",
        "    memcpy(p->data + (p->head & p->index_mask), &header, sizeof header);\n    KILL_POINT(r1);",
        "    atomic_store_explicit(&p->shared->head, p->head + ring_frame_bytes(size_bytes), memory_order_release);\n"
        "    memcpy(p->data + (p->head & p->index_mask), &header, sizeof header);\n    KILL_POINT(r1);",
        "a frame is visible before it is whole, and before its batch is committed", "test_ring:ring/what_is_pushed_*"),
    bug("ring.guard_not_checked", "shm/ring.h",
        "kind >= FRAME_KIND_COUNT ||\n                             (header >> 48) != ((c->tail >> 3) & 0xffff),",
        "kind >= FRAME_KIND_COUNT,",
        "a stale or damaged header is taken for a frame", "test_ring:ring/a_damaged_header_*"),
    bug("ring.length_not_checked", "shm/ring.h",
        "frame_bytes > c->head_cached - c->tail || kind", "kind",
        "a damaged length leads the reader beyond what is published", "test_ring:ring/a_damaged_header_*", RING_RANDOM),
    bug("ring.head_not_checked", "shm/ring.h",
        "if (__builtin_expect(c->head_cached - c->tail_released > c->capacity_bytes || (c->head_cached & 7) != 0, 0))",
        "if (__builtin_expect((c->head_cached & 7) != 0, 0))",
        "a head that lies makes old bytes look new", "test_ring:ring/a_head_that_*"),
    bug("ring.one_frame_too_many", "shm/ring.h",
        "return p->capacity_bytes - (p->head - p->tail_cached);", "return p->capacity_bytes + 8 - (p->head - p->tail_cached);",
        "the writer overwrites a frame that was not read", "test_ring:ring/a_full_ring_*"),
    bug("ring.no_fence_before_data_wanted", "shm/ring.h",
        "    atomic_thread_fence(memory_order_seq_cst); /* head before data_wanted; pairs with doorbell_prepare() */\n", "",
        "the writer overlooks a reader that goes to sleep", "test_lost_wakes:lost_wakes/a_reader_*"),
    bug("ring.no_fence_before_space_wanted", "shm/ring.h",
        "    atomic_thread_fence(memory_order_seq_cst); /* tail before space_wanted; pairs with doorbell_prepare() */\n", "",
        "the reader overlooks a writer that goes to sleep", "test_lost_wakes:lost_wakes/a_writer_*"),
    bug("ring.tail_not_checked", "shm/ring.c",
        "if (tail > p->head_published || p->head - tail > p->capacity_bytes) {", "if (p->head - tail > p->capacity_bytes) {",
        "a reader that lies makes the writer overrun", "test_ring:ring/a_tail_*"),
    bug("ring.poison_not_kept", "shm/ring.c",
        "    atomic_store_explicit(&shared->poisoned, 1, memory_order_relaxed);\n", "    (void)shared;\n",
        "the other side never learns of the damage", "test_ring:ring/a_*"),
    bug("ring.adopted_head_not_published", "shm/ring.c",
        "    p->head = head;\n    p->record_count = record_count;", "    p->head = head;\n    p->head_published = head;\n"
        "    p->record_count = record_count;",
        "a batch that was committed is never published by the taker", "test_batch:batch/what_the_dead_*"),
    bug("ring.poison_ignored", "engine/task.c",
        "            if (is_poisoned(task))\n", "            if (is_poisoned(task) && task->turns == 0)\n",
        "a task goes on beside a ring that its neighbour found damaged",
        "test_batch:batch/*",
        survives="nobody but the reader that found the damage, and fails at once, sees the mark: the job goes "
        "back either way. The other side's look at it only matters where the finder hangs"),
]

DOORBELL = [
    bug("doorbell.asleep_again", "shm/doorbell.c",
        "    struct timespec timeout = {timeout_ns / 1000000000, timeout_ns % 1000000000};\n",
        "    struct timespec timeout = {timeout_ns / 1000000000, timeout_ns % 1000000000};\n"
        "    atomic_store(&bell->state, DOORBELL_SLEEPING);\n",
        "a ring between the look and the sleep is lost", "test_doorbell:doorbell/a_ring_between_*"),
    bug("doorbell.flag_not_cleared", "shm/doorbell.c",
        "uint32_t was = atomic_exchange_explicit(&bell->state, DOORBELL_AWAKE, memory_order_seq_cst);",
        "uint32_t was = atomic_load_explicit(&bell->state, memory_order_seq_cst);",
        "the woken one goes to sleep again", "test_doorbell:doorbell/a_ring_between_*", "test_doorbell:doorbell/a_polling_*"),
    bug("doorbell.looks_before_it_prepares", "shm/doorbell.h",
        "    atomic_thread_fence(memory_order_seq_cst); /* pairs with the fence in doorbell_ring() */\n", "",
        "the store may come after the look: a wake-up is lost", "test_lost_wakes:lost_wakes/an_owner_*"),
    bug("doorbell.rings_before_it_is_true", "shm/doorbell.c",
        "    atomic_thread_fence(memory_order_seq_cst); /* pairs with the fence in doorbell_prepare() */\n", "",
        "the same from the other side", "test_lost_wakes:lost_wakes/an_owner_*"),
    bug("doorbell.reader_not_noted", "engine/batch.c",
        "    out->wake_due = true;\n", "    out->wake_due = false;\n",
        "a sleeping reader is not told of new records", "integration_test_wakes:wakes/a_record_*"),
]

UNDO = [
    bug("undo.count_before_entry", "state/undo.h",
        "    unsigned char *to = log->entries + used_bytes;\n    undo_copy(to, address, size_bytes);\n",
        "    unsigned char *to = log->entries + used_bytes;\n"
        "    atomic_store_explicit(&log->used_bytes, end, memory_order_relaxed);\n    "
        "atomic_signal_fence(memory_order_seq_cst);\n"
        "    undo_copy(to, address, size_bytes);\n",
        "a kill in between leaves an entry of old bytes that were never written", "test_undo_steps:undo_steps/*"),
    bug("undo.count_before_entries", "state/undo.h",
        "    unsigned char *to = log->entries + used_bytes;\n    for (size_t i = 0; i < count; i++) {\n",
        "    unsigned char *to = log->entries + used_bytes;\n"
        "    atomic_store_explicit(&log->used_bytes, end, memory_order_relaxed);\n    "
        "atomic_signal_fence(memory_order_seq_cst);\n"
        "    for (size_t i = 0; i < count; i++) {\n",
        "the same for entries that are noted together", "test_undo_steps:undo_steps/*"),
    bug("undo.batch_before_empty", "state/undo.c",
        "    atomic_store_explicit(&log->used_bytes, 0, memory_order_relaxed);\n    atomic_signal_fence(memory_order_seq_cst);\n"
        "    atomic_store_explicit(&log->batch, batch, memory_order_relaxed);\n",
        "    atomic_store_explicit(&log->batch, batch, memory_order_relaxed);\n    atomic_signal_fence(memory_order_seq_cst);\n"
        "    atomic_store_explicit(&log->used_bytes, 0, memory_order_relaxed);\n",
        "a kill in between undoes the batch that was committed", "test_undo_steps:undo_steps/*"),
    bug("undo.committed_batch_undone", "state/undo.c",
        "    if (batch <= committed_batch)\n        return WEIR_OK;\n    if (batch != committed_batch + 1 || used_bytes",
        "    if (batch < committed_batch)\n        return WEIR_OK;\n    if (used_bytes",
        "a kill right behind the commit takes a batch back that its readers have seen",
        "test_undo:undo/a_batch_that_is_committed_*",
        "crash.in_place:t5"),
    bug("undo.forward", "state/undo.c",
        "    for (uint64_t end = used_bytes; end > 0;) {\n        uint64_t offset, entry_bytes;\n"
        "        CHECK(entry_before(log, end, size_bytes, &end, &offset, &entry_bytes));\n",
        "    uint64_t ends[4096], count = 0;\n    for (uint64_t end = used_bytes; end > 0 && count < 4096;) {\n"
        "        uint64_t offset, entry_bytes;\n        ends[count++] = end;\n"
        "        CHECK(entry_before(log, end, size_bytes, &end, &offset, &entry_bytes));\n    }\n"
        "    while (count > 0) {\n        uint64_t offset, entry_bytes, end = ends[--count];\n"
        "        CHECK(entry_before(log, end, size_bytes, &end, &offset, &entry_bytes));\n",
        "what changed twice gets its value of in between", "test_undo:undo/bytes_of_any_size_*"),
    bug("undo.lost_batch_ignored", "state/undo.c",
        "    if (log->lost_batch == batch)\n", "    if (log->lost_batch == batch && used_bytes == UINT64_MAX)\n",
        "half a batch stays in the state", "test_undo:undo/a_batch_too_long_*"),
    bug("undo.entries_not_checked_first", "state/undo.c",
        "    int code = check_entries(log, used_bytes, size_bytes, err);\n",
        "    int code = used_bytes == UINT64_MAX ? check_entries(log, used_bytes, size_bytes, err) : WEIR_OK;\n",
        "a damaged log is half applied", "test_undo:undo/a_damaged_log_*"),
    bug("undo.not_applied", "state/chunk.c",
        "    int code = undo_apply(region->undo, header, header->file_bytes, committed, ret_undone_bytes, err);\n",
        "    int code = WEIR_OK;\n    *ret_undone_bytes = 0;\n    (void)committed;\n",
        "the batch in flight is done twice", "test_state_undo:state_undo/keys_of_8_bytes", TAKEOVERS),
    bug("undo.log_after_change", "state/chunk.h",
        "    unsigned char *bytes = (unsigned char *)chunk_write(region, state_pos_chunk(pos)) + state_pos_offset(pos);\n"
        "    state_before_change(region, bytes, size_bytes);\n    return bytes;",
        "    unsigned char *bytes = (unsigned char *)chunk_write(region, state_pos_chunk(pos)) + state_pos_offset(pos);\n"
        "    (void)size_bytes;\n    return bytes;",
        "bytes change that the log does not have", "test_state_undo:state_undo/keys_of_8_bytes"),
    bug("undo.table_entry_logged_after_the_switch", "state/chunk.c",
        "    state_before_change(region, &region->table[logical], sizeof region->table[logical]);\n"
        "    atomic_signal_fence(memory_order_release); /* a copy that is whole, before the switch: for whoever takes over */\n"
        "    region->table[logical] = physical | CHUNK_WRITTEN;\n",
        "    region->table[logical] = physical | CHUNK_WRITTEN;\n"
        "    state_before_change(region, &region->table[logical], sizeof region->table[logical]);\n",
        "the undone state refers to a chunk that is free again", "test_state_undo:state_undo/*"),
    bug("undo.pending_list_not_logged", "engine/barrier.c",
        "    state_before_change(&task->region, &list->count, sizeof list->count);\n    list->count++;\n", "    list->count++;\n",
        "what an undone batch had prepared is prepared twice", "crash.in_place:p2", "crash.sweep:p2:",
        survives="what is there twice is committed twice, and the second time changes nothing: only the length of the list "
        "tells"),
]

CHUNK = [
    bug("chunk.freed_within_its_batch", "state/chunk.c",
        "if (header->cuts[0].live == 0 && region->undo == NULL) /* with one",
        "if (header->cuts[0].live == 0) /* with one",
        "the bytes that an undo needs are overwritten", "test_chunk:chunk/what_a_batch_frees_*"),
    bug("chunk.frozen_freed_at_the_commit", "state/chunk.c",
        "    struct chunk_header *header = region->header;\n    if (header->cuts[0].live == 0)\n        "
        "header->marks.release_pos",
        "    struct chunk_header *header = region->header;\n    if (header->cuts[0].live <= 1)\n        "
        "header->marks.release_pos",
        "the snapshot child reads chunks that are written again", "test_state_undo:state_undo/*", "test_chunk:chunk/*"),
    bug("chunk.frozen_freed_by_the_undo", "state/chunk.c",
        "uint64_t free_end = cut != NULL ? u64_min(cut->retire_tail, marks->retire_tail) : marks->retire_tail;",
        "uint64_t free_end = cut != NULL ? u64_max(cut->retire_tail, marks->retire_tail) : marks->retire_tail;",
        "the same by whoever takes over", "test_state_undo:state_undo/*"),
    bug("chunk.frozen_freed_while_the_child_reads", "engine/barrier.c",
        "    if (SNAPSHOT_STATUS(word) == SNAPSHOT_RUNNING)\n        return;\n    chunk_cut_release",
        "    if (SNAPSHOT_STATUS(word) == SNAPSHOT_NONE)\n        return;\n    chunk_cut_release",
        "a checkpoint holds states of different moments", "crash.sweep:v5:"),
    bug("chunk.written_flag_not_cleared", "state/chunk.c",
        "live[i] = entry & ~CHUNK_WRITTEN;", "live[i] = entry;",
        "frozen chunks are changed in place", "test_chunk:chunk/a_cut_keeps_*"),
    bug("chunk.gathered_one_too_many", "state/chunk.c",
        "return logical >= atomic_load_explicit", "return logical > atomic_load_explicit",
        "a chunk that the child is about to read is changed in place", "test_chunk:chunk/what_the_reader_has_gathered_*",
        "test_state_model:state_model/keys_of_8_bytes"),
    bug("chunk.gathered_said_before_the_copy", "snapshot/snapshot_write.c",
        "w->source->gathered(w->source->self, (uint32_t)w->last_id + 1);",
        "w->source->gathered(w->source->self, (uint32_t)w->last_id + 2);",
        "a chunk that was not copied yet may change", "test_snapshot_write:snapshot_write/the_source_learns_*"),
    bug("chunk.half_a_cut_forgotten", "state/chunk.c",
        "    if (header->cutting != 0)\n        forget_half_a_cut(region);", "    header->cutting = 0;",
        "chunks that changed are taken for unchanged", "test_chunk:chunk/after_half_a_cut_*"),
    bug("chunk.marks_not_put_back", "state/chunk.c",
        "    header->marks = *marks;\n    /* What was retired", "    /* What was retired",
        "what the undone batch had taken is lost or used twice", "test_state_undo:state_undo/*"),
    bug("chunk.not_zeroed", "state/chunk.c",
        "    memset(chunk_physical(region, physical), 0, CHUNK_BYTES);\n", "",
        "a new chunk has the rows of a dead one", "test_chunk:chunk/allocated_chunks_*"),
]

TABLE = [
    bug("table.tag_trusted", "state/table.c",
        "            if (row_fits(wanted, (const unsigned char *)bucket + offset)) {\n", "            if (wanted->hash != 0) {\n",
        "keys whose tags are equal share a row", "test_table:table/rows_of_16_*"),
    bug("table.empty_slot_trusted", "state/table.c",
        "if (__builtin_expect(has_tag && row_fits", "if (__builtin_expect((has_tag || true) && row_fits",
        "the key of zeros is found where nothing is", "test_table:table/an_empty_slot_*", "test_table:table/what_looks_like_*"),
    bug("table.split_loses_the_last_row", "state/table_bucket.c",
        "place_rows(table, (uint32_t[2]){bucket, upper}, UINT32_C(1) << (31 - depth), rows, count);",
        "place_rows(table, (uint32_t[2]){bucket, upper}, UINT32_C(1) << (31 - depth), rows, count - 1);",
        "a key forgets its state", "test_table:table/rows_of_16_*"),
    bug("table.remove_leaves_a_hole", "state/table_bucket.c",
        "        if (from == table->slot_count)\n            break;",
        "        if (from <= table->slot_count)\n            break;",
        "keys behind the hole are not found", "test_table:table/rows_of_16_*"),
    bug("table.merge_without_its_depth", "state/table_bucket.c",
        "    merged->depth = (uint8_t)(merged->depth - 1);\n", "    merged->depth = (uint8_t)(merged->depth - 0);\n",
        "the next split of the merged bucket goes wrong", "test_table:table/buckets_are_half_full_*",
        "test_table:table/rows_of_16_*"),
]

COMMIT = [
    bug_of_edits("commit.switch_before_the_record", [
        ("engine/batch.c", "    code = fill_record(task, commit_slot(area, next));\n",
         "    atomic_store_explicit(&area->current, next, memory_order_release);\n"
         "    code = fill_record(task, commit_slot(area, next));\n")],
        "a kill in between leaves no whole record", "crash.in_place:t3"),
    bug("commit.published_before_the_switch", "engine/batch.c",
        "    KILL_POINT(t4);\n", "    publish(task);\n    KILL_POINT(t4);\n",
        "a kill in between: the neighbours have seen a batch that is undone", "crash.in_place:t4"),
    bug("commit.checksum_not_checked", "engine/batch.c",
        " ||\n        record->checksum != record_checksum(record))\n", ")\n",
        "a damaged record is believed", "test_batch:batch/a_damaged_*"),
    bug("commit.position_not_carried", "engine/batch.c",
        "    memcpy(task->position, at, record->position_bytes);\n", "",
        "the source goes on elsewhere", "test_batch:batch/everything_*"),
    bug("commit.barrier_due_not_carried", "engine/batch.c",
        "    task->barrier_due = record->barrier_due;\n", "",
        "a barrier that was taken is never forwarded", "test_batch:batch/everything_*", "crash.in_place:b3"),
    bug("commit.overflow_not_carried", "engine/batch.c",
        "    task->overflow.write_pos = record->overflow_write_pos;\n", "",
        "what waited for room is lost", "test_batch:batch/everything_*"),
    bug("commit.blocked_input_not_carried", "engine/batch.c",
        "        in->blocked = input.blocked != 0;\n", "        in->blocked = false;\n",
        "a taker reads on behind a barrier", "test_batch:batch/everything_*"),
    bug("commit.aligned_count_not_written", "engine/batch.c",
        "        .aligned_count = task->aligned_count,\n", "",
        "an alignment never ends, or too late", "test_batch:batch/everything_*"),
    bug("commit.cut_not_taken_over", "engine/batch.c",
        "    task->cut_live = chunk_cut_live(&task->region) != NULL;\n", "    task->cut_live = false;\n",
        "a taker never gives the cut of its forebear free", "test_batch:batch/*", "crash.in_place:b4"),
]

BARRIER = [
    bug("barrier.alignment_skipped", "engine/barrier.c",
        "in->blocked = task->job->options->guarantee == OPTION_EXACTLY_ONCE;", "in->blocked = false;",
        "records behind the barrier are in the cut: they are doubled when the job goes back", "crash.sweep:v5:"),
    bug("barrier.first_one_is_enough", "engine/barrier.c",
        "    if (task->aligned_count < task->in_count)\n        return WEIR_OK;",
        "    if (task->aligned_count == 0)\n        return WEIR_OK;",
        "records before the other barriers are not in the cut: they are lost", "crash.sweep:v5:"),
    bug_of_edits("barrier.forwarded_before_the_cut", [
        ("engine/barrier.c", "    else\n        start_snapshot(task, checkpoint_id);\n    KILL_POINT(b4);\n",
        "    KILL_POINT(b4);\n"),
        ("engine/barrier.c", "    if (code >= 0)\n        code = batch_commit(task);\n    KILL_POINT(b5);\n",
         "    if (code >= 0)\n        code = batch_commit(task);\n    start_snapshot(task, checkpoint_id);\n    "
         "KILL_POINT(b5);\n"),
        ("engine/barrier.c", "    if (!task->barrier_snapshot || given_up) /* its", "    if (given_up) /* its")],
        "whoever takes over has nothing that says that the cut is due", "crash.in_place:b3"),
    bug_of_edits("barrier.cut_record_after_the_fork", [
        ("engine/barrier.c", "        write_cut_record(task, checkpoint_id);\n        attempt", "        attempt"),
        ("engine/barrier.c", "    fork_snapshot(task, checkpoint_id, attempt);\n}",
         "    fork_snapshot(task, checkpoint_id, attempt);\n    if (SNAPSHOT_ID(word) != checkpoint_id)\n"
         "        write_cut_record(task, checkpoint_id);\n}")],
        "the manifest has the positions of an older checkpoint", "crash.in_place:b3", "crash.sweep:v5:"),
    bug("barrier.cut_of_an_aborted_checkpoint", "engine/barrier.c",
        "    if (is_given_up(task, checkpoint_id)) {\n        snapshot_failed",
        "    if (checkpoint_id == 0) {\n        snapshot_failed",
        "a cut is held, and a file is written, that nobody waits for",
        "crash.sweep:b2:",
        survives="a race with the coordinator's timeout, which costs time and no record: the coordinator waits for "
        "the child, or kills it, before it begins the next checkpoint"),
    bug("barrier.state_not_in_the_cut", "engine/barrier.c",
        "    cut->position_bytes = (uint32_t)task->position_bytes;\n", "    cut->position_bytes = 0;\n",
        "the source begins anew when the job goes back", "crash.sweep:v5:"),
]

SNAPSHOT = [
    bug("snapshot.fdatasync_dropped", "snapshot/snapshot_write.c",
        "int result = w->io->fdatasync(w->io->self, w->fd);", "int result = 0;",
        "a power cut takes the bytes of a complete checkpoint", "test_snapshot_write:snapshot_write/data_is_synced_*"),
    bug("snapshot.directory_not_synced", "snapshot/snapshot_write.c",
        "    result = w->io->fsync(w->io->self, w->dir->snapshots_fd);\n", "",
        "a power cut takes the file of a complete checkpoint", "test_snapshot_write:snapshot_write/data_is_synced_*"),
    bug("snapshot.sync_repeated", "snapshot/snapshot_write.c",
        "    if (result < 0)\n        return error_set_errno(err, -result, \"%s: fdatasync\", w->name);\n",
        "    if (result < 0)\n        result = w->io->fdatasync(w->io->self, w->fd);\n"
        "    if (result < 0)\n        return error_set_errno(err, -result, \"%s: fdatasync\", w->name);\n",
        "the second sync succeeds with the bytes lost", "test_snapshot_write:snapshot_write/a_failed_sync_*"),
    bug("snapshot.name_used_again", "snapshot/snapshot_write.c",
        "w->name, O_RDWR | O_CREAT | O_EXCL, 0600);", "w->name, O_RDWR | O_CREAT | O_TRUNC, 0600);",
        "writes of a dead process land in the new file", "test_snapshot_write:snapshot_write/a_name_*"),
    bug("snapshot.short_completion_ignored", "snapshot/block_io.c",
        "    if (slot->done_bytes < slot->size_bytes)\n        return slot_again(queue, slot);\n", "",
        "a hole in the file", "test_snapshot_write:snapshot_write/short_and_interrupted_*"),
    bug("snapshot.failed_completion_ignored", "snapshot/block_io.c",
        "    if (result < 0)\n        return slot_failed_request(queue, slot, (int)-result);\n",
        "    if (result < 0)\n        result = (ssize_t)(slot->size_bytes - slot->done_bytes);\n",
        "the same after an error", "test_block_io:block_io/the_first_failure_*"),
    bug("snapshot.checksum_not_bound_to_the_checkpoint", "snapshot/file_format.c",
        "    writer_u64(&w, identity->name.checkpoint_id);\n    writer_put(&w, identity->name.task",
        "    writer_u64(&w, 0);\n    writer_put(&w, identity->name.task",
        "a block of another checkpoint passes for one of this", "test_snapshot_read:snapshot_read/swapped_blocks_*"),
    bug("snapshot.checksum_not_bound_to_the_place", "snapshot/file_format.c",
        "return bytes_checksum(block, block_bytes) ^ mix(binding + block_id);",
        "return bytes_checksum(block, block_bytes) ^ mix(binding + (block_id & 0));",
        "two blocks that changed places pass where their checksums did as well",
        "test_snapshot_write:snapshot_write/the_bytes_of_format_*"),
    bug("snapshot.checksum_of_a_block_not_obeyed", "snapshot/snapshot_read.c",
        "    if (found != entry.checksum)\n", "    if (found != entry.checksum && r->name[0] == 0)\n",
        "damaged state is loaded", "test_snapshot_read:snapshot_read/a_flip_*"),
    bug("snapshot.acknowledged_before_it_is_written", "engine/snapshot_child.c",
        "    int code = task->has_state ? write_state(task, checkpoint_id, &err) : WEIR_OK;\n",
        "    acknowledge(task, checkpoint_id, WEIR_OK, &err);\n"
        "    int code = task->has_state ? write_state(task, checkpoint_id, &err) : WEIR_OK;\n",
        "a checkpoint is complete whose file is not there", "crash.sweep:h3:", "crash.sweep:v5:"),
    bug("snapshot.output_not_persisted", "engine/snapshot_child.c",
        "    if (code == WEIR_OK)\n        code = persist_sinks(task, &err);\n", "    (void)persist_sinks;\n",
        "a power cut takes output that was committed", "crash.in_place:nothing is complete"),
]

MANIFEST = [
    bug_of_edits("manifest.renamed_before_its_fsync", [
        ("snapshot/manifest_file.c", "    int synced = io->fsync(io->self, fd); /* once: see snapshot_write() */\n",
         "    int early = io->rename_new(io->self, w->dir->fd, w->temp_name, w->name);\n    (void)early;\n"
         "    int synced = io->fsync(io->self, fd);\n"),
        ("snapshot/manifest_file.c", "int result = io->rename_new(io->self, w->dir->fd, w->temp_name, w->name);",
        "int result = 0;")],
        "a power cut leaves an empty manifest under the final name",
        "test_manifest_file:manifest_file/the_file_is_synced_before_*"),
    bug("manifest.fsync_dropped", "snapshot/manifest_file.c",
        "    int synced = io->fsync(io->self, fd); /* once: see snapshot_write() */\n", "    int synced = 0;\n",
        "the same", "test_manifest_file:manifest_file/the_file_is_synced_before_*"),
    bug("manifest.directory_fsync_dropped", "snapshot/manifest_file.c",
        "    result = io->fsync(io->self, w->dir->fd);\n", "",
        "a power cut undoes a checkpoint whose output is visible", "test_manifest_file:manifest_file/the_file_is_synced_before_*",
        "test_manifest_file:manifest_file/a_power_cut_*"),
    bug("manifest.temporary_name_used_again", "snapshot/manifest_file.c",
        "w->temp_name, O_WRONLY | O_CREAT | O_EXCL, 0600);", "w->temp_name, O_WRONLY | O_CREAT, 0600);",
        "the rest of a longer manifest of a dead process stays behind this one",
        "test_manifest_file:manifest_file/a_temporary_file_*"),
    bug("manifest.checksum_not_checked", "snapshot/manifest_codec.c",
        "uint64_t found = bytes_checksum(r->data, r->size_bytes - TRAILER_BYTES);",
        "uint64_t found = 0;\n    memcpy(&found, r->data + r->size_bytes - TRAILER_BYTES, sizeof found);",
        "a damaged manifest is believed", "test_manifest_codec:manifest_codec/a_flip_*"),
    bug("manifest.size_of_a_file_not_compared", "snapshot/checkpoint.c",
        "if (info.st_size < 0 || (uint64_t)info.st_size != file->size_bytes)", "if (info.st_size < 0)",
        "a checkpoint with a truncated file counts as complete", "test_checkpoint:checkpoint/*"),
]

CHECKPOINT = [
    bug("checkpoint.not_the_newest", "snapshot/checkpoint.c",
        "    return (id_a > id_b) - (id_a < id_b);", "    return (id_a < id_b) - (id_a > id_b);",
        "the job goes back to the oldest one", "test_checkpoint:checkpoint/the_newest_*"),
    bug("checkpoint.incomplete_one_is_taken", "snapshot/checkpoint.c",
        "    if (code == WEIR_OK)\n        code = checkpoint_check_files(dir, m, err);\n    if (code != WEIR_OK) {",
        "    if (code != WEIR_OK) {",
        "one whose file is missing is chosen", "test_checkpoint:checkpoint/the_newest_complete_*"),
    bug("checkpoint.relied_on_before_it_is_synced", "snapshot/checkpoint.c",
        "int result = dir->io->fsync(dir->io->self, dir->fd);\n    if (result < 0) {\n        manifest_free(m);",
        "int result = 0;\n    if (result < 0) {\n        manifest_free(m);",
        "the next power cut takes the checkpoint that was gone back to", "test_checkpoint:checkpoint/the_directory_is_synced_*"),
    bug("checkpoint.falls_back_without_need", "snapshot/checkpoint.c",
        "        if (!is_damage(code))\n", "        if (!is_damage(code) && i == 0)\n",
        "a lack of descriptors takes visible output back", "test_checkpoint:checkpoint/a_process_without_descriptors_*"),
    bug("checkpoint.last_complete_one_deleted", "snapshot/retention.c",
        "if (!savepoint && *kept < keep_count && checkpoint_check_files(r->dir, m, NULL) == WEIR_OK)",
        "if (!savepoint && *kept < keep_count)",
        "nothing is left to go back to", "test_retention:retention/the_last_usable_*"),
    bug("checkpoint.files_deleted_before_the_sync", "snapshot/retention.c",
        "    int result = r->dir->io->fsync(r->dir->io->self, r->dir->fd);\n", "    int result = 0;\n",
        "a power cut brings a manifest back without its files", "test_retention:retention/without_the_directory_synced_*"),
    bug("checkpoint.files_in_doubt_deleted", "snapshot/retention.c",
        "    if (r->in_doubt && parsed.checkpoint_id <= r->doubt_id) {", "    if (r->in_doubt && parsed.checkpoint_id == 0) {",
        "what an unreadable manifest refers to is gone", "test_retention:retention/an_unreadable_manifest_*"),
    bug("checkpoint.told_before_it_is_durable", "engine/coordinator_checkpoint.c",
        "    if (write_manifest(c, &bytes, &err) != WEIR_OK) {\n",
        "    atomic_store_explicit(&c->shared->checkpoint_committed, c->state->checkpoint_id, memory_order_release);\n"
        "    job_ring_all_tasks(c->job);\n    if (write_manifest(c, &bytes, &err) != WEIR_OK) {\n",
        "output is visible of a checkpoint that does not exist", "crash.in_place:nothing is told"),
    bug("checkpoint.one_acknowledgement_is_enough", "engine/coordinator_checkpoint.c",
        "    if (done < c->job->plan->task_count)\n        return false;\n", "    if (done == 0)\n        return false;\n",
        "a checkpoint lacks the state of some tasks", "integration_test_checkpoints:checkpoints/every_task_*", "crash.sweep:v5:"),
    bug("checkpoint.stale_acknowledgement_taken", "engine/coordinator_checkpoint.c",
        "        if (SNAPSHOT_ID(word) != c->state->checkpoint_id)\n            continue;\n", "",
        "the state of another checkpoint is put into this one", "crash.in_place:t3", "crash.sweep:v5:"),
]

COORDINATOR = [
    bug("coordinator.two_on_one_directory", "engine/setup.c",
        "    while (flock(job->lock_fd, LOCK_EX | LOCK_NB) != 0) {\n", "    while (flock(job->lock_fd, LOCK_SH | LOCK_NB) != 0) {\n",
        "two coordinators commit", "integration_test_resume:resume/a_second_instance_*"),
    bug("coordinator.own_manifest_not_found", "engine/coordinator_checkpoint.c",
        "    if (c->state->manifest_attempt > 0) {\n", "    if (c->state->manifest_attempt > UINT32_MAX / 2) {\n",
        "a successor gives a checkpoint up that exists", "crash.in_place:k6"),
    bug("coordinator.manifest_of_another_is_ours", "engine/coordinator_checkpoint.c",
        "bool ours = m->checkpoint_id == c->state->checkpoint_id;", "bool ours = m->checkpoint_id != 0;",
        "a successor takes the manifest before for this one's", "crash.in_place:k3"),
    bug("coordinator.snapshot_of_a_dead_child_counts", "engine/launcher.c",
        "    if (atomic_compare_exchange_strong(&slot->word, &word, SNAPSHOT_WORD(SNAPSHOT_ID(word), SNAPSHOT_FAILED)))\n",
        "    if (atomic_compare_exchange_strong(&slot->word, &word, SNAPSHOT_WORD(SNAPSHOT_ID(word), SNAPSHOT_DONE)))\n",
        "a checkpoint is complete whose file is not", "integration_test_checkpoints:checkpoints/a_snapshot_child_*"),
    bug("coordinator.restores_before_all_have_verified", "engine/restore.c",
        "        if (atomic_load_explicit(&job->shared->tasks[i].restored, memory_order_acquire) == 0)\n            return "
        "false;\n",
        "        if (atomic_load_explicit(&job->shared->tasks[i].restored, memory_order_acquire) > 1)\n            return "
        "false;\n",
        "sinks show output of a checkpoint that proves damaged", "crash.damaged:"),
]

SINKS = [
    bug("sink.commit_shows_twice", "connectors/stdout/stdout_sink.c",
        "    if (result == WEIR_OK && unlinkat(s->directory_fd, staged, 0) != 0)\n", "    if (result != WEIR_OK && errno != 0)\n",
        "a repeated commit prints the rows again", "test_stdout_sink:stdout_sink/rows_are_printed_*",
        "test_stdout_sink:stdout_sink/printing_goes_on_*"),
    bug("sink.progress_forgotten", "connectors/stdout/stdout_sink.c",
        "    if (io_pread_all(progress_fd, &printed, sizeof(printed), 0) != (ssize_t)sizeof(printed))\n        printed = 0;\n",
        "",
        "what a dead process printed is printed again", "test_stdout_sink:stdout_sink/printing_goes_on_*"),
    bug("sink.abort_keeps_staged_files", "connectors/io/staging.c",
        "if (is_own_staged(s, name) && unlinkat(s->directory_fd, name, 0) != 0 && errno != ENOENT)",
        "if (is_own_staged(s, name) && faccessat(s->directory_fd, name, F_OK, 0) != 0 && errno != ENOENT)",
        "what came after the checkpoint stays, for ever", "test_file_sink:file_sink/a_restart_throws_away_*"),
    bug("sink.takeover_without_truncation", "connectors/io/staging.c",
        "if (ftruncate(s->fd, (off_t)file_bytes) != 0 || lseek", "if (lseek",
        "what the undone batch wrote stays behind", "test_file_sink:file_sink/what_the_last_batch_*"),
    bug("sink.takeover_appends", "connectors/io/staging.c",
        " || lseek(s->fd, (off_t)file_bytes, SEEK_SET) < 0)", ")",
        "a taker writes over the beginning", "test_file_sink:file_sink/what_the_last_batch_*"),
    bug("sink.takeover_keeps_later_parts", "connectors/io/staging.c",
        "    int result = remove_later_parts(ctx, s);\n", "    int result = WEIR_OK;\n    (void)remove_later_parts;\n",
        "a part of the undone batch is found in the way", "test_file_sink:file_sink/parts_begun_*"),
    bug("sink.prepare_forgets_the_buffer", "connectors/io/staging.c",
        "    int result = hand_over_buffer(ctx, s);\n    return result == WEIR_OK ? pin(ctx, s) : result;",
        "    s->used = 0;\n    return pin(ctx, s);",
        "the last rows of a part are lost", "test_file_sink:file_sink/parts_roll_*"),
    bug("sink.commit_before_the_checkpoint", "engine/barrier.c",
        "        code = prepare_sinks(task, checkpoint_id);\n    if (code >= 0)\n        code = batch_commit(task);\n"
        "    if (code >= 0)\n        code = barrier_finish(task);\n",
        "        code = prepare_sinks(task, checkpoint_id);\n    if (code >= 0 && task->has_sink)\n"
        "        code = sinks_commit(task, checkpoint_id);\n    if (code >= 0)\n        code = batch_commit(task);\n"
        "    if (code >= 0)\n        code = barrier_finish(task);\n",
        "output is visible that the job may go back behind", "crash.sweep:v5:"),
    bug("sink.pending_of_a_failed_checkpoint_forgotten", "connectors/io/staging.c",
        ".first = s->first_uncommitted,", ".first = s->next_number - 1,",
        "rows of an epoch whose checkpoint failed are never shown", "test_file_sink:file_sink/what_a_failed_checkpoint_*"),
    bug("sink.foreign_file_replaced", "connectors/file/file_sink.c",
        "if (renameat2(directory_fd, from, directory_fd, to, RENAME_NOREPLACE) == 0)",
        "if (renameat2(directory_fd, from, directory_fd, to, 0) == 0)",
        "a finished file of somebody else is gone", "test_file_sink:file_sink/a_foreign_file_*"),
    bug("sink.restore_commits_nothing", "engine/operator.c",
        "        if (committable->operator_index != ctx->node_index)\n            continue;\n",
        "        if (committable->operator_index != ctx->node_index || restored != NULL)\n            continue;\n",
        "what was prepared for the restored checkpoint is thrown away", "crash.in_place:what is durable"),
    bug("sink.sync_dropped", "connectors/io/staging.c",
        "    int result = fdatasync(fd);\n    int saved = errno;\n", "    int result = 0;\n    int saved = errno;\n",
        "a power cut takes output that was committed", "test_sink_syncs:sink_syncs/*"),
    bug("sink.directory_not_synced_before_the_commit", "connectors/io/staging.c",
        "    if (result == WEIR_OK && fsync(s->directory_fd) != 0)\n", "    if (result == WEIR_OK && s->directory_fd < 0)\n",
        "a power cut takes the names of files that a checkpoint relies on", "test_sink_syncs:sink_syncs/*"),
    bug("sink.directory_not_synced_after_the_commit", "connectors/file/file_sink.c",
        "    if (result == WEIR_OK && fsync(self->staging.directory_fd) != 0)\n",
        "    if (result == WEIR_OK && self->staging.directory_fd < 0)\n",
        "a power cut takes output back that was told to be committed", "test_sink_syncs:sink_syncs/*"),
]

SOURCES = [
    bug("source.position_of_what_was_read", "connectors/file/file_source.c",
        "        p.offset = file_reader_offset(&self->reader);\n",
        "        p.offset = self->reader.buffer_offset + self->reader.used;\n",
        "records that were read and not emitted are lost", "test_file_source:file_source/a_restore_at_any_position_*"),
    bug("source.position_of_the_beginning", "connectors/file/file_source.c",
        "    if (self->reader.fd >= 0)\n        p.offset",
        "    if (self->reader.fd >= 0 && self->options.follow)\n        p.offset",
        "records are read again", "test_file_source:file_source/a_restore_at_any_position_*"),
    bug("source.journal_position_of_what_was_read", "connectors/line/line_source.c",
        "self->options.journal ? self->buffer_stream + self->cursor", "self->options.journal ? self->buffer_stream + self->used",
        "lines that were read and not emitted are lost", "test_line_source:line_source/a_restart_at_any_moment_*"),
    bug("source.one_too_late", "connectors/pace.c",
        "struct pace_position here = {.next = pace->next, .step = pace->step};",
        "struct pace_position here = {.next = pace->next + pace->step, .step = pace->step};",
        "a number is skipped after a restore", "test_pace:pace/it_goes_on_*", TAKEOVERS),
    bug("source.one_too_early", "connectors/pace.c",
        "struct pace_position here = {.next = pace->next, .step = pace->step};",
        "struct pace_position here = {.next = pace->next >= pace->step ? pace->next - pace->step : pace->next, .step = "
        "pace->step};",
        "a number comes twice after a restore", "test_pace:pace/it_goes_on_*", TAKEOVERS),
    bug("source.position_not_noted", "engine/input.c",
        "int code = task->batch_open || result == WEIR_END ? source_note_position(task) : WEIR_OK;",
        "int code = result == WEIR_END ? source_note_position(task) : WEIR_OK;",
        "a taker begins at an old position", TAKEOVERS),
    bug("source.list_of_files_made_anew", "connectors/file/file_source.c",
        "    int result = file_list_load(ctx, STATE_FILES, &self->list);\n", "    int result = choose_files(ctx, self);\n",
        "files that came later are read by one instance and not by the other",
        "test_file_source:file_source/a_restore_reads_*"),
]

TAKEOVER = [
    bug_of_edits("takeover.own_fault_taken_over", [
        ("engine/takeover.c", "!takeover_signal_is_own_fault(WTERMSIG(task->exit_status)) && task->hung == 0", "task->hung == 0"),
        ("engine/takeover.c", "atomic_load(&shared->fault_signal) != 0 || ", ""),
        ("engine/launcher.c",
        "    if (WIFSIGNALED(status) && !takeover_signal_is_own_fault(WTERMSIG(status)))\n        takeover_log",
         "    if (WIFSIGNALED(status))\n        takeover_log")],
        "memory of a process that ran wild is believed", "crash.poison:once"),
    bug_of_edits("takeover.hung_task_taken_over", [
        ("engine/takeover.c", " && task->hung == 0 &&\n           task->fell_back", " &&\n           task->fell_back"),
        ("engine/takeover.c", "shared->hung != 0 || ", "")],
        "what hung the task hangs the taker", "crash.poison:once"),
    bug("takeover.for_ever", "engine/takeover.c",
        "    if (attempts < TAKEOVERS_MAX)\n", "    if (attempts < TAKEOVERS_MAX * 1000)\n",
        "a taker that dies each time is forked for ever", "crash.takeovers:too often"),
    bug_of_edits("takeover.sink_without_resume", [
        ("engine/takeover.c", "if (node->kind == NODE_SINK && node->sink->resume == NULL)",
         "if (node->kind == NODE_SINK && node->sink == NULL)"),
        ("engine/operator.c", "    return ctx->node->sink->resume(ctx, position, size_bytes);",
         "    return ctx->node->sink->resume == NULL ? WEIR_OK : ctx->node->sink->resume(ctx, position, size_bytes);")],
        "a sink goes on that cannot", "integration_test_recovery:recovery/a_sink_without_resume_*"),
    bug_of_edits("takeover.claim_without_compare_and_swap", [
        ("engine/takeover.c", "if (!atomic_compare_exchange_strong(&shared->owner, &owner, next_owner(owner, getpid()))) {",
         "if (atomic_exchange(&shared->owner, next_owner(owner, getpid())) == UINT64_MAX) {"),
        ("engine/takeover.c",
         "!atomic_compare_exchange_strong(&shared->owner, &owner, wanted ? next_owner(owner, 0) : owner | OWNER_NOBODY);",
         "atomic_exchange(&shared->owner, wanted ? next_owner(owner, 0) : owner | OWNER_NOBODY) == UINT64_MAX;")],
        "the standby and the launcher take over the same task", TAKEOVERS,
        survives="both look at the owner first: what is left is a window of a few instructions of two processes, which a run "
        "hardly ever hits; it takes a simulator that chooses the order"),
    bug("takeover.not_published_again", "engine/takeover_task.c",
        "    batch_publish_again(task);\n", "",
        "what was committed is published only with the next batch, and with the last one never",
        "integration_test_wakes:wakes/what_a_dead_writer_*"),
    bug("takeover.noted_snapshot_left", "engine/barrier.c",
        " && !snapshot_is_begun(task, checkpoint_id);", " && (snapshot_is_begun(task, checkpoint_id) || true);",
        "the coordinator waits for ever for a child that nobody forked", "crash.takeovers:given up"),
    bug("takeover.barrier_not_finished", "engine/takeover_task.c",
        "int code = task->barrier_due != 0 ? barrier_finish(task) : WEIR_OK;", "int code = WEIR_OK;",
        "a barrier that was taken is never forwarded", "crash.in_place:b3"),
    bug_of_edits("takeover.wake_owed_to_a_neighbour", [
        ("engine/batch.c",
        "    for (unsigned i = 0; i < task->out_count; i++) /* published before, perhaps, by one that died before it rang */\n"
         "        job_ring_task(task->job, task->outs[i].to_task);\n"
         "    for (unsigned i = 0; i < task->in_count; i++)\n        job_ring_task(task->job, task->ins[i].from_task);\n", ""),
        ("engine/launcher.c", "            takeover_log_death(job, i, pid, status);\n            job_ring_all_tasks(job);\n",
         "            takeover_log_death(job, i, pid, status);\n"),
        ("engine/launcher.c", "        takeover_distrust(job, i, status);\n    job_ring_all_tasks(job);\n",
         "        takeover_distrust(job, i, status);\n")],
        "a neighbour sleeps on beside what was published for it", "crash.sweep:r4:", "crash.sweep:c3:",
        survives="every sleep is bounded by half a second, so it costs time and no record; no test asserts a time"),
]

MUTANTS = [*RING, *DOORBELL, *UNDO, *CHUNK, *TABLE, *COMMIT, *BARRIER, *SNAPSHOT, *MANIFEST, *CHECKPOINT, *COORDINATOR, *SINKS,
           *SOURCES, *TAKEOVER]
