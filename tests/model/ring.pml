/*
 * ring.pml - a model of the ring (shm/ring.h) with its two doorbells (shm/doorbell.c), for Spin: FAULTS F26, F1.
 *
 * One producer, one consumer, a ring of CAPACITY frames, RECORDS records. The producer publishes in batches of one or more, the
 * consumer releases likewise; each parks when it has nothing to do, as engine/task.c does: wish, prepare, fence, look again,
 * sleep. Either may be killed before any step, DEATHS times in all; a successor attaches at the published positions. In one
 * half of the model the launcher rings every doorbell after a death, at any later time, and no sleep has an end of its own: so
 * the bounded wait is not needed. In the other half it does not ring, and a sleep may end by itself, but only when nothing else
 * can happen in the whole system, and only after a death: so the bounded wait is enough.
 *
 * Proved, for these sizes: no frame is read that is not the next one (none lost, doubled, torn or overwritten), positions never
 * contradict themselves, and all records arrive: nobody sleeps for ever (a state without successor is an error).
 *
 * Memory: each process has a buffer of stores, first in, first out (x86-TSO: P. Sewell et al., CACM 53(7), 2010); a fence waits
 * until it is empty, and so does an atomic exchange. With PSO defined, relaxed stores (wishes, doorbell states) have a buffer
 * of their own and leave it before or after the others. A killed process's buffers still drain, before its successor starts.
 *
 * Not modelled: loads that are executed early or late (as on ARM; x86 does not), compilers, frames of several sizes and the
 * wrap of their bytes, the kinds of frames, doorbells polled by an eventfd, several rings at one doorbell, and hostile bytes:
 * the unit tests have these.
 *
 * RING_MUTATION=n in the environment of the verifier breaks one rule; each must be found (run.sh).
 */
#ifndef CAPACITY
#define CAPACITY 2
#endif
#ifndef RECORDS
#define RECORDS 4
#endif
#ifndef DEATHS
#define DEATHS 1
#endif

c_decl {
\#include <stdlib.h>
}

#define PRODUCER 0
#define CONSUMER 1

#define AWAKE 0
#define SLEEPING 1

/* Shared memory, and the word that each cell stands for. */
#define HEAD 0
#define TAIL 1
#define DATA_WANTED 2
#define SPACE_WANTED 3
#define BELL 4 /* + PRODUCER, + CONSUMER */
#define SLOT 6 /* + position % CAPACITY */
byte memory[6 + CAPACITY];

chan stores[2] = [3] of { byte, byte };
#ifdef PSO
chan relaxed[2] = [2] of { byte, byte };
#define RELAXED_EMPTY(who) (len(relaxed[who]) == 0)
#else
#define RELAXED_EMPTY(who) true
#endif

bool in_futex[2]; /* asleep in the kernel */
bool killed[2];
bool ended[2];
byte deaths;
bool rings_due;
byte released_all; /* by all consumers so far: what has been done with a record counts from then on */
bool launcher_rings;
byte mutation;

/* The rules that a mutation breaks. */
#define FLAG_BEFORE_HEAD 1      /* the producer looks whether it is wanted, then stores the head */
#define NO_FENCE_IN_PUBLISH 2
#define NO_FENCE_IN_PREPARE 3   /* the sleeper's */
#define NO_SECOND_LOOK 4        /* the sleeper sleeps without looking again */
#define HEAD_BEFORE_PAYLOAD 5
#define TAIL_BEFORE_READ 6      /* a frame is released, then read */
#define ATTACH_AT_HEAD 7        /* a consumer's successor skips what was not released */
#define FLAG_BEFORE_TAIL 8
#define NO_FENCE_IN_RELEASE 9
/* As it was once: the ringer clears the wish, may find the sleeper not yet asleep, and that one then sleeps without a wish. */
#define RINGER_CLEARS_DATA_WANTED 10
#define RINGER_CLEARS_SPACE_WANTED 11
/* As it was once: the launcher believes a doorbell that says awake, although the dead ringer may not have come to its futex call. */
#define DEAD_RINGER_BELIEVED 12

#define FENCE(who) (len(stores[who]) == 0 && RELAXED_EMPTY(who))
#define STORE_PLAIN(who, cell, value) stores[who]!cell,value

/* After all earlier stores of this process. */
inline STORE_RELEASE(who, cell, value)
{
#ifdef PSO
    RELAXED_EMPTY(who);
#endif
    stores[who]!cell,value
}

inline STORE_RELAXED(who, cell, value)
{
#ifdef PSO
    relaxed[who]!cell,value
#else
    stores[who]!cell,value
#endif
}

inline EXCHANGE(who, cell, value, ret_old)
{
    atomic { FENCE(who) -> ret_old = memory[cell]; memory[cell] = value }
}

/* doorbell_ring() */
inline bell_ring(who, other)
{
    FENCE(who);
    if
    :: memory[BELL + other] == AWAKE
    :: else ->
        EXCHANGE(who, BELL + other, AWAKE, old);
        if
        :: old == SLEEPING -> in_futex[other] = false
        :: else
        fi
    fi
}

/* doorbell_prepare() */
inline bell_prepare(who)
{
    STORE_RELAXED(who, BELL + who, SLEEPING);
    if
    :: mutation == NO_FENCE_IN_PREPARE
    :: else -> FENCE(who)
    fi
}

/* doorbell_wait(). The kernel compares and queues in one step, with its own fence. */
inline bell_wait(who)
{
    do
    :: memory[BELL + who] != SLEEPING && FENCE(who) -> break
    :: else ->
        atomic { FENCE(who) -> in_futex[who] = (memory[BELL + who] == SLEEPING) };
        if
        :: !in_futex[who]
        :: timeout && !launcher_rings && deaths > 0 -> in_futex[who] = false; break
        fi
    od;
    EXCHANGE(who, BELL + who, AWAKE, old)
}

inline wake_consumer()
{
    old = memory[DATA_WANTED];
    if
    :: old != 0 && mutation == RINGER_CLEARS_DATA_WANTED -> EXCHANGE(PRODUCER, DATA_WANTED, 0, old)
    :: else
    fi;
    if
    :: old != 0 -> bell_ring(PRODUCER, CONSUMER)
    :: else
    fi
}

/* ring_publish(), and ringing */
inline publish()
{
    if
    :: head == published
    :: head != published && mutation == FLAG_BEFORE_HEAD ->
        wake_consumer();
        STORE_RELEASE(PRODUCER, HEAD, head);
        published = head
    :: else ->
        STORE_RELEASE(PRODUCER, HEAD, head);
        published = head;
        if
        :: mutation == NO_FENCE_IN_PUBLISH
        :: else -> FENCE(PRODUCER)
        fi;
        wake_consumer()
    fi
}

#define ROOM (head - tail_cached < CAPACITY)

/* ring_refresh_tail() */
inline look_at_tail()
{
    tail_cached = memory[TAIL];
    assert(tail_cached <= published && head - tail_cached <= CAPACITY);
    if
    :: ROOM && wished -> STORE_RELAXED(PRODUCER, SPACE_WANTED, 0); wished = false
    :: else
    fi
}

inline wait_for_room()
{
    STORE_RELAXED(PRODUCER, SPACE_WANTED, head + 1 - CAPACITY);
    wished = true;
    bell_prepare(PRODUCER);
    if
    :: mutation == NO_SECOND_LOOK
    :: else -> look_at_tail()
    fi;
    if
    :: ROOM -> STORE_RELAXED(PRODUCER, BELL + PRODUCER, AWAKE) /* doorbell_cancel() */
    :: else ->
        STORE_RELAXED(PRODUCER, SPACE_WANTED, head + 1 - CAPACITY);
        bell_wait(PRODUCER)
    fi
}

/* Record n is at position n, and its content is n + 1. */
inline push()
{
    if
    :: mutation == HEAD_BEFORE_PAYLOAD ->
        STORE_RELEASE(PRODUCER, HEAD, head + 1);
        STORE_PLAIN(PRODUCER, SLOT + head % CAPACITY, head + 1)
    :: else -> STORE_PLAIN(PRODUCER, SLOT + head % CAPACITY, head + 1)
    fi;
    head++
}

proctype Producer()
{
    byte head, published, tail_cached, old;
    bool wished; /* what it would read in SPACE_WANTED: a process sees its own stores at once */
attach:
    {
        head = memory[HEAD];
        published = head;
        tail_cached = memory[TAIL];
        wished = (memory[SPACE_WANTED] != 0);
        do
        :: head == RECORDS -> break
        :: head < RECORDS && ROOM ->
            push();
            if
            :: publish()
            :: true /* the batch goes on */
            fi
        :: head < RECORDS && !ROOM ->
            look_at_tail();
            if
            :: ROOM
            :: else -> publish(); wait_for_room()
            fi
        od;
        publish();
        ended[PRODUCER] = true
    } unless {
        killed[PRODUCER]
    };
    if
    :: ended[PRODUCER]
    :: else ->
        atomic { FENCE(PRODUCER) -> in_futex[PRODUCER] = false; killed[PRODUCER] = false; rings_due = true };
        goto attach
    fi
}

inline wake_producer()
{
    old = memory[SPACE_WANTED];
    if
    :: old != 0 && tail >= old && mutation == RINGER_CLEARS_SPACE_WANTED -> EXCHANGE(CONSUMER, SPACE_WANTED, 0, old)
    :: else
    fi;
    if
    :: old != 0 && tail >= old -> bell_ring(CONSUMER, PRODUCER)
    :: else
    fi
}

/* ring_release(), and ringing */
inline release()
{
    if
    :: tail == released
    :: tail != released && mutation == FLAG_BEFORE_TAIL ->
        wake_producer();
        atomic { STORE_RELEASE(CONSUMER, TAIL, tail); released_all = tail };
        released = tail
    :: else ->
        atomic { STORE_RELEASE(CONSUMER, TAIL, tail); released_all = tail };
        released = tail;
        if
        :: mutation == NO_FENCE_IN_RELEASE
        :: else -> FENCE(CONSUMER)
        fi;
        wake_producer()
    fi
}

inline wait_for_data()
{
    STORE_RELAXED(CONSUMER, DATA_WANTED, 1);
    wished = true;
    bell_prepare(CONSUMER);
    if
    :: mutation != NO_SECOND_LOOK && memory[HEAD] != tail -> STORE_RELAXED(CONSUMER, BELL + CONSUMER, AWAKE)
    :: else -> bell_wait(CONSUMER)
    fi
}

inline read_frame()
{
    if
    :: mutation == TAIL_BEFORE_READ -> STORE_RELEASE(CONSUMER, TAIL, tail + 1)
    :: else
    fi;
    assert(memory[SLOT + tail % CAPACITY] == tail + 1); /* the next frame, whole */
    tail++
}

proctype Consumer()
{
    byte tail, released, head_cached, old;
    bool wished; /* what it would read in DATA_WANTED */
attach:
    {
        tail = memory[TAIL];
        if
        :: mutation == ATTACH_AT_HEAD && deaths > 0 -> tail = memory[HEAD]
        :: else
        fi;
        assert(tail == released_all); /* none is skipped, none is done twice */
        released = tail;
        head_cached = tail;
        wished = (memory[DATA_WANTED] != 0);
        do
        :: tail == RECORDS -> break
        :: tail < RECORDS && tail != head_cached ->
            read_frame();
            if
            :: release()
            :: true /* the batch goes on */
            fi
        :: tail < RECORDS && tail == head_cached ->
            head_cached = memory[HEAD];
            assert(head_cached >= tail && head_cached - released <= CAPACITY);
            if
            :: tail != head_cached && !wished
            :: tail != head_cached && wished -> STORE_RELAXED(CONSUMER, DATA_WANTED, 0); wished = false
            :: tail == head_cached -> release(); wait_for_data()
            fi
        od;
        release();
        ended[CONSUMER] = true
    } unless {
        killed[CONSUMER]
    };
    if
    :: ended[CONSUMER]
    :: else ->
        atomic { FENCE(CONSUMER) -> in_futex[CONSUMER] = false; killed[CONSUMER] = false; rings_due = true };
        goto attach
    fi
}

/* Stores reach the memory some time after they were made. */
proctype Drain()
{
    byte cell, value;
end:
    do
    :: atomic { stores[PRODUCER]?cell,value -> memory[cell] = value; cell = 0; value = 0 }
    :: atomic { stores[CONSUMER]?cell,value -> memory[cell] = value; cell = 0; value = 0 }
#ifdef PSO
    :: atomic { relaxed[PRODUCER]?cell,value -> memory[cell] = value; cell = 0; value = 0 }
    :: atomic { relaxed[CONSUMER]?cell,value -> memory[cell] = value; cell = 0; value = 0 }
#endif
    od
}

proctype Killer()
{
end:
    do
    :: atomic { deaths < DEATHS && !ended[PRODUCER] && !killed[PRODUCER] -> killed[PRODUCER] = true; deaths++ }
    :: atomic { deaths < DEATHS && !ended[CONSUMER] && !killed[CONSUMER] -> killed[CONSUMER] = true; deaths++ }
    od
}

/* doorbell_ring_for_dead() */
inline ring_for_dead(who)
{
    if
    :: mutation == DEAD_RINGER_BELIEVED && memory[BELL + who] == AWAKE
    :: else -> memory[BELL + who] = AWAKE; in_futex[who] = false
    fi
}

/* Rings all doorbells some time after each death. */
proctype Launcher()
{
end:
    do
    :: atomic { rings_due && launcher_rings -> rings_due = false; ring_for_dead(PRODUCER) };
       atomic { ring_for_dead(CONSUMER) }
    od
}

init
{
    c_code {
        const char *text = getenv("RING_MUTATION");
        now.mutation = text != NULL ? (unsigned char)atoi(text) : 0;
    };
    if
    :: launcher_rings = true
    :: launcher_rings = false
    fi;
    atomic { run Drain(); run Launcher(); run Killer(); run Producer(); run Consumer() }
}
