package weir.peer.jet;

import com.hazelcast.core.Hazelcast;
import com.hazelcast.core.HazelcastInstance;
import com.hazelcast.jet.Job;
import com.hazelcast.jet.core.DAG;
import com.hazelcast.jet.core.JobStatus;
import weir.peer.Bids;
import weir.peer.Failure;
import weir.peer.Options;
import weir.peer.Shared;
import weir.peer.Windows;
import weir.peer.Work;

/**
 * W0, W1, W2 as fast as they go: `work= input= keys= parallelism= checkpoint_ms= warmup_s= window_s= windows=`. Prints a line of
 * JSON. Ends with 1 where the results are not those of a plain loop.
 */
public final class Throughput {
    private Throughput() {
    }

    static void check_alive(Job job) {
        if (job.getStatus() != JobStatus.RUNNING) {
            throw new IllegalStateException("the job is " + job.getStatus());
        }
    }

    public static void main(String[] words) {
        Failure.ends_the_program();
        Options options = new Options(words);
        String work = options.text("work");
        int parallelism = (int) options.number("parallelism");
        String input = options.text("input");
        boolean of_updates = work.equals("w2");
        HazelcastInstance member = Hazelcast.newHazelcastInstance(Jobs.member(options));
        DAG dag = Jobs.dag(work, parallelism, () -> new Processors.Source(input, parallelism, 0, 0, 0),
            () -> new Processors.Adding(of_updates), options);
        Job job = member.getJet().newJob(dag, Jobs.job(options));
        Windows.sleep_ns(options.seconds("warmup_s"));
        Windows windows = new Windows();
        windows.take((int) options.number("windows"), options.seconds("window_s"),
            () -> Shared.total(work.equals("w1") ? Shared.read : Shared.results), () -> check_alive(job));
        Shared.stopping = true;
        job.join();
        Work.expected(work, new Bids(input), parallelism, options.number("keys")).compare(work, parallelism);
        System.out.println("{\"windows\": " + windows.json() + "}");
        System.exit(0);
    }
}
