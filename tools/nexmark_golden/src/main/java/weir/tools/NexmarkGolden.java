package weir.tools;

import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import org.apache.beam.sdk.nexmark.NexmarkConfiguration;
import org.apache.beam.sdk.nexmark.model.Auction;
import org.apache.beam.sdk.nexmark.model.Bid;
import org.apache.beam.sdk.nexmark.model.Event;
import org.apache.beam.sdk.nexmark.model.Person;
import org.apache.beam.sdk.nexmark.sources.generator.Generator;
import org.apache.beam.sdk.nexmark.sources.generator.GeneratorConfig;

/**
 * Prints events of Beam's Nexmark generator, made by Beam's own classes with NexmarkConfiguration.DEFAULT, one a line,
 * fields separated by tabs, backslashes in strings doubled (no string holds a tab or a line end).
 *
 * <p>Arguments: triples BASE_TIME_MS FIRST_EVENT_ID COUNT, or BASE_TIME_MS FIRST_EVENT_ID COUNT@FIRST_EVENT_NUMBER.
 */
public final class NexmarkGolden {
  private NexmarkGolden() {}

  public static void main(String[] args) {
    PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
    for (int i = 0; i + 2 < args.length; i += 3) {
      String[] countAndNumber = args[i + 2].split("@");
      long firstNumber = countAndNumber.length > 1 ? Long.parseLong(countAndNumber[1]) : 0;
      long count = Long.parseLong(countAndNumber[0]);
      printRange(out, Long.parseLong(args[i]), Long.parseLong(args[i + 1]), count, firstNumber);
    }
    out.flush();
  }

  private static void printRange(PrintStream out, long baseTimeMs, long firstEventId, long count, long firstNumber) {
    GeneratorConfig config =
        new GeneratorConfig(NexmarkConfiguration.DEFAULT.copy(), baseTimeMs, firstEventId, count, firstNumber);
    Generator generator = new Generator(config);
    for (long number = firstNumber; generator.hasNext(); number++) {
      long eventId = generator.getNextEventId();
      Generator.NextEvent next = generator.nextEvent();
      out.println(row(baseTimeMs, firstEventId, number, eventId, next.event));
    }
  }

  private static String row(long baseTimeMs, long firstEventId, long number, long eventId, Event event) {
    String head = baseTimeMs + "\t" + firstEventId + "\t" + number + "\t" + eventId + "\t";
    if (event.newPerson != null) {
      return head + person(event.newPerson);
    }
    return head + (event.newAuction != null ? auction(event.newAuction) : bid(event.bid));
  }

  private static String person(Person p) {
    return fields("person", p.id, p.dateTime.getMillis(), p.name, p.emailAddress, p.creditCard, p.city, p.state,
        p.extra);
  }

  private static String auction(Auction a) {
    return fields("auction", a.id, a.initialBid, a.reserve, a.dateTime.getMillis(), a.expires.getMillis(), a.seller,
        a.category, a.itemName, a.description, a.extra);
  }

  private static String bid(Bid b) {
    return fields("bid", b.auction, b.bidder, b.price, b.dateTime.getMillis(), b.extra);
  }

  private static String fields(Object... values) {
    StringBuilder line = new StringBuilder();
    for (Object value : values) {
      if (line.length() > 0) {
        line.append('\t');
      }
      line.append(value.toString().replace("\\", "\\\\"));
    }
    return line.toString();
  }
}
