package weir.peer.flink;

import java.util.concurrent.ExecutionException;
import org.apache.flink.api.common.JobStatus;
import org.apache.flink.core.execution.JobClient;

/** Looking after a running job. */
public final class Clusters {
    private Clusters() {
    }

    /** Throws where the job does not run. */
    public static void check_alive(JobClient job) {
        try {
            JobStatus status = job.getJobStatus().get();
            if (status != JobStatus.RUNNING) {
                throw new IllegalStateException("the job is " + status);
            }
        } catch (ExecutionException error) {
            throw new IllegalStateException("the job has failed: " + error.getMessage(), error);
        } catch (InterruptedException error) {
            throw new IllegalStateException("interrupted", error);
        }
    }
}
