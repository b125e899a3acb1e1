/*
 * takeover.pml - a model of who may take a dead task's place (engine/takeover.c, engine/launcher.c, coordinator), for Spin: FAULTS F1, F8, F9.
 *
 * One task: its process, a standby asleep in its robust mutex, the launcher that reaps and forks, the coordinator that decides to go back.
 * DEATHS times in all, before any step, some process is killed from outside, or dies of a fault of its own, which it may or may not have been able
 * to mark first, and may be killed from outside after it has. The launcher's own kills come on top of these. The coordinator may die between any
 * two steps, any number of times. The launcher may die too: then nothing is forked any more, and all others end, each at any later time
 * (PR_SET_PDEATHSIG); until then a standby may still take over. The kernel: a process that dies lets its mutex go, marked, and
 * then waits to be reaped.
 *
 * Proved, for so many deaths: never do two processes act as the task. A death is either taken over, by one process, or the job goes back for it,
 * never both. What a task that marked a fault of its own has left is not taken over, and what was taken over from one that could not mark it
 * is not what the job stays with. When the tasks are forked anew, none of the old processes lives. And in the end one process acts
 * (where the launcher lives): whoever died when.
 *
 * Each access to shared memory is a step of its own; memory is sequentially consistent (the code uses seq_cst for `owner`, and
 * asks the kernel in between). Not modelled: several tasks, hung tasks, poison records, rings, the snapshot child.
 *
 * TAKEOVER_MUTATION=n in the environment of the verifier breaks one rule; each must be found (run.sh).
 */
/* With LAUNCHER_LIVES it does not die: fewer states. */
#ifndef DEATHS
#define DEATHS 2
#endif
#define PROCESSES 14
#define TAKEOVERS_MAX 2

c_decl {
\#include <stdlib.h>
}

#define TASK 0    /* forked at a start */
#define STANDBY 1
#define TAKER 2   /* forked by the launcher in the place of a dead one */

/* task_shared.owner: one word, so that a compare-and-swap sees all three. */
byte owner_pid; /* 0: none */
byte owner_count;
bool owner_nobody;

byte mutex_holder; /* 0: free */
bool mutex_died;   /* its last owner died with it */
bool guarded;
byte standby_pid, task_pid;
bool followed[PROCESSES]; /* previous_pids; the code has eight places, and leaves it to the launcher where all are taken */
byte one_followed;        /* as it was once: one place */
bool fault_marked, distrusted;
byte attempts;
bool task_dead;     /* its phase */
bool starting;      /* run_state is not RUN_RUNNING */
bool go_back;       /* launcher_request */

/* What the kernel knows. */
bool alive[PROCESSES], zombie[PROCESSES], killed[PROCESSES], own_fault[PROCESSES];
bool launcher_dead;
byte next_pid = 1;

/* What the properties need. */
bool acts[PROCESSES], taken[PROCESSES], gone_back[PROCESSES], marked_by[PROCESSES];
byte acting;
bool tainted; /* the memory is what a task that died of its own fault has left */
byte deaths;
byte mutation;

/* The rules that a mutation breaks. */
#define CLAIM_BY_STORE 1          /* the standby looks, then stores */
#define LAUNCHER_CLAIMS_BY_STORE 2
#define FAULTS_ARE_TAKEN_OVER 3   /* the standby does not look for the mark */
#define SUCCESSOR_IS_TRUSTED 4    /* of one that died of its own fault unmarked */
#define GUARD_NOT_ASKED 5         /* the standby takes from an owner that it did not sleep beside */
#define GO_BACK_BESIDE_THE_LIVING 6 /* tasks are forked anew before all others are gone */
#define OUTSIDE_BY_STATUS_ALONE 7 /* the launcher does not look for the mark: as it was once */
#define SUCCESSOR_BY_ITS_OWN_NOTE 8 /* the launcher kills whom the standby has noted, maybe not yet: as it was once */
#define ONE_PREVIOUS 9            /* who was followed is forgotten when the next one is: as it was once */

#define JOB_RUNS (!starting && !go_back && !task_dead) /* job_runs() */

inline begin_to_act(id)
{
    atomic {
        acts[id] = true;
        acting++;
        assert(acting <= 1)
    }
}

/* The CAS of `owner`, for the death of `dead`, has succeeded. */
inline note_taken(dead)
{
    assert(!taken[dead] && !gone_back[dead]);
    assert(!marked_by[dead]);
    taken[dead] = true;
    if
    :: own_fault[dead] -> tainted = true
    :: else
    fi
}

/* takeover_wait() behind the lock; ends with may = whether this process is the task now. */
inline claim_as_standby(id)
{
    atomic { seen_pid = owner_pid; seen_count = owner_count; seen_nobody = owner_nobody };
    if
    :: !died || seen_nobody || seen_pid == 0 -> goto leave
    :: else
    fi;
    if
    :: (fault_marked && mutation != FAULTS_ARE_TAKEN_OVER) || distrusted -> goto leave
    :: else
    fi;
    if
    :: !JOB_RUNS || attempts >= TAKEOVERS_MAX -> goto leave
    :: else
    fi;
    if
    :: !guarded && mutation != GUARD_NOT_ASKED -> goto leave
    :: else
    fi;
    if
    :: mutation == ONE_PREVIOUS -> one_followed = seen_pid
    :: else -> followed[seen_pid] = true
    fi;
    if
    :: atomic {
        mutation == CLAIM_BY_STORE ||
            (owner_pid == seen_pid && owner_count == seen_count && owner_nobody == seen_nobody) ->
        owner_pid = id;
        owner_count++;
        note_taken(seen_pid)
       }
    :: else -> followed[seen_pid] = false; goto leave
    fi;
    guarded = false; /* note_claim() */
    attempts++;
    standby_pid = 0;
    task_pid = id;
    guarded = true
}

proctype Process(byte id, role)
{
    byte seen_pid, seen_count;
    bool seen_nobody, died;
    {
        if
        :: role == STANDBY ->
end_asleep: atomic { mutex_holder == 0 -> mutex_holder = id; died = mutex_died; mutex_died = false };
            claim_as_standby(id);
            begin_to_act(id)
        :: else ->
            begin_to_act(id);
            /* takeover_guard(): again and again */
            atomic { mutex_holder == 0 -> mutex_holder = id; mutex_died = false };
            guarded = true
        fi;
end:    false; /* works, until it is killed */
leave:  skip
    } unless {
        killed[id]
    };
    atomic {
        if
        :: acts[id] -> acts[id] = false; acting--
        :: else
        fi;
        if
        :: mutex_holder == id -> mutex_holder = 0; mutex_died = true
        :: else
        fi;
        alive[id] = false;
        zombie[id] = true
    }
}

inline fork_process(role)
{
    atomic {
        assert(next_pid < PROCESSES);
        child = next_pid;
        next_pid++;
        alive[child] = true;
        run Process(child, role)
    }
}

/* takeover_note_owner(): a load and a store, both the launcher's alone at this time. */
inline note_owner()
{
    atomic { owner_pid = child };
    task_pid = child
}

inline set_dead(id)
{
    atomic { assert(!taken[id]); gone_back[id] = true; task_dead = true }
}

/* previous_gone() */
inline previous_gone(id)
{
    if
    :: (own_fault[id] || distrusted) && mutation != SUCCESSOR_IS_TRUSTED ->
        distrusted = true;
        successor = (mutation == SUCCESSOR_BY_ITS_OWN_NOTE -> task_pid : owner_pid);
        if
        :: successor > 0 -> killed[successor] = true
        :: else
        fi
    :: else
    fi
}

/* task_gone() */
inline task_gone(id)
{
    atomic { seen_pid = owner_pid; seen_count = owner_count; seen_nobody = owner_nobody };
    wanted = !own_fault[id] && !distrusted && (!fault_marked || mutation == OUTSIDE_BY_STATUS_ALONE) && JOB_RUNS && attempts < TAKEOVERS_MAX;
    if
    :: seen_pid != id -> followed[id] = false; previous_gone(id)
    :: seen_pid == id ->
        if
        :: atomic {
            mutation == LAUNCHER_CLAIMS_BY_STORE ||
                (owner_pid == seen_pid && owner_count == seen_count && owner_nobody == seen_nobody) ->
            if
            :: wanted -> owner_pid = 0; owner_count++; note_taken(id)
            :: else -> owner_nobody = true
            fi
           };
           if
           :: wanted ->
               guarded = false;
               attempts++;
               fork_process(TAKER);
               note_owner()
           :: else -> set_dead(id)
           fi
        :: else -> followed[id] = false; previous_gone(id)
        fi
    fi
}

/* child_gone() */
inline child_gone(id)
{
    if
    :: atomic { standby_pid == id -> standby_pid = 0 }; was_standby = true
    :: else -> was_standby = false
    fi;
    if
    :: was_standby && owner_pid != id
    :: else ->
        if
        :: owner_pid == id -> task_gone(id)
        :: else ->
            if
            :: followed[id] -> followed[id] = false; previous_gone(id)
            :: one_followed == id -> one_followed = 0; previous_gone(id)
            :: else
            fi
        fi
    fi
}

inline find_zombie()
{
    atomic {
        dead = 1;
        do
        :: dead < next_pid && !zombie[dead] -> dead++
        :: else -> break
        od;
        if
        :: dead < next_pid -> zombie[dead] = false
        :: else -> dead = 0
        fi
    }
}

inline any_lives()
{
    lives = false;
    i = 1;
    do
    :: i < next_pid -> lives = (lives || alive[i]); i++
    :: else -> break
    od
}

inline kill_all()
{
    atomic {
        i = 1;
        do
        :: i < next_pid -> killed[i] = alive[i]; i++
        :: else -> break
        od
    }
}

/* restart_tasks(): kill_and_reap(), takeover_reset(), fork_tasks() */
inline restart()
{
    starting = true;
    do
    :: kill_all();
       find_zombie();
       if
       :: dead != 0 -> child_gone(dead)
       :: else
       fi;
       atomic {
        any_lives();
        if
        :: !lives && dead == 0 -> break
        :: lives && mutation == GO_BACK_BESIDE_THE_LIVING -> break
        :: else
        fi
       }
    od;
    atomic {
        any_lives();
        assert(!lives);
        mutex_holder = 0; mutex_died = false;
        owner_pid = 0; owner_nobody = false; owner_count = 0;
        one_followed = 0; standby_pid = 0; guarded = false; fault_marked = false; distrusted = false;
        i = 1;
        do
        :: i < PROCESSES -> followed[i] = false; i++
        :: else -> break
        od;
        attempts = 0; task_dead = false; tainted = false; task_pid = 0
    };
    fork_process(TASK);
    note_owner();
    starting = false;
    go_back = false
}

#define SOMEBODY_TO_REAP (zombie[1] || zombie[2] || zombie[3] || zombie[4] || zombie[5] || zombie[6] || zombie[7] || zombie[8] || \
                          zombie[9] || zombie[10] || zombie[11] || zombie[12] || zombie[13])

proctype Launcher()
{
    byte child, dead, seen_pid, seen_count, successor, i;
    bool seen_nobody, wanted, was_standby, lives;
    {
        fork_process(TASK);
        note_owner();
        starting = false;
end:    do
        :: SOMEBODY_TO_REAP -> find_zombie(); child_gone(dead)
        :: go_back -> restart()
        :: guarded && standby_pid == 0 && JOB_RUNS ->
            fork_process(STANDBY);
            standby_pid = child; /* note_standby() */
            if
            :: owner_pid == child -> standby_pid = 0
            :: else
            fi
        od
    } unless {
        launcher_dead
    }
}

proctype Coordinator()
{
end:
    do
    :: task_dead && !go_back && !starting ->
        if
        :: atomic { !go_back -> go_back = true }
        :: true /* it died: the next one looks again */
        fi
    od
}

proctype Killer()
{
    byte victim;
end:
    do
    :: atomic {
        deaths < DEATHS ->
        deaths++;
        select (victim : 1 .. PROCESSES - 1);
        if
        :: alive[victim] && !killed[victim] ->
            if
            :: killed[victim] = true /* from outside */
            :: acts[victim] -> own_fault[victim] = true; killed[victim] = true /* so that it could not mark it */
            :: acts[victim] -> own_fault[victim] = true; fault_marked = true; marked_by[victim] = true; killed[victim] = true
            :: acts[victim] -> fault_marked = true; marked_by[victim] = true; killed[victim] = true /* SIGKILL between mark and death */
            fi
        :: else
        fi
       }
#ifndef LAUNCHER_LIVES
    :: atomic { deaths < DEATHS && !launcher_dead -> deaths++; launcher_dead = true }
    :: atomic { /* the parent-death signal, one by one */
        launcher_dead ->
        select (victim : 1 .. PROCESSES - 1);
        if
        :: alive[victim] && !killed[victim] -> killed[victim] = true
        :: else
        fi
       }
#endif
    od
}

/* When nothing can happen any more. */
proctype Watcher()
{
    timeout ->
        assert(launcher_dead || (acting == 1 && !tainted));
end:
    false
}

init
{
    c_code {
        const char *text = getenv("TAKEOVER_MUTATION");
        now.mutation = text != NULL ? (unsigned char)atoi(text) : 0;
    };
    starting = true;
    atomic { run Launcher(); run Coordinator(); run Killer(); run Watcher() }
}
