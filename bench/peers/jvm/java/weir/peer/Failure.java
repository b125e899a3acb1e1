package weir.peer;

/** What an exception in a program's main thread does. */
public final class Failure {
    private Failure() {
    }

    /** It ends the program with status 1. (By itself it would end the thread alone: the engine's own threads keep the JVM up.) */
    public static void ends_the_program() {
        Thread.currentThread().setUncaughtExceptionHandler((thread, error) -> {
            error.printStackTrace();
            Runtime.getRuntime().halt(1);
        });
    }
}
