//! What is asked about each log. `{2}` stands for the third of the log's own stamps, `{2+}` and `{2-}` for a nanosecond later and
//! earlier, as the engine wants it: in seconds.

/// The query that tells a log's stamps.
pub(crate) const EVERYTHING: &str = "stdout=1&stderr=1&timestamps=1";

/// How many stamps a log has at most that each get queries of their own; of more, the first of them and the last.
const STAMPS: usize = 5;

/// Every query to a log with so many stamps.
pub(crate) fn all(stamps: usize) -> Vec<String> {
    let mut queries = Vec::new();
    for streams in ["stdout=1&stderr=1", "stdout=1", "stdout=0&stderr=true"] {
        for tail in [
            "",
            "&tail=all",
            "&tail=0",
            "&tail=1",
            "&tail=3",
            "&tail=100",
            "&tail=-1",
            "&tail=abc",
        ] {
            queries.push(format!("{streams}{tail}"));
            queries.push(format!("{streams}&timestamps=1{tail}"));
        }
        for tail in ["", "&tail=0", "&tail=3"] {
            queries.push(format!("{streams}&timestamps=1{tail}&follow=1"));
        }
    }
    queries.extend(ODD.map(str::to_owned));
    let chosen = (0..stamps).filter(|rank| *rank + 1 < STAMPS || *rank + 1 == stamps);
    for rank in chosen {
        for moment in ["", "+", "-"] {
            for bound in BOUNDED {
                queries.push(bound.replace('@', &format!("{{{rank}{moment}}}")));
            }
        }
    }
    queries
}

/// Of every moment, which `@` stands for.
const BOUNDED: [&str; 8] = [
    "stdout=1&stderr=1&timestamps=1&since=@",
    "stdout=1&stderr=1&timestamps=1&until=@",
    "stdout=1&stderr=1&timestamps=1&since=@&follow=1",
    "stdout=1&stderr=1&timestamps=1&until=@&follow=1",
    "stdout=1&stderr=1&timestamps=1&since=@&tail=3",
    "stdout=1&stderr=1&timestamps=1&until=@&tail=3",
    "stdout=1&timestamps=1&since=@&until={4}",
    "stderr=1&since={1}&until=@",
];

/// Asked while a container runs. Its log has three records; what it writes later comes to those that are open.
pub(crate) const LIVE: [&str; 11] = [
    "stdout=1&stderr=1&timestamps=1&follow=1",
    "stdout=1&stderr=1&follow=1",
    "stdout=1&stderr=1&timestamps=1&follow=1&tail=0",
    "stdout=1&stderr=1&timestamps=1&follow=1&tail=1",
    "stdout=1&timestamps=1&follow=1&tail=2",
    "stderr=1&timestamps=1&follow=1",
    "stdout=1&stderr=1&timestamps=1&follow=1&since={1}",
    "stdout=1&stderr=1&timestamps=1&follow=1&since={2+}",
    "stdout=1&stderr=1&timestamps=1&follow=1&until={1}",
    "stdout=1&stderr=1&timestamps=1&follow=1&until={2}",
    "stdout=1&stderr=1&timestamps=1",
];

/// Of every log once.
const ODD: [&str; 37] = [
    "",
    "stdout=0&stderr=0",
    "tail=1&follow=1",
    "stdout=False&stderr=none",
    "stdout=no&stderr=",
    "stdout=x&stderr=yes",
    "stdout=1&stdout=0&stderr=1",
    "stdout=1&stderr=1&unknown=1",
    "stdout=1&stderr=1&tail=",
    "stdout=1&stderr=1&tail=1.5",
    "stdout=1&stderr=1&tail=%2B1",
    "stdout=1&stderr=1&tail=99999999999999999999",
    "stdout=1&stderr=1&since=",
    "stdout=1&stderr=1&since=0",
    "stdout=1&stderr=1&since=0.000000000",
    "stdout=1&stderr=1&since=-1",
    "stdout=1&stderr=1&since=1",
    "stdout=1&stderr=1&since=1.5",
    "stdout=1&stderr=1&since=4000000000",
    "stdout=1&stderr=1&until=0",
    "stdout=1&stderr=1&until=1",
    "stdout=1&stderr=1&until=4000000000",
    "stdout=1&stderr=1&since=2026-01-01T00:00:00Z",
    "stdout=1&stderr=1&since=now",
    "stdout=1&stderr=1&since=1.",
    "stdout=1&stderr=1&since=1.-5",
    "stdout=1&stderr=1&since=1.x",
    "stdout=1&stderr=1&since=1.1.1",
    "stdout=1&stderr=1&since=1.00000000000000000001",
    "stdout=1&stderr=1&since=1.000000000000000000001",
    "stdout=1&stderr=1&since=1.12345678901234567890",
    "stdout=1&stderr=1&since=4000000000.0123456789",
    "stdout=1&stderr=1&until=0.0",
    "stdout=1&stderr=1&until=-1",
    "stdout=1&stderr=1&until=now",
    "stdout=1&stderr=1&until=2026-01-01T00:00:00Z&follow=1",
    "since=now",
];

/// A query as it is sent to an engine whose log has these stamps, in nanoseconds; `None` if one is meant that the log does not have.
pub(crate) fn fill(query: &str, stamps: &[i64]) -> Option<String> {
    let mut filled = String::new();
    let mut rest = query;
    while let Some((before, after)) = rest.split_once('{') {
        let (moment, after) = after.split_once('}')?;
        let rank = moment.trim_end_matches(['+', '-']);
        let offset = i64::from(moment.ends_with('+')) - i64::from(moment.ends_with('-'));
        let nanos = stamps.get(rank.parse::<usize>().ok()?)? + offset;
        filled += before;
        filled += &format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000);
        rest = after;
    }
    Some(filled + rest)
}
