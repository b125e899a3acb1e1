//! The events of Apache Beam's Nexmark generator, default configuration: the same as of Weir's connectors/nexmark/generator.c,
//! which says where the algorithm is from. The order in which numbers are drawn decides what they are.

const EPOCH_EVENTS: u64 = 50; // of which one person, three auctions, the rest bids
const EPOCH_PERSONS: u64 = 1;
const EPOCH_AUCTIONS: u64 = 3;
const FIRST_ID: u64 = 1000;
const FIRST_CATEGORY: u64 = 10;
const CATEGORY_COUNT: u32 = 5;
const ID_LEAD: u32 = 10;
const ACTIVE_PERSONS: u64 = 1000;
const IN_FLIGHT_AUCTIONS: i64 = 100;
const HOT_GROUP: u64 = 100;
const HOT_AUCTION_RATIO: u32 = 2;
const HOT_SELLER_RATIO: u32 = 4;
const HOT_BIDDER_RATIO: u32 = 4;
pub const EVENT_DELAY_MS: i64 = 10;
pub const BASE_TIME_MS: i64 = 1_436_918_400_000;
const AUCTION_LENGTH_MS_MAX: u32 = 2 * (100 * 50 / 3) * 10;

const STATES: [&str; 6] = ["AZ", "CA", "ID", "OR", "WA", "WY"];
const CITIES: [&str; 10] =
    ["Phoenix", "Los Angeles", "San Francisco", "Boise", "Portland", "Bend", "Redmond", "Seattle", "Kent", "Cheyenne"];
const FIRST_NAMES: [&str; 11] = ["Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter", "Walter"];
const LAST_NAMES: [&str; 9] = ["Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris"];

/// A piece of the text of the events' container.
#[derive(Clone, Copy, Debug, Default)]
pub struct Text {
    start: u32,
    bytes: u32,
}

impl Text {
    pub fn of(self, text: &[u8]) -> &[u8] {
        &text[self.start as usize..(self.start + self.bytes) as usize]
    }

    pub fn len(self) -> usize {
        self.bytes as usize
    }

    pub fn is_empty(self) -> bool {
        self.bytes == 0
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Person {
    pub id: u64,
    pub date_time_ms: i64,
    pub name: Text,
    pub email_address: Text,
    pub credit_card: Text,
    pub city: Text,
    pub state: Text,
    pub extra: Text,
}

#[derive(Clone, Copy, Debug)]
pub struct Auction {
    pub id: u64,
    pub initial_bid: u64,
    pub reserve: u64,
    pub date_time_ms: i64,
    pub expires_ms: i64,
    pub seller: u64,
    pub category: u64,
    pub item_name: Text,
    pub description: Text,
    pub extra: Text,
}

#[derive(Clone, Copy, Debug)]
pub struct NexmarkBid {
    pub auction: u64,
    pub bidder: u64,
    pub price: u64,
    pub date_time_ms: i64,
    pub extra: Text,
}

#[derive(Clone, Copy, Debug)]
pub enum Event {
    Person(Person),
    Auction(Auction),
    Bid(NexmarkBid),
}

impl Event {
    /// Bytes of all of the event's strings.
    pub fn text_bytes(&self) -> usize {
        match self {
            Event::Person(p) => {
                [p.name, p.email_address, p.credit_card, p.city, p.state, p.extra].iter().map(|text| text.len()).sum()
            }
            Event::Auction(a) => [a.item_name, a.description, a.extra].iter().map(|text| text.len()).sum(),
            Event::Bid(b) => b.extra.len(),
        }
    }
}

/// java.util.Random: a 48-bit linear congruential generator.
struct Random(u64);

impl Random {
    const MULTIPLIER: u64 = 0x5_DEEC_E66D;

    fn new(seed: u64) -> Random {
        Random(seed ^ Random::MULTIPLIER)
    }

    #[inline]
    fn bits(&mut self, bits: u32) -> u32 {
        self.0 = self.0.wrapping_mul(Random::MULTIPLIER).wrapping_add(0xB);
        ((self.0 & ((1 << 48) - 1)) >> (48 - bits)) as u32
    }

    #[inline(always)]
    fn below(&mut self, bound: u32) -> u32 {
        let mut bits = self.bits(31);
        if bound.is_power_of_two() {
            return ((u64::from(bound) * u64::from(bits)) >> 31) as u32;
        }
        loop {
            let value = bits % bound;
            if bits - value + (bound - 1) <= i32::MAX as u32 {
                return value;
            }
            bits = self.bits(31);
        }
    }

    fn double(&mut self) -> f64 {
        let high = u64::from(self.bits(26));
        let low = u64::from(self.bits(27));
        ((high << 27) + low) as f64 * (1.0 / (1_u64 << 53) as f64)
    }

    fn price(&mut self) -> u64 {
        (10_f64.powf(self.double() * 6.0) * 100.0 + 0.5).floor() as u64
    }
}

/// Writes an event's strings one behind the other, behind what the container has.
struct Writer<'a> {
    text: &'a mut Vec<u8>,
    start: usize,
}

impl Writer<'_> {
    fn begin(&mut self) {
        self.start = self.text.len();
    }

    fn finish(&self) -> Text {
        Text { start: self.start as u32, bytes: (self.text.len() - self.start) as u32 }
    }

    fn word(&mut self, words: &[&str], random: &mut Random) {
        let word = words[random.below(words.len() as u32) as usize];
        self.text.extend_from_slice(word.as_bytes());
    }

    /// A random string of 3 to bytes_max - 1 letters and spaces, then without the spaces at its ends.
    fn random(&mut self, random: &mut Random, bytes_max: u32) {
        let drawn = 3 + random.below(bytes_max - 3);
        let start = self.text.len();
        for _ in 0..drawn {
            if random.below(13) != 0 {
                self.text.push(b'a' + random.below(26) as u8);
            } else if self.text.len() != start {
                self.text.push(b' ');
            }
        }
        while self.text.len() != start && self.text.last() == Some(&b' ') {
            self.text.pop();
        }
    }

    /// A random string of so many bytes, six from each number drawn: its lowest digits in base 26, negative ones counting down
    /// from 'a'.
    fn random_exact(&mut self, random: &mut Random, bytes: u32) {
        let start = self.text.len();
        let end = start + bytes as usize;
        self.text.resize(end + 8, 0);
        for place in (start..end).step_by(6) {
            let drawn = random.bits(32);
            let negative = 0_u32.wrapping_sub(drawn >> 31); // all ones where it is; a branch would be mispredicted often
            let digits = base26_digits((drawn ^ negative).wrapping_sub(negative));
            let sign = 0_u64.wrapping_sub(u64::from(drawn >> 31));
            // No digit borrows from the next: 'a' - 25 > 0.
            let six = 0x6161_6161_6161_6161_u64.wrapping_add((digits ^ sign).wrapping_sub(sign));
            self.text[place..place + 8].copy_from_slice(&six.to_le_bytes());
        }
        self.text.truncate(end);
    }

    /// Fills the event up to `average` bytes, give or take a fifth of what is missing.
    fn extra(&mut self, random: &mut Random, current: u32, average: u32) -> Text {
        self.begin();
        if current <= average {
            let missing = average - current;
            let delta = (f64::from(missing) * 0.2 + 0.5).floor() as u32;
            let mut bytes = missing - delta;
            if delta > 0 {
                bytes += random.below(2 * delta);
            }
            self.random_exact(random, bytes);
        }
        self.finish()
    }
}

/// The six lowest digits of `value` in base 26, the lowest in the first byte: three in each half of a word, by multiplications.
#[inline(always)]
fn base26_digits(value: u32) -> u64 {
    const EACH_HALF: u64 = 0x0000_0001_0000_0001;
    let low = u64::from(value % (26 * 26 * 26));
    let high = u64::from(value / (26 * 26 * 26) % (26 * 26 * 26));
    let mut rest = low | high << 32;
    let third = (rest * 24819) >> 24 & (EACH_HALF * 31);
    rest -= third * 676;
    let second = (rest * 40330) >> 20 & (EACH_HALF * 31);
    let digits = (rest - second * 26) | second << 8 | third << 16;
    (digits & 0xFF_FFFF) | (digits >> 8 & 0xFFFF_FF00_0000)
}

fn newest_person(event_id: u64) -> u64 {
    event_id / EPOCH_EVENTS * EPOCH_PERSONS
}

fn newest_auction(event_id: u64) -> i64 {
    let offset = (event_id % EPOCH_EVENTS) as i64;
    let made = (offset - EPOCH_PERSONS as i64 + 1).min(EPOCH_AUCTIONS as i64);
    (event_id / EPOCH_EVENTS * EPOCH_AUCTIONS) as i64 + made - 1
}

fn random_person(random: &mut Random, event_id: u64) -> u64 {
    let made = newest_person(event_id) + 1;
    let active = made.min(ACTIVE_PERSONS);
    made - active + u64::from(random.below(active as u32 + ID_LEAD))
}

fn random_auction(random: &mut Random, event_id: u64) -> u64 {
    let newest = newest_auction(event_id);
    let oldest = (newest - IN_FLIGHT_AUCTIONS).max(0);
    oldest as u64 + u64::from(random.below((newest - oldest) as u32 + 1 + ID_LEAD))
}

fn hot(newest: u64) -> u64 {
    newest / HOT_GROUP * HOT_GROUP
}

fn person(event_id: u64, date_time_ms: i64, random: &mut Random, writer: &mut Writer) -> Person {
    let before = writer.text.len();
    writer.begin();
    writer.word(&FIRST_NAMES, random);
    writer.text.push(b' ');
    writer.word(&LAST_NAMES, random);
    let name = writer.finish();
    writer.begin();
    writer.random(random, 7);
    writer.text.push(b'@');
    writer.random(random, 5);
    writer.text.extend_from_slice(b".com");
    let email_address = writer.finish();
    writer.begin();
    for group in 0..4 {
        if group > 0 {
            writer.text.push(b' ');
        }
        let number = random.below(10_000);
        writer.text.extend([1000, 100, 10, 1].map(|unit| b'0' + (number / unit % 10) as u8));
    }
    let credit_card = writer.finish();
    writer.begin();
    writer.word(&CITIES, random);
    let city = writer.finish();
    writer.begin();
    writer.word(&STATES, random);
    let state = writer.finish();
    let string_bytes = (writer.text.len() - before) as u32;
    let extra = writer.extra(random, 8 + string_bytes, 200);
    Person { id: newest_person(event_id) + FIRST_ID, date_time_ms, name, email_address, credit_card, city, state, extra }
}

fn auction(event_id: u64, date_time_ms: i64, random: &mut Random, writer: &mut Writer) -> Auction {
    let is_hot = random.below(HOT_SELLER_RATIO) > 0;
    let seller = FIRST_ID + if is_hot { hot(newest_person(event_id)) } else { random_person(random, event_id) };
    let category = FIRST_CATEGORY + u64::from(random.below(CATEGORY_COUNT));
    let initial_bid = random.price();
    let expires_ms = date_time_ms + 1 + i64::from(random.below(AUCTION_LENGTH_MS_MAX));
    writer.begin();
    writer.random(random, 20);
    let item_name = writer.finish();
    writer.begin();
    writer.random(random, 100);
    let description = writer.finish();
    let reserve = initial_bid + random.price();
    let extra = writer.extra(random, 48 + item_name.bytes + description.bytes, 500);
    let id = newest_auction(event_id) as u64 + FIRST_ID;
    Auction { id, initial_bid, reserve, date_time_ms, expires_ms, seller, category, item_name, description, extra }
}

fn bid(event_id: u64, date_time_ms: i64, random: &mut Random, writer: &mut Writer) -> NexmarkBid {
    let is_hot = random.below(HOT_AUCTION_RATIO) > 0;
    let auction = FIRST_ID + if is_hot { hot(newest_auction(event_id) as u64) } else { random_auction(random, event_id) };
    let is_hot = random.below(HOT_BIDDER_RATIO) > 0;
    // The second of its group, so that the hot bidder is not the hot seller.
    let bidder = FIRST_ID + if is_hot { hot(newest_person(event_id)) + 1 } else { random_person(random, event_id) };
    let price = random.price();
    let extra = writer.extra(random, 32, 100);
    NexmarkBid { auction, bidder, price, date_time_ms, extra }
}

/// The event of this id, its strings behind `text`. Pure: no state but the container.
pub fn event(event_id: u64, text: &mut Vec<u8>) -> Event {
    let date_time_ms = BASE_TIME_MS + EVENT_DELAY_MS * event_id as i64;
    let mut random = Random::new(event_id);
    let mut writer = Writer { start: text.len(), text };
    match event_id % EPOCH_EVENTS {
        offset if offset < EPOCH_PERSONS => Event::Person(person(event_id, date_time_ms, &mut random, &mut writer)),
        offset if offset < EPOCH_PERSONS + EPOCH_AUCTIONS => {
            Event::Auction(auction(event_id, date_time_ms, &mut random, &mut writer))
        }
        _ => Event::Bid(bid(event_id, date_time_ms, &mut random, &mut writer)),
    }
}

/// The rows of tests/data/nexmark_golden.tsv (printed by Beam's own classes) that begin at event 0, made here: how many there
/// are, or the first one that differs.
pub fn compare_with(golden: &str) -> Result<usize, String> {
    let mut compared = 0;
    for row in golden.lines() {
        let fields: Vec<&str> = row.splitn(5, '\t').collect();
        let [base_time, first, _, event_id, wanted] = fields[..] else { return Err(format!("not a golden row: {row}")) };
        if base_time != BASE_TIME_MS.to_string() || first != "0" {
            continue;
        }
        let event_id = event_id.parse().map_err(|_| format!("not a golden row: {row}"))?;
        let mut text = Vec::new();
        let made = as_row(&event(event_id, &mut text), &text);
        if made != wanted {
            return Err(format!("event {event_id} is\n{made}\nnot\n{wanted}"));
        }
        compared += 1;
    }
    Ok(compared)
}

fn as_row(event: &Event, text: &[u8]) -> String {
    let string = |piece: Text| format!("\t{}", String::from_utf8_lossy(piece.of(text)).replace('\\', "\\\\"));
    let strings = |pieces: &[Text]| pieces.iter().map(|piece| string(*piece)).collect::<String>();
    match event {
        Event::Person(p) => {
            format!("person\t{}\t{}", p.id, p.date_time_ms)
                + &strings(&[p.name, p.email_address, p.credit_card, p.city, p.state, p.extra])
        }
        Event::Auction(a) => {
            let numbers = [a.id, a.initial_bid, a.reserve, a.date_time_ms as u64, a.expires_ms as u64, a.seller, a.category];
            let numbers: String = numbers.iter().map(|number| format!("\t{number}")).collect();
            format!("auction{numbers}") + &strings(&[a.item_name, a.description, a.extra])
        }
        Event::Bid(b) => format!("bid\t{}\t{}\t{}\t{}", b.auction, b.bidder, b.price, b.date_time_ms) + &string(b.extra),
    }
}
