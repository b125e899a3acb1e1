package weir.peer;

import java.util.HashMap;
import java.util.Map;

/**
 * The options of a program: words of the form name=value. One that is missing or unknown where it is read ends the program with a
 * message.
 */
public final class Options {
    private final Map<String, String> values = new HashMap<>();

    public Options(String[] words) {
        for (String word : words) {
            int at = word.indexOf('=');
            if (at <= 0) {
                throw new IllegalArgumentException("expected name=value, not '" + word + "'");
            }
            values.put(word.substring(0, at), word.substring(at + 1));
        }
    }

    public String text(String name) {
        String value = values.get(name);
        if (value == null) {
            throw new IllegalArgumentException("option " + name + "= is missing");
        }
        return value;
    }

    public String text(String name, String fallback) {
        return values.getOrDefault(name, fallback);
    }

    public long number(String name) {
        return Long.parseLong(text(name));
    }

    public long number(String name, long fallback) {
        return values.containsKey(name) ? number(name) : fallback;
    }

    /** The options whose names begin with a prefix, without it. */
    public Map<String, String> with_prefix(String prefix) {
        Map<String, String> found = new HashMap<>();
        values.forEach((name, value) -> {
            if (name.startsWith(prefix)) {
                found.put(name.substring(prefix.length()), value);
            }
        });
        return found;
    }

    /** Seconds, as a fraction, in nanoseconds. */
    public long seconds(String name) {
        return (long) (Double.parseDouble(text(name)) * 1e9);
    }
}
